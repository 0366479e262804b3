"""What is let in: what authenticates, once, for the call that is in the slot now (DESIGN 2.5, 2.6; RFC 3711 3.3)."""

import random

import pytest

from tests.media.world import CM_80, GCM_128, GCM_256, INCARNATION, RTCP, Client, World

ALL = [CM_80, GCM_128, GCM_256]


@pytest.mark.parametrize("profile", ALL)
def test_receive_every_packet_replayed_is_dropped(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    packets = [client.packet() for _ in range(100)]
    for data in packets:
        assert len(world.echo(slot, data)) == 1
    for data in random.Random(1).sample(packets, 100):
        assert world.echo(slot, data) == []
    assert world.count("dropped_replayed") == 100
    assert world.sessions.record(slot).media.dropped_replay == 100
    assert world.adds_up()


def test_receive_packets_before_the_window_are_dropped() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    packets = [client.packet() for _ in range(140)]
    for data in packets[129:]:
        world.echo(slot, data)
    assert world.echo(slot, packets[11]) == []
    assert len(world.echo(slot, packets[12])) == 1
    assert world.count("dropped_too_old") == 1


@pytest.mark.parametrize("profile", ALL)
def test_receive_thousands_of_bad_tags_do_not_disturb(profile: int) -> None:
    world, client, dice = World(), Client(profile), random.Random(4)
    slot = world.call(client)
    first = client.heard(world.echo(slot, client.packet())[0])
    following = client.packet()
    for place in range(3000):
        forged = bytearray(following if place % 2 else dice.randbytes(60))
        forged[0] = 0x80
        forged[dice.randrange(2, len(forged))] ^= 1 << dice.randrange(8)
        world.give(slot, bytes(forged))
        world.turn()
    assert world.sent() == []
    back = client.heard(world.echo(slot, following)[0])
    assert back.sequence_number - first.sequence_number == 1
    record = world.sessions.record(slot)
    assert record.media.packets_received == 2
    assert len([stream for stream in record.streams if stream.in_use]) == 1
    assert world.adds_up()


def test_receive_forged_packets_take_no_stream() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    for ssrc in range(50):
        world.echo(slot, b"\x80\x6f\0\1" + bytes(4) + ssrc.to_bytes(4, "big") + bytes(40))
    assert world.count("dropped_authentication") == 50
    assert not any(stream.in_use for stream in world.sessions.record(slot).streams)


def test_receive_a_ninth_ssrc_is_refused_and_the_others_go_on() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    for ssrc in range(8):
        client.ssrc = ssrc + 1
        assert len(world.echo(slot, client.packet())) == 1
    client.ssrc = 99
    assert world.echo(slot, client.packet()) == []
    client.ssrc = 8
    assert len(world.echo(slot, client.packet())) == 1
    assert world.count("dropped_streams_full") == 1


@pytest.mark.parametrize(
    ("fields", "counter"),
    [
        ({"generation_step": 1}, "dropped_stale"),
        ({"incarnation": INCARNATION + 1}, "dropped_stale"),
        ({"slot": 8}, "dropped_stale"),
        ({"slot": 0xFFFFFFFF}, "dropped_stale"),
        ({"kind": 2}, "dropped_type"),
        ({"kind": 19}, "dropped_type"),
    ],
)
def test_receive_records_for_another_call_are_stale(fields: dict[str, int], counter: str) -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    record = world.sessions.record(slot)
    sent = {"generation": record.generation, "incarnation": INCARNATION, "slot": slot, "kind": 3} | fields
    sent["generation"] = (sent["generation"] + sent.pop("generation_step", 0)) & 0xFFFF
    world.workers_in[0].write(sent.pop("kind"), bytes(48), client.packet(), **sent)
    world.workers_in[0].publish()
    world.turn()
    assert world.count(counter) == 1
    assert world.adds_up()


@pytest.mark.parametrize("profile", ALL)
def test_receive_every_cut_of_a_packet_is_a_counted_drop(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    data, report = client.packet(), client.rtcp(bytes.fromhex("80c9000100001000"))
    for end in range(len(data)):
        assert world.echo(slot, data[:end]) == []
    for end in range(len(report)):
        world.echo(slot, report[:end], kind=RTCP)
    assert world.count("dropped_rtp_malformed") + world.count("dropped_authentication") + world.count(
        "dropped_rtcp_malformed"
    ) == len(data) + len(report)
    assert len(world.echo(slot, data)) == 1
    assert world.adds_up()


def test_receive_too_large_is_dropped() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.echo(slot, bytes([0x80]) + bytes(2048))
    assert world.count("dropped_type") == 1
    assert len(world.echo(slot, client.packet(bytes(1340)))) == 1


@pytest.mark.parametrize("profile", ALL)
def test_receive_srtcp_replay_is_dropped_and_plain_rtcp_is_refused(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    reports = [client.rtcp(bytes.fromhex("80c9000100001000")) for _ in range(5)]
    for data in reports + reports:
        world.echo(slot, data, kind=RTCP)
    assert world.count("rtcp_processed") == 5
    assert world.count("dropped_replayed") == 5
    world.echo(slot, bytes.fromhex("80c9000100001000") + bytes(30), kind=RTCP)
    assert world.count("dropped_rtcp_malformed") == 1
    assert world.adds_up()
