"""Checks a second: of one call by new addresses, by its own, and of all calls; who floods hurts the own call only."""

import socket

import pytest

from relayd.check_gate import CheckGate
from tests.relayd import packets
from tests.relayd.rig import CHECKED, DTLS, PUBLISH, STUN, Call, Rig, until

SECOND = 1_000_000_000
ALICE, BOB = Call(0, 5, 9), Call(0, 6, 10)
VAST = 1_000_000


def _passed(gate: CheckGate, origin: int, checks: int, *, known: bool = False, at: float = 1) -> int:
    return sum(gate.passes(origin, known, int(at * SECOND)) for _ in range(checks))


def test_gate_new_addresses_of_one_call_are_bounded_and_no_other_call_pays() -> None:
    gate = CheckGate(per_second=1000, per_second_slot=50, per_second_flow=20)
    assert _passed(gate, ALICE.origin, 10_000) == 50
    assert _passed(gate, BOB.origin, 5) == 5
    assert _passed(gate, ALICE.origin, 5, known=True) == 5, "its own address has a bound of its own"
    assert _passed(gate, ALICE.origin, 10_000, at=2) == 50, "a new second"


def test_gate_generation_before_in_the_same_slot_takes_nothing_from_the_call() -> None:
    """Whoever had the slot before still has a ufrag that verifies."""
    gate = CheckGate(per_second=1000, per_second_slot=50, per_second_flow=20)
    before = Call(0, 5, 8)
    assert _passed(gate, before.origin, 1000) == 50
    assert _passed(gate, ALICE.origin, 50) == 50


def test_gate_bound_of_all_keeps_half_for_calls_that_only_begin() -> None:
    """Somebody floods under a hundred ufrags of his own; two hundred callers send their first checks meanwhile."""
    gate = CheckGate(per_second=1000, per_second_slot=100, per_second_flow=20)
    hostile = [Call(0, slot, 1).origin for slot in range(100)]
    flood = sum(_passed(gate, origin, 10_000) for origin in hostile)
    assert flood <= 500 + 2 * len(hostile)
    assert all(_passed(gate, Call(1, slot, 1).origin, 2) == 2 for slot in range(100))
    assert sum(_passed(gate, Call(2, slot, 1).origin, 2) for slot in range(1000)) <= 1000, "and no more than all"
    total = sum(_passed(gate, Call(3, slot, 1).origin, 2, at=2) for slot in range(5000))
    assert total == 1000


def test_gate_checks_by_the_calls_own_flow_are_bounded_by_themselves_only() -> None:
    gate = CheckGate(per_second=16, per_second_slot=8, per_second_flow=100)
    for slot in range(100):
        _passed(gate, Call(2, slot, 1).origin, 100)
    assert _passed(gate, ALICE.origin, 10_000, known=True) == 100
    assert _passed(gate, BOB.origin, 10_000, known=True) == 100, "the bound of all does not know flows"


def test_gate_addresses_of_one_call_are_bounded_each_for_itself() -> None:
    """An overheard check, sent once more from elsewhere, makes that address the call's. A flood from there took the
    answers from the client's own consent checks: 3 of 100 were answered."""
    gate = CheckGate(per_second=16, per_second_slot=8, per_second_flow=100)
    hostile, own = 17, 4711  # flows
    assert sum(gate.passes(ALICE.origin, hostile, SECOND) for _ in range(10_000)) == 100
    assert sum(gate.passes(ALICE.origin, own, SECOND) for _ in range(50)) == 50


def test_gate_time_that_goes_back_is_one_more_second() -> None:
    gate = CheckGate(per_second=1000, per_second_slot=50, per_second_flow=20)
    assert _passed(gate, ALICE.origin, 100, at=5) == 50
    assert _passed(gate, ALICE.origin, 100, at=4) == 50


@pytest.mark.parametrize(
    ("flow", "bounds", "outcome"),
    [
        (False, {"per_second_slot": 4}, "dropped_checks_of_slot"),
        (True, {"per_second_flow": 4}, "dropped_checks_of_flow"),
        (False, {"per_second": 4}, "dropped_checks_of_all"),
    ],
)
def test_gate_check_too_many_is_a_drop_with_its_own_counter(flow: bool, bounds: dict[str, int], outcome: str) -> None:
    gate = CheckGate(**{"per_second": VAST, "per_second_slot": VAST, "per_second_flow": VAST} | bounds)
    with Rig(gate=gate, ring_bytes=1 << 18) as rig:
        client = rig.client()
        if flow:
            rig.ends[0].ask(PUBLISH, ALICE, rig.key(client), state=CHECKED)
            rig.out_settled(1)
        request = packets.binding_request(rig.ufrag(ALICE))
        sent = 0

        def dropped() -> bool:
            nonlocal sent
            for _ in range(20):
                rig.send(client, request)
            sent += 20
            return rig.settled(sent)[outcome] > 0

        until(dropped, "twenty of a second's four come in one second")
        after = rig.settled(sent)
        assert after["forwarded_stun"] + after[outcome] == sent
        assert len(rig.ends[0].take_handshake()) == after["forwarded_stun"]


def test_gate_dtls_flood_from_a_callers_own_address_leaves_room_for_checks() -> None:
    with Rig() as rig:
        hostile, caller = rig.client(), rig.client()
        rig.ends[0].ask(PUBLISH, ALICE, rig.key(hostile), state=CHECKED)
        rig.out_settled(1)
        sent = 0
        while not rig.count("dropped_handshake_ring_full"):
            rig.send(hostile, packets.dtls(600))
            sent += 1
            rig.settled(sent)
        for _ in range(20):
            _send_check(rig, caller)
        after = rig.settled(sent + 20)
        assert after["forwarded_stun"] == 20
        kinds = [record.type for record in rig.ends[0].take_handshake()]
        assert kinds.count(STUN) == 20
        assert kinds.count(DTLS) == after["forwarded_dtls"]
        rig.send(hostile, packets.dtls(600))
        assert rig.settled(sent + 21)["forwarded_dtls"] == after["forwarded_dtls"] + 1, "once there is room again"


def _send_check(rig: Rig, client: socket.socket) -> None:
    rig.send(client, packets.binding_request(rig.ufrag(BOB)))
