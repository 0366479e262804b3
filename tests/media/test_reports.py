"""RTCP: what we say and what we take from the client's reports (RFC 3550 section 6)."""

import itertools

import pytest
from aiortc import rtp as aiortc_rtp

from tests.media.world import CM_80, GCM_128, GCM_256, LOCAL_SSRC, MILLISECOND, RTCP, SECOND, SILENT, Client, World, key
from transceiverd.media.port import ByeReceived, Removed

ALL = [CM_80, GCM_128, GCM_256]
NTP_START = (1_800_000_000 + 2_208_988_800) << 32


def wait_for_report(world: World, client: Client, seconds: int = 8) -> list[aiortc_rtp.AnyRtcpPacket]:
    for _ in range(seconds * 10):
        world.turn(100 * MILLISECOND)
        reports = world.reports()
        if reports:
            assert len(reports) == 1
            return client.heard_rtcp(reports[0])
    raise AssertionError("no report")


def remove(world: World, slot: int, *, bye: bool) -> Removed:
    world.port.remove(slot, bye=bye)
    world.turn()
    (removed,) = [event for event in world.port.poll_events() if isinstance(event, Removed)]
    return removed


@pytest.mark.parametrize("profile", ALL)
def test_reports_first_sender_report_follows_the_first_packet_within_a_second(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    back = client.heard(world.echo(slot, client.packet(b"12345"))[0])
    start = world.now
    report, description = wait_for_report(world, client, seconds=1)
    assert report.ssrc == LOCAL_SSRC == description.chunks[0].ssrc
    assert description.chunks[0].items == [(1, b"00abcdef")]
    info = report.sender_info
    assert (info.packet_count, info.octet_count) == (1, 5)
    elapsed = world.now - start
    assert (info.rtp_timestamp - back.timestamp) & 0xFFFFFFFF == elapsed * 48_000 // SECOND
    assert abs((info.ntp_timestamp - NTP_START) - (elapsed << 32) // SECOND) <= 1


def test_reports_come_every_five_seconds_spread_by_half() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    times = []
    for _ in range(3000):
        world.echo(slot, client.packet())
        world.now += 100 * MILLISECOND
        world.turn()
        times += [world.now for _ in world.reports()]
    gaps = [(b - a) / SECOND for a, b in itertools.pairwise(times)]
    assert len(gaps) > 45
    assert all(2.5 <= gap <= 7.7 for gap in gaps)
    assert max(gaps) - min(gaps) > 2
    assert 4 < sum(gaps) / len(gaps) < 6


def test_reports_block_says_what_was_lost() -> None:
    world, client = World(), Client(GCM_128, sequence=65_530)
    slot = world.call(client)
    for place in range(20):
        data = client.packet()
        if place % 4 != 3 or place == 19:
            world.echo(slot, data)
    report = wait_for_report(world, client)[0]
    (block,) = report.reports
    assert (block.ssrc, block.packets_lost, block.fraction_lost) == (0x1000, 4, 4 * 256 // 20)
    assert block.highest_sequence == 65_530 + 19  # extended by the rollover counter
    assert (block.lsr, block.dlsr) == (0, 0)
    for _ in range(10):
        world.echo(slot, client.packet())
    (block,) = wait_for_report(world, client)[0].reports
    assert (block.packets_lost, block.fraction_lost) == (4, 0)
    assert wait_for_report(world, client)[0].reports == []  # nothing was heard since


def test_reports_block_says_jitter_as_rfc_3550_computes_it() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    jitter = 0.0
    for place in range(50):
        step = (20 + (place % 3) * 7) * MILLISECOND
        world.now += step
        world.echo(slot, client.packet())
        if place:
            jitter += (abs(step * 48_000 / SECOND - 960) - jitter) / 16
    (block,) = wait_for_report(world, client)[0].reports
    assert abs(block.jitter - jitter) < 3


def test_reports_last_sender_report_and_delay() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.echo(slot, client.packet())
    info = aiortc_rtp.RtcpSenderInfo(0x1111222233334444, 0, 1, 1)
    world.echo(slot, client.rtcp(aiortc_rtp.RtcpSrPacket(0x1000, info)), kind=RTCP)
    heard = world.now
    (block,) = wait_for_report(world, client)[0].reports
    assert block.lsr == 0x22223333
    assert abs(block.dlsr - (world.now - heard) * 65536 // SECOND) <= 1


def test_reports_round_trip_loss_and_jitter_from_the_clients_report() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.echo(slot, client.packet())
    sent = wait_for_report(world, client)[0].sender_info.ntp_timestamp
    last = (sent >> 16) & 0xFFFFFFFF
    world.turn(2 * SECOND)
    delay = 2 * 65536 - 65536 * 80 // 1000  # it held our report for 1.92 s of the 2 s: 80 ms on the way
    block = aiortc_rtp.RtcpReceiverInfo(LOCAL_SSRC, 51, -7, 1, 333, last, delay)
    other = aiortc_rtp.RtcpReceiverInfo(LOCAL_SSRC + 1, 99, 99, 1, 999, 0, 0)
    world.echo(slot, client.rtcp(aiortc_rtp.RtcpRrPacket(0x1000, [other, block])), kind=RTCP)
    media = world.sessions.record(slot).media
    assert (media.remote_fraction_lost, media.remote_cumulative_lost, media.remote_jitter) == (51, -7, 333)
    assert abs(media.round_trip_us - 80_000) < 100
    nonsense = aiortc_rtp.RtcpReceiverInfo(LOCAL_SSRC, 0, 0, 1, 0, last, delay + 65536 * 3600)
    world.echo(slot, client.rtcp(aiortc_rtp.RtcpRrPacket(0x1000, [nonsense])), kind=RTCP)
    assert abs(world.sessions.record(slot).media.round_trip_us - 80_000) < 100


def test_reports_bye_is_an_event_once_and_ends_nothing() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    for _ in range(2):
        world.echo(slot, client.rtcp(aiortc_rtp.RtcpRrPacket(0x1000), aiortc_rtp.RtcpByePacket([0x1000])), kind=RTCP)
    generation = world.sessions.record(slot).generation
    assert [e for e in world.port.poll_events() if isinstance(e, ByeReceived)] == [ByeReceived(slot, generation)]
    assert len(world.echo(slot, client.packet())) == 1


def test_reports_nothing_is_echoed_and_a_bad_compound_is_a_counted_drop() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.give(slot, client.rtcp(bytes.fromhex("81c9000100001000")), kind=RTCP)
    world.give(slot, client.rtcp(bytes.fromhex("81cd00020000100000000001")), kind=RTCP)
    world.turn()
    assert world.taken() == []
    assert world.count("dropped_rtcp_malformed") == 1 == world.sessions.record(slot).media.dropped_malformed
    assert world.count("rtcp_processed") == 1
    assert world.adds_up()


def test_reports_a_call_that_sends_nothing_says_receiver_report() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.echo(slot, client.packet(payload_type=99))  # heard, not echoed
    report, _ = wait_for_report(world, client)
    assert isinstance(report, aiortc_rtp.RtcpRrPacket)
    assert len(report.reports) == 1


@pytest.mark.parametrize("profile", ALL)
def test_reports_bye_comes_with_removed_when_asked(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    world.echo(slot, client.packet())
    removed = remove(world, slot, bye=True)
    assert world.taken() == []  # none through the media ring: it would come after the withdrawal, or not
    assert removed.key == key()
    report, _, bye = client.heard_rtcp(removed.bye)
    assert report.sender_info.packet_count == 1
    assert bye.sources == [LOCAL_SSRC]
    assert world.sessions.record(slot).media.rtcp_index_next == 2  # 1 is the first, and used
    assert (world.count("byes_sent"), world.count("reports_sent"), world.count("reports_dropped")) == (1, 0, 0)


@pytest.mark.parametrize("profile", ALL)
def test_reports_bye_with_every_stream_is_whole(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    for ssrc in range(0x1000, 0x1008):
        client.ssrc = ssrc
        world.echo(slot, client.packet())
    report, _, bye = client.heard_rtcp(remove(world, slot, bye=True).bye)
    assert (len(report.reports), bye.sources) == (8, [LOCAL_SSRC])


def test_reports_bye_goes_where_media_goes() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.sessions.record(slot).addresses.set(1, key(4001), 2, world.now)
    world.echo(slot, client.packet(), port=4001)  # the nominated one is not proven
    assert remove(world, slot, bye=True).key == key(4001)


def test_reports_no_bye_unasked_without_a_proven_address_or_consent() -> None:
    world = World()
    client, stranger, silent = (Client(GCM_128, seed) for seed in range(3))
    unasked = world.call(client)
    world.echo(unasked, client.packet())
    unproven = world.call(stranger)
    lapsed = world.call(silent)
    world.echo(lapsed, silent.packet())
    world.sessions.record(lapsed).state = SILENT
    generation = world.sessions.record(unasked).generation
    assert remove(world, unasked, bye=False) == Removed(unasked, generation, b"", b"")
    for slot in (unproven, lapsed):
        removed = remove(world, slot, bye=True)
        assert (removed.slot, removed.bye, removed.key) == (slot, b"", b"")
    assert world.reports() == []
    assert (world.count("byes_sent"), world.count("reports_dropped")) == (0, 2)


def test_reports_to_nobody_are_counted() -> None:
    world, client = World(), Client(GCM_128)
    world.call(client)
    world.turn(8 * SECOND)
    assert world.reports() == []
    assert world.count("reports_dropped") == 1


def test_reports_of_many_calls_are_spread_and_bounded_a_turn() -> None:
    world = World(slots=300)
    clients = [Client(GCM_128, seed) for seed in range(300)]
    for client in clients:
        world.give(world.call(client), client.packet())
    for _ in range(5):
        world.turn()
    world.taken()
    world.turn(2 * SECOND)
    assert len(world.reports()) == 64
    for _ in range(5):
        world.turn()
    assert len(world.reports()) == 300 - 64
