"""Why a call fails: the cases that the call page must be able to tell apart, as snapshots and what is said of them."""

from typing import Any

import pytest

from transceiverd import callid, phases
from transceiverd.signalling.diagnosis import diagnose, diagnosis_line
from transceiverd.signalling.router import CallSnapshot

CALL = callid.mint(0, 1)
STEPS = dict.fromkeys(phases.NAMES)
CHECKED = {"answered": 0.0, "first_check": 100.0, "check_accepted": 100.0}
STARTED = {**CHECKED, "dtls_started": 110.0}
SECURED = {**STARTED, "dtls_answered": 150.0, "dtls_done": 200.0}
TALKING = {**SECURED, "first_media": 250.0}


def snapshot(reached: dict[str, float] | None = None, **fields: Any) -> CallSnapshot:
    """A call of 6 s, from a public address to a public address."""
    values: dict[str, Any] = {
        "call_id": CALL,
        "state": "new",
        "age_ms": 6000.0,
        "phases": {**STEPS, "answered": 0.0, **(reached or {})},
        "client_address": "8.8.8.8",
        "answered_addresses": ["1.1.1.1", "10.0.0.5"],
        "answered_port": 3478,
    }
    return CallSnapshot(**{**values, **fields})


# name, snapshot, stuck in, codes of the advice
CASES = [
    ("too early to say", snapshot(age_ms=1000.0), None, []),
    ("no check in time", snapshot(), "ice", ["no_stun"]),
    (
        "public client, private answer",
        snapshot(answered_addresses=["10.0.0.5", "127.0.0.1"]),
        "ice",
        ["private_answer", "no_stun"],
    ),
    ("LAN client, loopback answer", snapshot(client_address="192.168.0.7", answered_addresses=["127.0.0.1", "::1"]),
     "ice", ["only_loopback", "no_stun"]),
    ("LAN client, LAN answer", snapshot(client_address="192.168.0.7", answered_addresses=["10.0.0.5"]),
     "ice", ["no_stun"]),
    ("client on this machine", snapshot(client_address="127.0.0.1", answered_addresses=["127.0.0.1"]),
     "ice", ["no_stun"]),
    ("mapped address", snapshot(client_address="::ffff:8.8.8.8", answered_addresses=["10.0.0.5"]), "ice",
     ["private_answer", "no_stun"]),
    ("nothing advertised", snapshot(answered_addresses=[]), "ice", ["nothing_answered", "no_stun"]),
    ("no client address", snapshot(client_address=""), "ice", ["no_stun"]),
    ("checks with a wrong password", snapshot({"first_check": 80.0}), "ice", ["checks_refused"]),
    ("ended before any check", snapshot(state="closing", age_ms=15_000.0, closed_reason="never-checked"), "ice",
     ["no_stun"]),
    ("just checked", snapshot(CHECKED, state="checked", age_ms=1000.0), None, []),
    ("client never opens DTLS", snapshot(CHECKED, state="checked"), "dtls", ["dtls_not_started"]),
    ("nothing comes back to ClientHello", snapshot(STARTED, state="checked"), "dtls", ["dtls_silent"]),
    ("handshake hangs", snapshot({**STARTED, "dtls_answered": 150.0}, state="checked"), "dtls", ["dtls_unfinished"]),
    ("wrong certificate", snapshot(STARTED, state="closing", age_ms=300.0, closed_reason="fingerprint mismatch"),
     "dtls", ["fingerprint"]),
    ("secured, silent so far", snapshot(SECURED, state="connected", age_ms=900.0), None, []),
    ("secured, no media", snapshot(SECURED, state="connected"), "media", ["no_media"]),
    ("all is well", snapshot(TALKING, state="connected"), None, []),
    ("consent lost", snapshot(TALKING, state="silent", age_ms=40_000.0), "consent", ["consent_lost"]),
    ("ended by consent", snapshot(TALKING, state="closing", closed_reason="consent-expired"),
     "consent", ["consent_lost"]),
    ("hung up", snapshot(TALKING, state="closing", closed_reason="hangup"), None, []),
    ("hung up before it worked", snapshot(state="closing", closed_reason="hangup"), None, []),
    ("left by close_notify", snapshot(TALKING, state="closing", closed_reason="close notify"), None, []),
]  # fmt: skip


@pytest.mark.parametrize(("given", "stuck_in", "codes"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_diagnosis_table(given: CallSnapshot, stuck_in: str | None, codes: list[str]) -> None:
    diagnosis = diagnose(given)
    assert diagnosis.stuck_in == stuck_in
    assert [advice.code for advice in diagnosis.advice] == codes
    ended = given.state == "closing"
    assert diagnosis.failed == (ended and given.closed_reason not in ("hangup", "close notify"))
    assert diagnosis_line(diagnosis).isprintable()


def test_diagnosis_words() -> None:
    """The issue's own examples."""
    advice = diagnose(snapshot(answered_addresses=["10.0.0.5"])).advice
    assert "you come from the public address 8.8.8.8 but were answered with 10.0.0.5" in advice[0].message
    assert advice[1].message == "no STUN in 6 s: is UDP 3478 blocked between the client and this server?"
    assert "STUN yes, DTLS no" in diagnose(snapshot(STARTED, state="checked")).advice[0].message


def test_diagnosis_line_has_no_secret_and_no_forged_line() -> None:
    line = diagnosis_line(diagnose(snapshot(closed_reason="x\ny", state="closing", answered_addresses=[])))
    assert CALL not in line
    assert line.startswith(callid.short(CALL))
    assert "\n" not in line


def test_diagnosis_lists_candidates_with_ports() -> None:
    assert diagnose(snapshot(answered_addresses=["1.1.1.1", "fd00::1"])).answered == ["1.1.1.1:3478", "[fd00::1]:3478"]
