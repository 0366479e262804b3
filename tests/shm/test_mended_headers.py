"""What says what a segment is can be put right by its maker, whatever its writer wrote over it; what it holds stays."""

import os

import pytest

from relayd.holding import Holding
from relayd.sockets import WorkerSockets
from shm import layout
from shm.counters import Counters
from shm.errors import LayoutRefused
from shm.flows import FlowTable
from shm.lane import Lane
from shm.segment import Segment
from shm.session import SessionSegment

NAMES = ("received", "sent", "dropped")
SIZES = {"handshake_in": 4096, "media_in": 4096, "control_out": 4096, "media_out": 4096}


def test_mended_segment_can_be_attached_again_whatever_byte_of_its_header_was_written_over() -> None:
    lane = Lane.create(3, 5, incarnation=7, **SIZES)
    assert not lane.segment.mend(3, 5), "nothing was wrong"
    with memoryview(lane.segment) as memory:
        whole = bytes(memory[:128])
        for at in range(56):
            if 24 <= at < 48:
                continue  # incarnation and heartbeat: what they are belongs to whoever runs
            memory[at] ^= 0xFF
            assert lane.segment.mend(3, 5)
            assert bytes(memory[:128]) == whole
    Lane.attach([os.dup(fd) for fd in lane.fds])


def test_mended_counters_have_their_names_again_and_keep_their_values() -> None:
    counters = Counters.create(NAMES, index=4)
    counters.add("sent", 5)
    assert not counters.mend(4)
    with memoryview(counters.segment) as memory:
        for at in [*range(24), 48, *range(128, 136), *(256 + 64 * n + k for n in range(3) for k in range(56))]:
            memory[at] ^= 0xFF
            assert counters.mend(4), at
    found = Counters.attach(os.dup(counters.fd))
    assert found.names == NAMES
    assert found.read() == {"received": 0, "sent": 5, "dropped": 0}
    assert found.segment.index == 4


def test_mended_sessions_have_their_slots_again() -> None:
    sessions = SessionSegment.create(5, 2)
    with memoryview(sessions.segment) as memory:
        memory[:136] = os.urandom(136)
        with pytest.raises((ValueError, LayoutRefused)):
            SessionSegment.attach(os.dup(sessions.fd), writer=False)
    assert sessions.mend(2)
    assert SessionSegment.attach(os.dup(sessions.fd)).slots == 5


def test_mended_holding_of_a_worker_is_as_its_successor_needs_it(caplog: pytest.LogCaptureFixture) -> None:
    holding = Holding.make(1, None, WorkerSockets(None, None), counter_names=NAMES, flow_entries=64)
    holding.mend()
    assert not caplog.messages
    at = layout.offset("flow_table_header", "buckets")
    for segment in holding.segments():
        with memoryview(segment) as memory:
            memory[:24] = os.urandom(24)
    with memoryview(holding.flows.segment) as memory:
        memory[at : at + 8] = os.urandom(8)
    holding.mend()
    assert len(caplog.messages) == 1
    assert FlowTable.attach(os.dup(holding.flows.fd)).capacity == holding.flows.capacity == 64
    assert Counters.attach(os.dup(holding.counters.fd)).names == NAMES
    assert isinstance(holding.segments()[0], Segment)


def test_mended_segment_of_another_release_keeps_its_minor() -> None:
    """An upgrade finds segments whose minor is not its own: no damage, and what readers of that minor know stays."""
    made = Segment.create(1, 4096)
    minor = slice(layout.offset("segment_header", "minor"), layout.offset("segment_header", "minor") + 2)
    with memoryview(made) as memory:
        memory[minor] = (layout.LAYOUT_MINOR + 7).to_bytes(2, "little")
    ours = Segment.attach(os.dup(made.fd), 1)
    assert not ours.mend(0)
    with memoryview(made) as memory:
        memory[0] ^= 0xFF
        assert ours.mend(0)
        assert int.from_bytes(memory[minor], "little") == layout.LAYOUT_MINOR + 7
