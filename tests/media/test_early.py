"""SRTP before its keys: at most 8 packets a call for 500 ms (DESIGN 2.5)."""

from tests.media.world import CHECKED, CONNECTED, GCM_128, MILLISECOND, Client, World


def installed_after(world: World, slot: int) -> list[bytes]:
    world.port.install(slot)
    world.turn()
    return world.sent()


def test_early_packets_are_handled_when_the_keys_come() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client, installed=False, state=CHECKED)
    for place in range(3):
        assert world.echo(slot, client.packet(b"%d" % place)) == []
    assert world.adds_up()
    world.sessions.record(slot).state = CONNECTED
    assert [client.heard(data).payload for data in installed_after(world, slot)] == [b"0", b"1", b"2"]
    assert world.count("early_kept") == world.count("early_released") == 3
    assert world.adds_up()


def test_early_only_eight_packets_a_call() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client, installed=False, state=CHECKED)
    for _ in range(11):
        world.echo(slot, client.packet())
    assert world.count("dropped_early_over_bound") == 3 == world.sessions.record(slot).media.dropped_early
    world.sessions.record(slot).state = CONNECTED
    assert len(installed_after(world, slot)) == 8
    assert world.adds_up()


def test_early_packets_expire() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client, installed=False, state=CHECKED)
    world.echo(slot, client.packet())
    world.turn(501 * MILLISECOND)
    assert world.count("dropped_early_expired") == 1
    world.sessions.record(slot).state = CONNECTED
    assert installed_after(world, slot) == []
    assert world.adds_up()


def test_early_a_call_without_a_check_keeps_nothing() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client, installed=False, state=1)
    world.echo(slot, client.packet())
    assert world.count("dropped_not_installed") == 1


def test_early_calls_at_once_are_bounded_and_removal_frees_their_place() -> None:
    world, clients = World(early_calls=2), [Client(GCM_128, seed) for seed in range(3)]
    slots = [world.call(client, installed=False, state=CHECKED) for client in clients]
    for slot, client in zip(slots, clients, strict=True):
        world.echo(slot, client.packet())
    assert world.count("dropped_early_over_bound") == 1
    world.port.remove(slots[0])
    world.turn()
    assert world.count("dropped_early_expired") == 1
    world.echo(slots[2], clients[2].packet())
    assert world.count("early_kept") == 3
    assert world.adds_up()
