"""Why a call does not work, from what the server knows of it: for the call page and for one log line.

`diagnose` is a pure function of a snapshot. It looks for the first step that was not reached (`phases.NAMES`) and says
what usually causes that, most specific cause first. It judges only what the server can see: a client that never got the
answer looks like one behind a closed port.
"""

import ipaddress

import msgspec

from transceiverd import callid
from transceiverd.signalling.router import AddressSeen, CallSnapshot

# Milliseconds after the previous step before its absence means something. A client on the other side of the earth with
# one lost packet needs about 1 s; the page asks every second or two.
NO_CHECK_MS = 5_000.0
NO_HANDSHAKE_MS = 3_000.0
NO_MEDIA_MS = 3_000.0

ENDED = frozenset({"closing", "closed"})
# Ends that somebody wanted: nothing to explain. The other reasons are time-outs and failures.
ORDERLY = frozenset({"hangup", "close notify", "local close", "bye", "shutdown", "upgrade"})


class Advice(msgspec.Struct, frozen=True):
    """One finding."""

    code: str
    message: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """What the page gets."""

    call_id: str
    state: str
    stuck_in: str | None
    """`ice`, `dtls`, `media`, `consent`, or None: all is well, or it is too early to say."""
    failed: bool
    """The call has ended without being hung up."""
    age_ms: float
    phases: dict[str, float | None]
    client_address: str
    answered: list[str]
    """Our candidates, `address:port`."""
    addresses: list[AddressSeen]
    advice: list[Advice]
    closed_reason: str | None
    candidates_offered: int
    dtls: dict[str, str | int | None]
    media: dict[str, float | None]
    drops: dict[str, int]


def diagnose(snapshot: CallSnapshot) -> Diagnosis:
    """Everything that is known, and what it means."""
    stuck_in, advice = _stuck(snapshot)
    ended = snapshot.state in ENDED
    return Diagnosis(
        call_id=snapshot.call_id,
        state=snapshot.state,
        stuck_in=stuck_in,
        failed=ended and snapshot.closed_reason not in ORDERLY,
        age_ms=round(snapshot.age_ms, 1),
        phases=snapshot.phases,
        client_address=snapshot.client_address,
        answered=[_with_port(address, snapshot.answered_port) for address in snapshot.answered_addresses],
        addresses=snapshot.addresses,
        advice=advice,
        closed_reason=snapshot.closed_reason,
        candidates_offered=snapshot.candidates_offered,
        dtls=snapshot.dtls,
        media=snapshot.media,
        drops=snapshot.drops,
    )


def diagnosis_line(diagnosis: Diagnosis) -> str:
    """The same in one log line, without a newline from outside."""
    where = diagnosis.stuck_in or "nothing"
    why = "; ".join(f"{advice.code}: {advice.message}" for advice in diagnosis.advice) or "no advice"
    line = (
        f"{callid.short(diagnosis.call_id)} {diagnosis.state} after {diagnosis.age_ms:.0f} ms, stuck in {where}: {why}"
    )
    return "".join(character if character.isprintable() else "?" for character in line)


def _stuck(snapshot: CallSnapshot) -> tuple[str | None, list[Advice]]:
    """The step that is missing, and what may be the cause."""
    phases, age, ended = snapshot.phases, snapshot.age_ms, snapshot.state in ENDED
    if ended and snapshot.closed_reason in ORDERLY:
        return None, []
    checked, secured = phases.get("check_accepted"), phases.get("dtls_done")
    if checked is None:
        return ("ice", _ice_advice(snapshot)) if ended or age >= NO_CHECK_MS else (None, [])
    if secured is None:
        return ("dtls", [_dtls_advice(snapshot)]) if ended or age - checked >= NO_HANDSHAKE_MS else (None, [])
    if snapshot.state == "silent" or (ended and phases.get("first_media") is not None):
        return "consent", [_consent_advice(snapshot)]
    if phases.get("first_media") is None and (ended or age - secured >= NO_MEDIA_MS):
        return "media", [_media_advice(snapshot)]
    return None, []


def _ice_advice(snapshot: CallSnapshot) -> list[Advice]:
    """No check was accepted."""
    if snapshot.phases.get("first_check") is not None:
        text = "STUN checks came, but none had the right password: was the answer changed, or is it of another call?"
        return [Advice("checks_refused", text)]
    advice = []
    reach = _unreachable(snapshot)
    if reach is not None:
        advice.append(reach)
    seconds = int(min(snapshot.age_ms, 1e9) // 1000)
    text = f"no STUN in {seconds} s: is UDP {snapshot.answered_port} blocked between the client and this server?"
    return [*advice, Advice("no_stun", text)]


def _unreachable(snapshot: CallSnapshot) -> Advice | None:
    """Whether none of our addresses can be reached from where the client seems to be."""
    client = _address(snapshot.client_address)
    answered = [address for text in snapshot.answered_addresses if (address := _address(text)) is not None]
    if not answered:
        return Advice("nothing_answered", "the answer named no address of this server: set `advertise`")
    names = ", ".join(str(address) for address in answered)
    if client is None or client.is_loopback:
        return None
    if all(address.is_loopback for address in answered):
        return Advice("only_loopback", f"you come from {client} but were answered with {names} only: set `advertise`")
    if client.is_global and not any(address.is_global for address in answered):
        text = f"you come from the public address {client} but were answered with {names}: set `advertise`"
        return Advice("private_answer", f"{text} to the public address of this server")
    return None


def _dtls_advice(snapshot: CallSnapshot) -> Advice:
    """Checks were accepted, the handshake is not done."""
    if "fingerprint" in (snapshot.closed_reason or ""):
        return Advice("fingerprint", "the client's certificate is not the one its offer announced: the call was ended")
    if snapshot.phases.get("dtls_started") is None:
        return Advice("dtls_not_started", "STUN yes, DTLS no: the client was to open the handshake and did not")
    if snapshot.phases.get("dtls_answered") is None:
        text = "STUN yes, DTLS no: nothing came back to our handshake. Does a firewall pass small UDP packets only?"
        return Advice("dtls_silent", text)
    return Advice("dtls_unfinished", "the DTLS handshake began and did not end: packets are lost, or it was refused")


def _media_advice(snapshot: CallSnapshot) -> Advice:
    return Advice("no_media", "ICE and DTLS are done, but no audio came: is the microphone allowed and not muted?")


def _consent_advice(snapshot: CallSnapshot) -> Advice:
    return Advice("consent_lost", "the client stopped sending checks: its network changed, or its page was closed")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _with_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
