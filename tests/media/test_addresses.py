"""Where media goes: proven addresses only, the nominated one first (DESIGN 2.4)."""

from tests.media.world import CONTENDED, GCM_128, MILLISECOND, RTCP, Client, World, key
from transceiverd.media.port import SrtpProven


def proven(world: World) -> list[bytes]:
    return [event.key for event in world.port.poll_events() if isinstance(event, SrtpProven)]


def destinations(world: World, lane: int = 0) -> list[bytes]:
    return [where for where, _ in world.taken(lane)]


def test_addresses_first_authentic_packet_proves_once() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.give(slot, b"\x80\x6f" + bytes(40))
    world.turn()
    assert proven(world) == []
    for _ in range(3):
        world.give(slot, client.packet())
        world.turn()
    assert proven(world) == [key()]
    assert destinations(world) == [key()] * 3
    assert world.sessions.record(slot).media.srtp_proven == (1, 0, 0, 0)


def test_addresses_srtcp_proves_too() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.echo(slot, client.rtcp(bytes.fromhex("80c9000100001000")), kind=RTCP)
    assert proven(world) == [key()]


def test_addresses_in_dispute_are_said_again_but_not_with_every_packet() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    for _ in range(10):
        world.give(slot, client.packet(), flags=CONTENDED)
        world.turn(5 * MILLISECOND)
    assert 2 <= len(proven(world)) <= 4
    world.give(slot, bytes(40), flags=CONTENDED)
    world.turn(100 * MILLISECOND)
    assert proven(world) == []


def test_addresses_nominated_but_not_proven_gets_nothing() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    addresses = world.sessions.record(slot).addresses
    addresses.set(1, key(5000), 2, world.now)
    addresses.nominated = 1
    world.give(slot, client.packet())
    world.turn()
    assert destinations(world) == [key(4000)]
    world.give(slot, client.packet(), port=5000)
    world.turn()
    world.give(slot, client.packet(), port=4000)
    world.turn()
    assert destinations(world) == [key(5000)] * 2


def test_addresses_proven_by_dtls_counts() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    addresses = world.sessions.record(slot).addresses
    addresses.set(1, key(5000), 2, world.now)
    addresses.prove(1)
    addresses.nominated = 1
    world.give(slot, client.packet())
    world.turn()
    assert destinations(world) == [key(5000)]


def test_addresses_nominated_one_that_is_heard_no_more_is_left() -> None:
    """A NAT gave the client another port. aiortc and Pion never nominate again: they were not heard for 27 s."""
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    addresses = world.sessions.record(slot).addresses
    addresses.set(1, key(5000), 2, world.now)
    world.give(slot, client.packet())
    world.turn()
    for _ in range(20):
        world.give(slot, client.packet(), port=5000)
        world.turn(20 * MILLISECOND)
    world.give(slot, client.packet(), port=4000)  # it is heard again
    world.turn(20 * MILLISECOND)
    assert destinations(world) == [key(4000)] * 13 + [key(5000)] * 8 + [key(4000)]


def test_addresses_nominated_one_has_time_to_be_used() -> None:
    """The new path is proven by DTLS and nominated; what is still on its way by the old one changes nothing."""
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    addresses = world.sessions.record(slot).addresses
    for _ in range(50):
        world.give(slot, client.packet())
        world.turn(20 * MILLISECOND)
    assert set(destinations(world)) == {key(4000)}
    addresses.set(1, key(5000), 2, world.now)
    addresses.prove(1)
    addresses.nominated = 1
    for _ in range(10):
        world.give(slot, client.packet(), port=4000)
        world.turn(20 * MILLISECOND)
    world.give(slot, client.packet(), port=5000)
    world.turn(20 * MILLISECOND)
    assert destinations(world) == [key(5000)] * 11


def test_addresses_without_nomination_the_latest_proven_gets_it() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    addresses = world.sessions.record(slot).addresses
    addresses.set(1, key(5000), 2, world.now)
    addresses.nominated = None
    for port in (4000, 5000, 4000):
        world.give(slot, client.packet(), port=port)
        world.turn()
    assert destinations(world) == [key(4000), key(5000), key(4000)]


def test_addresses_a_replaced_address_is_not_proven_by_its_predecessor() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.give(slot, client.packet())
    world.turn()
    assert destinations(world) == [key()]
    world.sessions.record(slot).addresses.clear(0)
    world.sessions.record(slot).addresses.set(0, key(6000), 9, world.now)
    world.give(slot, client.packet())  # from the old address, which the call does not have any more
    world.turn()
    assert destinations(world) == []
    assert world.count("dropped_no_address") == 1 == world.sessions.record(slot).media.dropped_no_address
    assert world.adds_up()


def test_addresses_replies_leave_through_the_worker_the_packet_came_by() -> None:
    world, client = World(lanes=2), Client(GCM_128)
    slot = world.call(client)
    for lane in (0, 1, 1, 0):
        world.give(slot, client.packet(), lane=lane)
        world.turn()
        assert len(destinations(world, lane)) == 1
        assert destinations(world, 1 - lane) == []
