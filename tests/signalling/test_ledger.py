"""Calls on this machine, of one address, of one token: counted before anything is waited for, free when they end."""

import random

import pytest

from transceiverd import callid
from transceiverd.signalling.ledger import CallLedger, CallLimits, Reservation
from transceiverd.signalling.router import LimitReached


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (CallLimits(machine=2), "too_many_calls"),
        (CallLimits(address=2), "too_many_calls_from_address"),
        (CallLimits(token=2), "too_many_calls_for_token"),
    ],
)
def test_ledger_place_beyond_the_bound_is_refused_until_one_is_free(limits: CallLimits, code: str) -> None:
    ledger = CallLedger(limits)
    first = ledger.reserve("192.0.2.1", "a")
    ledger.reserve("192.0.2.1", "a")
    with pytest.raises(LimitReached) as refused:
        ledger.reserve("192.0.2.1", "a")
    assert refused.value.code == code
    assert (refused.value.status, refused.value.retry_after) == (429, 5)
    if not limits.machine:
        ledger.reserve("192.0.2.2", "b")
    first.release()
    first.release()
    ledger.reserve("192.0.2.1", "a")
    with pytest.raises(LimitReached):
        ledger.reserve("192.0.2.1", "a")


def test_ledger_nameless_calls_count_for_the_machine_only() -> None:
    ledger = CallLedger(CallLimits(machine=3, address=1, token=1))
    for _ in range(3):
        ledger.reserve("", "")
    with pytest.raises(LimitReached, match="server"):
        ledger.reserve("", "")


def test_ledger_death_of_a_transceiver_frees_its_calls_and_no_other() -> None:
    ledger = CallLedger(CallLimits(address=4))
    for transceiver in (0, 0, 1):
        ledger.reserve("192.0.2.1", "").bind(callid.mint(0, transceiver))
    unbound = ledger.reserve("192.0.2.1", "")
    ledger.transceiver_gone(0)
    assert len(ledger) == 2
    unbound.release()
    ledger.transceiver_gone(1)
    assert len(ledger) == 0


def test_ledger_restored_calls_count_once_and_beyond_a_bound() -> None:
    ledger = CallLedger(CallLimits(address=1))
    ids = [callid.mint(0, 0) for _ in range(2)]
    for call_id in ids * 2:
        ledger.restore(call_id, "192.0.2.1", "")
    assert len(ledger) == 2
    ledger.ended(ids[0])
    with pytest.raises(LimitReached):
        ledger.reserve("192.0.2.1", "")
    ledger.ended(ids[1])
    ledger.ended(ids[1])
    ledger.reserve("192.0.2.1", "")


@pytest.mark.parametrize("seed", range(20))
def test_ledger_any_order_agrees_with_a_list(seed: int) -> None:
    rng = random.Random(seed)
    limits = CallLimits(machine=20, address=6, token=8)
    ledger = CallLedger(limits)
    held: list[Reservation] = []
    for _ in range(500):
        if rng.random() < 0.6:
            address, owner = rng.choice(["", "a", "b", "c"]), rng.choice(["", "x", "y"])
            room = (
                len(held) < limits.machine
                and (not address or sum(each.address == address for each in held) < limits.address)
                and (not owner or sum(each.owner == owner for each in held) < limits.token)
            )
            try:
                place = ledger.reserve(address, owner)
            except LimitReached:
                assert not room
                continue
            assert room
            if rng.random() < 0.7:
                place.bind(callid.mint(0, 0))
            held.append(place)
        elif held:
            place = held.pop(rng.randrange(len(held)))
            ledger.ended(place.call_id) if place.call_id else place.release()
        assert len(ledger) == len(held)
