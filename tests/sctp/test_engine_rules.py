"""What every engine of ours must be: no I/O, budgeted, small; and the tracker against a plain model."""

import ast
import gc
import random
import re
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import transceiverd.sctp
from tests.sctp.peers import association, established, random_source
from tests.twins import load_both
from transceiverd.engine import SECOND, Drops
from transceiverd.sctp.association import Association
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.outbound import PRIORITY_NORMAL
from transceiverd.sctp.reasons import DROP_REASONS

FORBIDDEN = {"socket", "asyncio", "time", "select", "selectors", "threading", "datetime", "uvloop", "subprocess", "os"}
FILES = sorted(Path(transceiverd.sctp.__path__[0]).glob("*.py"))
BLOB = 6_128  # bytes of a session blob, shm/layout.h


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_engine_imports_no_io(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & FORBIDDEN


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_engine_files_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_engine_drop_reasons_are_all_listed() -> None:
    found = set()
    for path in FILES:
        text = path.read_text()
        found |= set(re.findall(r'(?:Refused|ProtocolViolation|MalformedPacket)\("([^"]+)"', text))
        found |= set(re.findall(r'drops\["([^"]+)"\]', text))
    assert found == set(DROP_REASONS)


def test_engine_leaves_no_cycles() -> None:
    """An ended call is freed at once: garbage collection with thousands of calls costs audio."""
    wire = established()
    stream_id = wire.left.engine.open_channel("c")
    wire.left.engine.send(stream_id, bytes(5_000), False, wire.now)
    wire.run(seconds=1)
    engines = [wire.left.engine, wire.right.engine]
    del wire
    gc.collect()
    gc.disable()
    try:
        engines.clear()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_engine_sends_no_more_than_a_burst_at_once() -> None:
    """However much waits, one event releases a few packets: audio and other calls go between."""
    wire = established()
    left = wire.left.engine
    stream_id = left.open_channel("bulk")
    wire.run(seconds=1)
    left.send(stream_id, bytes(262_144), False, wire.now)
    assert sum(1 for _ in iter(left.poll_datagram, None)) <= left.config.burst_packets


def test_engine_sacks_taken_together_release_what_they_would_one_by_one() -> None:
    """Whoever takes a batch of packets before it answers must not be slower for it: a burst for each, no more."""
    wire = established()
    left, right = wire.left.engine, wire.right.engine
    stream_id = left.open_channel("bulk")
    wire.run(seconds=1)
    left.send(stream_id, bytes(262_144), False, wire.now)
    burst = left.config.burst_packets
    sacks = []
    for packet in iter(left.poll_datagram, None):
        right.receive_datagram(packet, wire.now)
        sacks += list(iter(right.poll_datagram, None))
    left.receive_datagram(sacks.pop(0), wire.now)
    while left.poll_datagram() is not None:
        pass  # now the window is full
    assert len(sacks) > 1
    before = left.transmission.window.size
    for sack in sacks:
        left.receive_datagram(sack, wire.now)
    assert left.transmission.window.size >= before + len(sacks) * left.config.mtu  # each finds the window in use
    released = sum(1 for _ in iter(left.poll_datagram, None))
    assert burst < released <= burst * len(sacks)


def test_engine_can_be_polled_later() -> None:
    """An owner whose budget is spent stops polling; nothing is lost and nothing grows old meanwhile."""
    wire = established()
    left, right = wire.left.engine, wire.right.engine
    stream_id = left.open_channel("bulk")
    left.send(stream_id, bytes(100_000), False, wire.now)
    first = left.poll_datagram()
    assert first is not None
    right.receive_datagram(first, wire.now)
    wire.run(seconds=2)
    assert right.reception_now().reassembly.held == 0
    assert left.transmission.buffered == 0


def test_engine_packets_fit() -> None:
    wire = established(loss=0.2, duplicates=0.2, delay_ms=(5, 100))
    left = wire.left.engine
    for number in range(30):
        stream_id = left.open_channel("x" * number * 10, ordered=bool(number % 2), max_retransmits=number % 3)
        left.send(stream_id, bytes(number * 500), False, wire.now)
    wire.run(seconds=30)
    assert max(len(data) for _, data in wire.left.sent + wire.right.sent) <= 1_180


def test_engine_ignores_time_that_goes_back() -> None:
    wire = established()
    stream_id = wire.left.engine.open_channel("c")
    wire.left.engine.send(stream_id, b"x", True, wire.now - SECOND)
    wire.left.engine.handle_timeout(0)
    assert wire.run(until=lambda: wire.left.engine.transmission.buffered == 0, seconds=5)


def test_saved_fits_the_blob_when_idle() -> None:
    """A hundred channels with ordinary names, used and idle, fit with room for the rest of the call's blob."""
    wire = established()
    left = wire.left.engine
    for number in range(100):
        left.send(left.open_channel(f"channel {number}", "json"), b"hello", True, wire.now)
    wire.run(seconds=5)
    assert len(left.save()) < BLOB
    assert len(wire.right.engine.save()) < BLOB
    assert len(established(1).left.engine.save()) < 250


def test_saved_noise_is_refused() -> None:
    saved = established().left.engine.save()
    options = {"now": 0, "random_bytes": random_source(1), "drops": Drops()}
    for broken in (b"", saved[:-1], b"\x90", saved + b"x", saved.replace(b"\x01", b"\x63", 1)):
        with pytest.raises(ValueError):
            Association.restore(broken, DataChannelConfig(), **options)  # type: ignore[arg-type]


def test_saved_survives_a_foreign_clock() -> None:
    """Another machine's clock: timers start anew, lifetimes keep the time that was left."""
    wire = established()
    left = wire.left.engine
    stream_id = left.open_channel("timed", max_lifetime_ms=1_000)
    wire.run(seconds=1)
    wire.up = False
    left.send(stream_id, b"x", True, wire.now)
    wire.run(seconds=0.1)
    restored = Association.restore(left.save(), left.config, now=5, random_bytes=random_source(1), drops=Drops())
    message = restored.transmission.outstanding.chunks[0].message
    assert 0 < message.expires_at - 5 <= SECOND
    assert restored.next_timeout().deadline < 10 * SECOND


def test_configuration_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="rto_max_ms"):
        DataChannelConfig(rto_max_ms=500, rto_min_ms=1_000)
    with pytest.raises(ValueError, match="receive_buffer"):
        msgspec.convert({"receive_buffer_bytes": 65_536}, DataChannelConfig)


@pytest.mark.parametrize("module", load_both("transceiverd.sctp.tracker"))
@given(offsets=st.lists(st.integers(-5, 60), max_size=150), start=st.sampled_from([0, 7, 0xFFFFFFF0]))
def test_tracker_as_a_set_of_numbers(module: object, offsets: list[int], start: int) -> None:
    """Cumulative TSN, gap blocks and duplicates say exactly which numbers came."""
    tracker = module.TsnTracker(start)  # type: ignore[attr-defined]
    came: set[int] = set()
    for offset in offsets:
        tsn = start + offset
        verdict = tracker.judge(tsn)
        assert verdict == (0 if offset < 0 or tsn in came else 1)
        if verdict:
            tracker.mark(tsn)
            came.add(tsn)
    cumulative = start - 1
    while cumulative + 1 in came:
        cumulative += 1
    assert tracker.cumulative == cumulative
    ranges = [range(tracker.gaps[at], tracker.gaps[at + 1] + 1) for at in range(0, len(tracker.gaps), 2)]
    assert {tsn for one in ranges for tsn in one} == {tsn for tsn in came if tsn > cumulative}
    assert all(a.stop < b.start for a, b in pairwise(ranges))


def test_tsn_wraps() -> None:
    """Numbers that run over 32 and 16 bits in the middle of a transfer."""
    rng = random.Random(3)
    config = DataChannelConfig(interleaving=False)
    left, right = association("client", 1, config), association("server", 2, config)
    left.local_init = left.local_init._replace(initial_tsn=0xFFFFFFF0)
    left._clear()
    left.start(SECOND)
    now = SECOND
    heard: list[bytes] = []
    said = [rng.randbytes(10) for _ in range(70_000)]
    stream_id, place = left.open_channel("c"), 0
    while len(heard) < len(said):
        while place < len(said) and left.send(stream_id, said[place], False, now):
            place += 1
        now += 1_000_000
        for source, destination in ((left, right), (right, left)):
            while (data := source.poll_datagram()) is not None:
                destination.receive_datagram(data, now)
            source.handle_timeout(now)
        heard += [event.data for event in iter(right.poll_event, None) if hasattr(event, "data")]
    assert heard == said


def test_saved_channel_without_a_priority_keeps_the_normal_weight() -> None:
    """A channel opened with priority 0 came back from the blob as the least of all, 1/256 of its share."""
    wire = established()
    left = wire.left.engine
    stream_id = left.open_channel("c", priority=0)
    weight = left.transmission.queue.streams[stream_id].priority
    restored = Association.restore(left.save(), left.config, now=5, random_bytes=random_source(1), drops=Drops())
    assert restored.transmission.queue.streams[stream_id].priority == weight == PRIORITY_NORMAL
