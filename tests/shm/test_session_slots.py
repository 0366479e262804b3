"""Slots of a session segment: oldest freed first, generations raised when given out, none when full, kept in deaths."""

import os
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shm import layout
from shm.counters import Counters
from shm.errors import LayoutRefused
from shm.session import SLOTS_MAX, SessionSegment
from tests.shm.faultbuild import fault_module, killed_at

NOW = 10**12


class SlotMachine(RuleBasedStateMachine):
    """Against a queue of free slots and a number for each slot."""

    @initialize(slots=st.integers(1, 5))
    def start(self, slots: int) -> None:
        self.sessions = SessionSegment.create(slots, 3, machine=9, incarnation=55)
        self.free = deque(range(slots))
        self.used: list[int] = []
        self.generations = [self.sessions.record(slot).generation for slot in range(slots)]
        self.now = NOW

    @rule()
    def allocate(self) -> None:
        self.now += 1
        slot = self.sessions.allocate(self.now)
        assert slot == (self.free.popleft() if self.free else None)
        if slot is None:
            return
        self.used.append(slot)
        self.generations[slot] = (self.generations[slot] + 1) % 65536
        record = self.sessions.record(slot)
        assert (record.state, record.created_ns, record.incarnation) == (layout.SESSION_NEW, self.now, 55)
        assert record.origin == layout.origin(9, 3, slot, record.generation)
        assert (record.call_id, record.addresses.read(), record.addresses.nominated) == ("", [], None)
        assert (record.dtls.version, record.srtp.profile, record.read_blob()) == (0, 0, None)
        record.call_id = f"rtc_{slot}"
        record.write_blob(b"secret")
        record.addresses.set(0, bytes(range(48)), 1, self.now)
        record.state = layout.SESSION_CONNECTED

    @precondition(lambda self: self.used)
    @rule(which=st.integers(0, 100))
    def free_one(self, which: int) -> None:
        self.now += 1
        slot = self.used.pop(which % len(self.used))
        self.sessions.free(slot, self.now)
        self.free.append(slot)

    @rule()
    def successor_takes_over(self) -> None:
        self.sessions = SessionSegment.attach(os.dup(self.sessions.fd), machine=9)

    @invariant()
    def agrees(self) -> None:
        assert self.sessions.used() == sorted(self.used)
        assert self.sessions.active == len(self.used)
        assert [self.sessions.record(slot).generation for slot in range(self.sessions.slots)] == self.generations
        assert all(self.sessions.record(slot).call_id == f"rtc_{slot}" for slot in self.used)


TestSessionSlots = SlotMachine.TestCase
TestSessionSlots.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_session_generations_start_at_random() -> None:
    first, second = (SessionSegment.create(40, 0) for _ in range(2))
    generations = [[segment.record(slot).generation for slot in range(40)] for segment in (first, second)]
    assert generations[0] != generations[1]
    assert len(set(generations[0])) > 20


def test_session_generation_wraps() -> None:
    sessions = SessionSegment.create(1, 0)
    start = sessions.record(0).generation
    for i in range(1, 65538):
        sessions.allocate(i)
        sessions.free(0)
    assert sessions.record(0).generation == (start + 65537) % 65536


def test_session_freed_slot_keeps_no_secret() -> None:
    sessions = SessionSegment.create(1, 0)
    record = sessions.record(sessions.allocate(NOW) or 0)
    secret = b"sixteen bytes ok"
    record.srtp.install(7, secret, bytes(12), secret, bytes(12))
    record.dtls.write_key = record.dtls.read_key = secret
    record.write_blob(b"one " + secret)
    record.write_blob(b"two " + secret)
    assert secret in bytes(memoryview(sessions.segment))
    sessions.free(0, NOW)
    assert secret not in bytes(memoryview(sessions.segment))


def test_session_freeing_twice_and_reading_only_are_refused() -> None:
    sessions = SessionSegment.create(2, 0)
    with pytest.raises(ValueError, match="free already"):
        sessions.free(0)
    with pytest.raises(IndexError):
        sessions.free(2)
    with pytest.raises(IndexError):
        sessions.record(-1)
    reader = SessionSegment.attach(os.dup(sessions.fd), writer=False)
    for use in (lambda: reader.allocate(NOW), lambda: reader.free(0)):
        with pytest.raises(ValueError, match="reader"):
            use()
    with pytest.raises(ValueError, match="free"):
        sessions.record(sessions.allocate(NOW) or 0).state = layout.SESSION_FREE


@pytest.mark.parametrize("slots", [0, -1, SLOTS_MAX + 1])
def test_session_number_of_slots_is_bounded(slots: int) -> None:
    with pytest.raises(ValueError, match="slots"):
        SessionSegment.create(slots, 0)


def test_session_attach_refuses_another_kind_and_slots_beyond_the_segment() -> None:
    counters = Counters.create(["a"])
    with pytest.raises(LayoutRefused):
        SessionSegment.attach(os.dup(counters.fd))
    sessions = SessionSegment.create(2, 0)
    at = layout.offset("sessions_header", "slots")
    memoryview(sessions.segment)[at : at + 8] = (3).to_bytes(8, "little")
    with pytest.raises(ValueError, match="header"):
        SessionSegment.attach(os.dup(sessions.fd))


@pytest.mark.parametrize("work", ["allocate", "free"])
def test_session_control_killed_at_every_store_of_giving_out_and_taking_back(work: str) -> None:
    """The slot is free or in use, never in between; a successor goes on, and no generation is given out twice."""
    deadly = fault_module("session", "session_addresses", "session_state").SessionSegment
    for store in range(1, 100):
        sessions = SessionSegment.create(1, 0)
        if work == "free":
            sessions.allocate(NOW)
            sessions.record(0).call_id = "rtc_x"
        before = sessions.record(0).generation
        child = deadly.attach(os.dup(sessions.fd))
        died = killed_at(store, lambda child=child: child.allocate(NOW) if work == "allocate" else child.free(0, NOW))
        successor = SessionSegment.attach(os.dup(sessions.fd))
        record = successor.record(0)
        assert successor.active == len(successor.used())
        if successor.used():
            assert record.state == layout.SESSION_NEW
            assert record.generation == before + (1 if work == "allocate" else 0) & 0xFFFF
            successor.free(0)
        assert successor.allocate(NOW) == 0
        assert record.generation in ((before + 1) % 65536, (before + 2) % 65536)
        assert (record.call_id, record.addresses.read(), record.read_blob()) == ("", [], None)
        if not died:
            assert store > 5
            return
    raise AssertionError("no end")
