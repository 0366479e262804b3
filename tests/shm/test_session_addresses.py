"""The addresses of a call: control writes, media reads them as of one moment, and a dead writer never holds it up."""

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shm import layout
from shm.session import SessionAddress, SessionSegment
from tests.shm.faultbuild import fault_module, killed_at
from tests.shm.processes import fork, reap

places = st.integers(0, layout.ADDRESSES - 1)


def key(number: int) -> bytes:
    return number.to_bytes(2, "little") * 24


def one_call() -> SessionSegment:
    sessions = SessionSegment.create(1, 0)
    sessions.allocate(1)
    return sessions


class AddressMachine(RuleBasedStateMachine):
    """Against a dict of places."""

    @initialize()
    def start(self) -> None:
        self.sessions = one_call()
        self.addresses = self.sessions.record(0).addresses
        self.model: dict[int, SessionAddress] = {}
        self.nominated: int | None = None
        self.next_id = 0

    @rule(place=places)
    def set(self, place: int) -> None:
        self.next_id += 1
        self.addresses.set(place, key(self.next_id), self.next_id, self.next_id * 10)
        self.model[place] = SessionAddress(
            place, key(self.next_id), self.next_id, False, False, self.next_id * 10, 0, 0
        )
        self.nominated = None if self.nominated == place else self.nominated

    @rule(place=places)
    def clear(self, place: int) -> None:
        self.addresses.clear(place)
        self.model.pop(place, None)
        self.nominated = None if self.nominated == place else self.nominated

    @rule(place=places)
    def prove(self, place: int) -> None:
        self.used(place, lambda: self.addresses.prove(place), dtls_proven=True)

    @rule(place=places, now=st.integers(0, 2**63))
    def check(self, place: int, now: int) -> None:
        self.used(place, lambda: self.addresses.checked(place, now), checked_ns=now)

    @rule(place=places, received=st.integers(0, 2**63), sent=st.integers(0, 2**63))
    def account(self, place: int, received: int, sent: int) -> None:
        self.used(
            place,
            lambda: self.addresses.account(place, received, sent),
            bytes_received=received,
            bytes_sent=sent,
        )

    @rule(place=places)
    def nominate(self, place: int) -> None:
        self.used(place, lambda: setattr(self.addresses, "nominated", place))
        if place in self.model:
            self.nominated = place

    @rule()
    def nominate_nobody(self) -> None:
        self.addresses.nominated = None
        self.nominated = None

    def used(self, place: int, change: Callable[[], object], **changes: Any) -> None:
        if place not in self.model:
            with pytest.raises(IndexError):
                change()
            return
        change()
        self.model[place] = self.model[place]._replace(**changes)

    @invariant()
    def agrees(self) -> None:
        assert self.addresses.nominated == self.nominated
        expected = [self.model[place]._replace(nominated=place == self.nominated) for place in sorted(self.model)]
        assert self.addresses.read() == expected
        assert self.addresses.sequence % 2 == 0


TestSessionAddresses = AddressMachine.TestCase
TestSessionAddresses.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

CHANGES: dict[str, Callable[[Any], None]] = {
    "set-empty-place": lambda addresses: addresses.set(2, key(30), 30, 300),
    "set-over-another": lambda addresses: addresses.set(0, key(30), 30, 300),
    "set-over-the-nominated": lambda addresses: addresses.set(1, key(30), 30, 300),
    "clear": lambda addresses: addresses.clear(0),
    "clear-the-nominated": lambda addresses: addresses.clear(1),
    "prove": lambda addresses: addresses.prove(0),
    "nominate": lambda addresses: setattr(addresses, "nominated", 0),
}


def two_addresses() -> SessionSegment:
    sessions = one_call()
    addresses = sessions.record(0).addresses
    addresses.set(0, key(10), 10, 100)
    addresses.set(1, key(20), 20, 200)
    addresses.nominated = 1
    return sessions


def named(sessions: SessionSegment) -> set[SessionAddress]:
    return {address._replace(nominated=False) for address in sessions.record(0).addresses.read() or []}


@pytest.mark.parametrize("name", CHANGES)
def test_session_addresses_writer_killed_at_every_store(name: str) -> None:
    """A reader beside it gets all as of one moment or nothing; a successor finds each address absent or whole, one
    nomination at most, of an address that is there; and the change can be made again."""
    deadly = fault_module("session", "session_addresses", "session_state").SessionSegment
    change = CHANGES[name]
    start, unharmed = two_addresses(), two_addresses()
    change(unharmed.record(0).addresses)
    before, after = (sessions.record(0).addresses.read() for sessions in (start, unharmed))
    for store in range(1, 100):
        sessions = two_addresses()
        writer = deadly.attach(os.dup(sessions.fd)).record(0).addresses
        died = killed_at(store, lambda writer=writer: change(writer))
        assert sessions.record(0).addresses.read() in (before, after, None)
        successor = SessionSegment.attach(os.dup(sessions.fd))
        addresses = successor.record(0).addresses
        found = addresses.read()
        assert found is not None
        assert named(successor) <= named(start) | named(unharmed)
        assert [address.place for address in found if address.nominated] in ([], [addresses.nominated])
        if not died:
            assert found == after
            assert store >= 5
            return
        if any(address.place == 0 for address in found) or name.startswith("set"):
            change(addresses)
            assert named(successor) <= named(unharmed)
    raise AssertionError("no end")


def test_session_addresses_dead_writer_does_not_hold_up_its_reader() -> None:
    """The sequence stays odd for ever: each read ends, without an answer, and media goes on with what it had."""
    sessions = two_addresses()
    memory = memoryview(sessions.segment)
    at = layout.SESSIONS_OFFSET + layout.offset("session", "address_sequence")
    sequence = int.from_bytes(memory[at : at + 8], "little")
    memory[at : at + 8] = (sequence + 1).to_bytes(8, "little")
    addresses = sessions.record(0).addresses
    assert [addresses.read() for _ in range(1000)] == [None] * 1000
    addresses.recover()
    assert addresses.read() is not None
    assert addresses.sequence == sequence + 2


def test_session_addresses_reader_sees_one_moment() -> None:
    """The writer gives all places the same new number, one nomination at a time; a mixture in one address is torn."""
    sessions = one_call()
    addresses = sessions.record(0).addresses
    for place in range(layout.ADDRESSES):
        addresses.set(place, key(1), 1, 1)

    def write() -> None:
        for i in range(1, 20_000):
            place = i % layout.ADDRESSES
            addresses.set(place, key(i), i, i)
            addresses.nominated = place

    reader = SessionSegment.attach(os.dup(sessions.fd), writer=False).record(0).addresses
    child = fork(write)
    seen = 0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        found = reader.read()
        if found is None:
            continue
        seen += 1
        assert all(address.key == key(address.id) for address in found)
        assert len(found) == layout.ADDRESSES
        assert sum(address.nominated for address in found) <= 1
        assert max(address.id for address in found) - min(address.id for address in found) <= layout.ADDRESSES
    assert reap(child) == 0
    assert seen > 0


def test_session_addresses_of_the_next_call_are_seen_as_changed() -> None:
    """Media's copy is judged by the sequence; a slot given out anew must not look like the old call."""
    sessions = two_addresses()
    before = sessions.record(0).addresses.sequence
    sessions.free(0)
    sessions.allocate(2)
    assert sessions.record(0).addresses.sequence > before


@pytest.mark.parametrize("place", [-1, layout.ADDRESSES])
def test_session_addresses_place_outside_is_refused(place: int) -> None:
    addresses = one_call().record(0).addresses
    with pytest.raises(IndexError):
        addresses.set(place, key(1), 1, 1)
    for wrong_key, wrong_id in ((bytes(47), 1), (bytes(48), 0)):
        with pytest.raises(ValueError, match="48 bytes"):
            addresses.set(0, wrong_key, wrong_id, 1)
    assert addresses.read() == []
