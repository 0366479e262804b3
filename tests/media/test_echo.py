"""What a client hears back: its own stream, moved by constants (DESIGN 5)."""

import itertools
import random

import pytest
from aiortc import rtp as aiortc_rtp

from tests.media.world import (
    CLOSING,
    CM_80,
    CONNECTED,
    GCM_128,
    GCM_256,
    LOCAL_SSRC,
    MILLISECOND,
    SECOND,
    SILENT,
    Client,
    World,
)
from transceiverd.media import rtp

ALL = [CM_80, GCM_128, GCM_256]


@pytest.mark.parametrize("profile", ALL)
def test_echo_returns_payload_type_and_marker_under_our_ssrc(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    for place in range(20):
        (data,) = world.echo(slot, client.packet(b"frame %d" % place, marker=int(place == 0), payload_type=111))
        back = client.heard(data)
        assert (back.payload, back.marker, back.payload_type) == (b"frame %d" % place, int(place == 0), 111)
        assert back.ssrc == LOCAL_SSRC
    assert world.count("echoed") == 20
    assert world.adds_up()


def test_echo_moves_numbers_and_timestamps_by_constants_through_loss_and_reordering() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    packets = [(client.sequence, client.timestamp, client.packet()) for _ in range(60)]
    dice = random.Random(3)
    packets = [
        packet for packet in packets[:1] + sorted(packets[1:], key=lambda _: dice.random()) if dice.random() < 0.8
    ]
    moved = set()
    for sequence, timestamp, data in packets:
        (out,) = world.echo(slot, data)
        back = client.heard(out)
        moved.add(((back.sequence_number - sequence) & 0xFFFF, (back.timestamp - timestamp) & 0xFFFFFFFF))
    assert len(moved) == 1
    media = world.sessions.record(slot).media
    assert media.packets_sent == len(packets) == media.packets_received
    first, last = min(p[0] for p in packets), max(p[0] for p in packets)
    assert media.gaps_up == last - first + 1 - len(packets)


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("first", [65500, 65535, 0])
def test_echo_passes_the_wrap_of_the_clients_numbers_and_ours(profile: int, first: int) -> None:
    world, client = World(seed=first + 5), Client(profile, sequence=first)
    slot = world.call(client)
    heard = []
    for _ in range(70_000 // 40):  # strides of 40: gaps, and more than one wrap
        client.sequence += 39
        (data,) = world.echo(slot, client.packet())
        heard.append(client.heard(data).sequence_number)
    assert {(b - a) & 0xFFFF for a, b in itertools.pairwise(heard)} == {40}


def test_echo_keeps_order_given_when_packets_are_reordered_across_the_wrap() -> None:
    world, client = World(), Client(GCM_128, sequence=65530)
    slot = world.call(client)
    packets = [client.packet(b"%d" % i) for i in range(12)]
    order = [0, 1, 2, 6, 4, 3, 8, 5, 7, 11, 10, 9]
    backs = [client.heard(world.echo(slot, packets[i])[0]) for i in order]
    assert [int(back.payload) for back in backs] == order
    first = backs[0].sequence_number
    assert [(back.sequence_number - first) & 0xFFFF for back in backs] == order


def test_echo_first_packets_reordered_before_the_first_heard_have_a_place() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    packets = [client.packet(b"%d" % i) for i in range(3)]
    backs = [client.heard(world.echo(slot, packets[i])[0]) for i in (2, 0, 1)]
    assert [back.sequence_number - backs[0].sequence_number for back in backs] == [0, -2, -1]
    assert world.sessions.record(slot).media.gaps_up == 0


def test_echo_strips_csrcs_extensions_and_padding() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    packet = rtp.RtpPacket(111, True, 7, 8, 9, b"payload", (1, 2, 3), 0xBEDE, b"\x10\xff\0\0", 6)
    (data,) = world.echo(slot, client.sender.protect(rtp.serialize_rtp(packet)))
    back = client.receiver.unprotect(data)
    assert back[0] == 0x80
    assert back[12:] == b"payload"
    assert back[1] == 0x80 | 111


def test_echo_refuses_padding_that_lies() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    plain = bytearray(client.plain(b"abc\xff"))
    plain[0] |= 0x20
    assert world.echo(slot, client.sender.protect(bytes(plain))) == []
    assert world.count("dropped_rtp_malformed") == 1


def test_echo_sends_only_negotiated_payload_types() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    assert world.echo(slot, client.packet(payload_type=96)) == []
    assert world.count("dropped_payload_type") == 1
    assert client.heard(world.echo(slot, client.packet(payload_type=101))[0]).payload_type == 101
    assert world.adds_up()


def test_echo_goes_on_without_a_jump_when_the_clients_ssrc_changes() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    before = [client.heard(world.echo(slot, client.packet())[0]) for _ in range(5)][-1]
    world.turn(60 * MILLISECOND)
    client.ssrc, client.sequence, client.timestamp = 0x2000, 40_000, 0xFFFFFF00
    after = [client.heard(world.echo(slot, client.packet())[0]) for _ in range(3)]
    assert [(back.sequence_number - before.sequence_number) & 0xFFFF for back in after] == [1, 2, 3]
    assert (after[0].timestamp - before.timestamp) & 0xFFFFFFFF == 48 * 60
    assert (after[1].timestamp - after[0].timestamp) & 0xFFFFFFFF == 960
    assert world.count("remapped") == 1


def test_echo_two_packets_around_an_ssrc_change_never_share_a_timestamp() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    first = client.heard(world.echo(slot, client.packet())[0])
    client.ssrc = 0x2000
    second = client.heard(world.echo(slot, client.packet())[0])
    assert (second.timestamp - first.timestamp) & 0xFFFFFFFF == 48_000 // 400


def test_echo_drops_late_packets_of_an_older_mapping() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    old = [client.packet(b"old %d" % i) for i in range(6)]
    client.ssrc, client.sequence = 0x2000, 9
    new = [client.packet(b"new %d" % i) for i in range(4)]
    heard = []
    for data in [*old[:3], new[1], old[3], new[0], old[4], new[2], old[5], new[3]]:
        heard += [client.heard(out).payload for out in world.echo(slot, data)]
    assert heard == [b"old 0", b"old 1", b"old 2", b"new 1", b"new 2", b"new 3"]
    assert world.count("dropped_stale_mapping") == 4
    assert world.count("remapped") == 1
    assert world.adds_up()


def test_echo_returns_to_an_older_ssrc_once_the_present_one_is_silent() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    first = client.heard(world.echo(slot, client.packet())[0])
    client.ssrc = 0x2000
    world.echo(slot, client.packet())
    client.ssrc = 0x1000
    assert world.echo(slot, client.packet()) == []
    world.turn(SECOND)
    world.taken()
    back = client.heard(world.echo(slot, client.packet())[0])
    assert (back.sequence_number - first.sequence_number) & 0xFFFF == 2


def test_echo_nothing_leaves_after_consent_ran_out_and_it_goes_on_when_it_is_back() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    first = client.heard(world.echo(slot, client.packet())[0])
    for state in (SILENT, CLOSING):
        world.sessions.record(slot).state = state
        assert world.echo(slot, client.packet()) == []
    world.sessions.record(slot).state = CONNECTED
    again = client.heard(world.echo(slot, client.packet())[0])
    assert again.sequence_number - first.sequence_number == 3
    assert world.count("dropped_consent") == 2


def test_echo_of_another_application_is_absorbed() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.sessions.record(slot).application = 0
    assert world.echo(slot, client.packet()) == []
    assert world.count("absorbed") == 1
    assert world.sessions.record(slot).media.packets_received == 1


def test_echo_ring_full_is_counted_and_only_a_gap() -> None:
    world, client = World(out=4096), Client(GCM_128)
    slot = world.call(client)
    for _ in range(40):
        world.give(slot, client.packet(bytes(60)))
    world.turn()
    sent = world.sent()
    assert 10 < len(sent) < 40
    assert world.count("dropped_ring_full") == 40 - len(sent) == world.sessions.record(slot).media.dropped_full
    last = client.heard(sent[-1])
    back = client.heard(world.echo(slot, client.packet(bytes(60)))[0])
    assert (back.sequence_number - last.sequence_number) & 0xFFFF == 41 - len(sent)
    assert world.adds_up()


def test_echo_interoperates_with_aiortc_packets() -> None:
    world, client = World(), Client(GCM_256)
    slot = world.call(client)
    packet = aiortc_rtp.RtpPacket(0, 1, 1, 2, 3, b"\xff" * 160)
    back = client.heard(world.echo(slot, client.sender.protect(packet.serialize()))[0])
    assert (back.payload_type, back.payload) == (0, b"\xff" * 160)
