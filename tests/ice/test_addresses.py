"""What addresses earn, who gives way to whom, and that every change reaches the sink."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.peers import flow
from transceiverd.engine import SECOND
from transceiverd.ice.addresses import ADDRESSES_MAX, CHECKED, PROVEN, Address, AddressBook

CONSENT = 30 * SECOND
QUIET = 2 * SECOND
SIZE = 100


def key(n: int) -> bytes:
    """The n-th address."""
    return flow(("198.51.100.7", 40000 + n))


class Mirror:
    """An AddressSink that keeps what a session record would."""

    def __init__(self) -> None:
        self.places: list[tuple[object, ...] | None] = [None] * ADDRESSES_MAX

    def update(self, index: int, address: Address | None) -> None:
        """Copy it."""
        self.places[index] = None if address is None else shown(address)


def shown(address: Address) -> tuple[object, ...]:
    """The fields of `struct session_address`."""
    return (
        address.key,
        address.id,
        address.dtls_proven,
        address.nominated,
        address.checked_ns,
        address.bytes_received,
        address.bytes_sent,
    )


class Call:
    """A book with checks that number themselves."""

    def __init__(self) -> None:
        self.mirror = Mirror()
        self.book = AddressBook(CONSENT, QUIET, self.mirror)
        self.now = 0
        self.identity = 0

    def check(self, n: int, *, nominate: bool = False, priority: int = 1) -> bytes | None:
        """A valid check from address n, one ns later; returns who was evicted. Asserts that there was room."""
        self.now += 1
        self.identity += 1
        admission = self.book.check(key(n), self.identity.to_bytes(12, "big"), SIZE, self.now)
        assert admission.address is not None
        if nominate:
            self.book.nominate(admission.address, priority, self.now)
        return admission.evicted.key if admission.evicted else None

    def refused(self, n: int) -> bool:
        """Whether a check from address n finds no place."""
        self.now += 1
        return self.book.check(key(n), b"refused-----", SIZE, self.now).address is None


def test_addresses_fifth_evicts_the_unproven_one_checked_longest_ago() -> None:
    call = Call()
    for n in (1, 2, 3, 4, 1):
        assert call.check(n) is None
    assert call.check(5) == key(2)
    assert len(call.book) == 4


def test_addresses_heard_ones_outlive_merely_checked_ones() -> None:
    call = Call()
    for n in (1, 2, 3, 4):
        call.check(n)
    call.book.account_received(key(1), 200)  # DTLS started there
    assert [call.check(n) for n in (5, 6, 7)] == [key(2), key(3), key(4)]
    assert call.book.find(key(1)) is not None


def test_addresses_nominated_one_is_left_for_the_one_that_records_come_from() -> None:
    """Chromium sends on its new path for 3 s before it nominates it: answers went to the old one all that time."""
    call, second = Call(), 1_000_000_000
    for n in (1, 2, 3):
        call.check(n, nominate=n == 1)
        call.book.mark_proven(key(n), "dtls", call.now)
    assert call.book.send_target(call.now, established=True) == key(1)
    call.now += second
    call.book.mark_proven(key(2), "dtls", call.now)
    call.check(3)
    assert call.book.send_target(call.now, established=True) == key(2)
    call.now += second
    call.book.mark_proven(key(1), "dtls", call.now)  # heard again
    assert call.book.send_target(call.now, established=True) == key(1)
    call.now += second
    call.check(3, nominate=True)  # not heard from yet, but asked for
    assert call.book.send_target(call.now, established=True) == key(3)


def test_addresses_nominated_and_proven_never_give_way() -> None:
    call = Call()
    for n in (1, 2, 3):
        call.check(n)
    call.check(4, nominate=True)
    call.book.mark_proven(key(1), "dtls")
    call.book.mark_proven(key(2), "srtp")
    assert call.check(5) == key(3)
    call.book.mark_proven(key(5), "srtp")
    assert call.refused(6)
    assert {address.key for address in call.book} == {key(n) for n in (1, 2, 4, 5)}


def test_addresses_last_checked_stays_however_old() -> None:
    call = Call()
    call.check(1)
    call.check(2)
    assert call.book.expiry() == 1 + CONSENT
    assert [address.key for address in call.book.expire(call.now + CONSENT)] == [key(1)]
    assert call.book.expiry() is None
    assert call.book.expire(call.now + 100 * CONSENT) == []


def test_addresses_unproven_get_three_times_what_they_sent() -> None:
    call = Call()
    assert not call.book.may_send(key(1), 1)
    call.check(1)
    assert call.book.may_send(key(1), 3 * SIZE)
    assert not call.book.may_send(key(1), 3 * SIZE + 1)
    call.book.account_sent(key(1), 3 * SIZE)
    assert not call.book.may_send(key(1), 1)
    call.book.account_received(key(1), 10)
    assert call.book.may_send(key(1), 30)
    assert not call.book.may_send(key(1), 31)
    call.check(1)
    assert call.book.may_send(key(1), 3 * SIZE + 30)
    call.book.mark_proven(key(1), "dtls")
    assert call.book.may_send(key(1), 1_000_000)


@pytest.mark.parametrize("by", ["dtls", "srtp"])
def test_addresses_state_is_what_a_publish_says(by: str) -> None:
    call = Call()
    assert call.book.state(key(1)) == 0
    call.check(1)
    assert call.book.state(key(1)) == CHECKED
    assert call.book.mark_proven(key(1), by) is True  # type: ignore[arg-type]
    assert call.book.mark_proven(key(1), by) is False  # type: ignore[arg-type]
    assert call.book.mark_proven(key(2), by) is False  # type: ignore[arg-type]
    assert call.book.state(key(1)) == PROVEN


def test_addresses_ids_are_never_used_again() -> None:
    call = Call()
    seen = set()
    for n in range(50):
        call.check(n)
        address = call.book.find(key(n))
        assert address is not None
        assert address.id not in seen
        seen.add(address.id)


def test_addresses_sixteen_checks_are_remembered_for_each() -> None:
    call = Call()
    for _ in range(16):
        call.check(1)
    assert call.book.replayed(key(2), (1).to_bytes(12, "big"))
    assert not call.book.replayed(key(1), (1).to_bytes(12, "big"))
    call.check(1)
    assert not call.book.replayed(key(2), (1).to_bytes(12, "big"))


class BookMachine(RuleBasedStateMachine):
    """Any order of checks, nominations, proofs, bytes and time; what DESIGN 2.4 promises holds after each."""

    def __init__(self) -> None:
        super().__init__()
        self.mirror = Mirror()
        self.book = AddressBook(CONSENT, QUIET, self.mirror)
        self.now = 1
        self.identity = 0
        self.proven: set[bytes] = set()
        self.received: dict[bytes, int] = {}
        self.sent: dict[bytes, int] = {}

    @rule(n=st.integers(0, 7), nominate=st.booleans(), priority=st.integers(0, 3))
    def check(self, n: int, nominate: bool, priority: int) -> None:
        """A valid check, perhaps from a fifth address."""
        self.identity += 1
        kept = {a.key for a in self.book if a.proven or a.nominated}
        admission = self.book.check(key(n), self.identity.to_bytes(12, "big"), SIZE, self.now)
        if admission.evicted is not None:
            assert admission.evicted.key not in kept
            self.forget(admission.evicted.key)
        if admission.address is None:
            assert len(kept) == ADDRESSES_MAX
            return
        self.received[key(n)] = self.received.get(key(n), 0) + SIZE
        if nominate:
            self.book.nominate(admission.address, priority, self.now)

    @rule(n=st.integers(0, 7), by=st.sampled_from(("dtls", "srtp")))
    def prove(self, n: int, by: str) -> None:
        """A packet under the call's keys."""
        if self.book.mark_proven(key(n), by):  # type: ignore[arg-type]
            self.proven.add(key(n))

    @rule(n=st.integers(0, 7), size=st.integers(1, 1500))
    def hear(self, n: int, size: int) -> None:
        """Something else."""
        self.book.account_received(key(n), size)
        if self.book.find(key(n)) is not None:
            self.received[key(n)] += size

    @rule(n=st.integers(0, 7), size=st.integers(1, 1500))
    def send(self, n: int, size: int) -> None:
        """To an address, within its budget."""
        if self.book.may_send(key(n), size):
            self.book.account_sent(key(n), size)
            self.sent[key(n)] = self.sent.get(key(n), 0) + size
            assert key(n) in self.proven or self.sent[key(n)] <= 3 * self.received[key(n)]

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += int(seconds * SECOND)
        for address in self.book.expire(self.now):
            self.forget(address.key)
        expiry = self.book.expiry()
        assert expiry is None or expiry > self.now

    @invariant()
    def holds(self) -> None:
        """At most four, at most one nominated, the sink equal, and nothing sent where nothing may be."""
        addresses = list(self.book)
        assert len(addresses) <= ADDRESSES_MAX
        assert sum(address.nominated for address in addresses) <= 1
        assert [shown(a) for a in addresses] == [place for place in self.mirror.places if place is not None]
        target = self.book.send_target(self.now, established=True)
        assert target is None or target in self.proven
        early = self.book.send_target(self.now, established=False)
        assert (early is None) == all(self.now - a.checked_ns >= CONSENT for a in addresses)

    def forget(self, gone: bytes) -> None:
        """What was earned went with the address."""
        self.proven.discard(gone)
        self.received.pop(gone, None)
        self.sent.pop(gone, None)


BookMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestBookMachine = BookMachine.TestCase


def test_addresses_restored_places_keep_their_ids() -> None:
    call = Call()
    for n in (1, 2, 3):
        call.check(n)
    book = AddressBook(CONSENT, QUIET)
    order = list(call.book)
    random.Random(1).shuffle(order)
    for index, address in enumerate(order):
        book.restore(index, address)
    admission = book.check(key(9), b"new---------", SIZE, 99)
    assert admission.address is not None
    assert admission.address.id == 4
