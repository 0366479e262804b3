"""What a transceiver tells about one call: for the operator, the call page and the log. Plain values, no secrets.

The shape is that of `signalling.router.CallSnapshot`, which adds what only signalling knows.
"""

from typing import TYPE_CHECKING

from shm.daemon.log_addresses import client_address
from shm.flowkey import key_client, key_local
from transceiverd import callid
from transceiverd.engine import MILLISECOND
from transceiverd.ice.addresses import Address

if TYPE_CHECKING:
    from transceiverd.call import Call

Q8 = 256  # RFC 3550 6.4.1: the fraction lost is a fixed-point number with 8 bits
OPUS_CLOCK_RATE = 48_000


def connected_line(call: "Call") -> str:
    """For the log, once media flows."""
    times = call.session.phases.milliseconds()
    # Chromium nominates after its handshake: until then there is the address that it was made with.
    key = call.session.nominated_key or next((address.key for address in call.session.agent.addresses), b"")
    ip, port = key_client(key) if key else ("", 0)
    where = client_address(ip) if ip else ""
    where = f"[{where}]:{port}" if ":" in where else f"{where}:{port}"
    return (
        f"{callid.short(call.call_id)} connected from {where}: check after {times['check_accepted']} ms, "
        f"DTLS after {times['dtls_done']} ms, {call.session.version}"
    )


def describe(call: "Call", now: int) -> dict[str, object]:
    """Everything about one call that its owner may see."""
    session = call.session
    return {
        "call_id": call.call_id,
        "owner": call.caller.owner,
        "client_address": call.caller.address,
        "dialect": call.caller.dialect,
        "state": session.state.name.lower(),
        "age_ms": (now - session.phases.answered) / MILLISECOND,
        "phases": session.phases.milliseconds(),
        "addresses": [_address(address) for address in session.agent.addresses],
        "closed_reason": session.close_reason or None,
        "transceiver": call.owner.transceiver,
        "candidates_offered": call.negotiation.candidates_offered,
        "dtls": _dtls(call),
        "media": _media(call, now),
        "drops": _drops(call),
    }


def _dtls(call: "Call") -> dict[str, str | None]:
    """What was agreed; of a failed handshake, what is known of why (a plaintext alert is anybody's word: a hint)."""
    engine = call.session.dtls
    return {
        "version": call.session.version or None,
        "role": call.negotiation.dtls_role,
        "alert_hint": engine.alert_hint.name if engine.alert_hint else None,
        "failure": engine.failure_detail,
    }


def _address(address: Address) -> dict[str, object]:
    return {
        "client": _endpoint(*key_client(address.key)),
        "local": _endpoint(*key_local(address.key)),
        "proven": address.proven,
        "nominated": address.nominated,
        "bytes_received": address.bytes_received,
        "bytes_sent": address.bytes_sent,
    }


def _endpoint(ip: str, port: int) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _media(call: "Call", now: int) -> dict[str, float | None]:
    media = call.record.media
    last = media.last_received_ns
    return {
        "packets_received": media.packets_received,
        "bytes_received": media.bytes_received,
        "packets_sent": media.packets_sent,
        "octets_sent": media.octets_sent,
        "gaps_up": media.gaps_up,
        "loss_down": media.remote_fraction_lost / Q8,
        "lost_down": media.remote_cumulative_lost,
        "jitter_down_ms": 1000 * media.remote_jitter / (media.clock_rate or OPUS_CLOCK_RATE),
        "round_trip_ms": media.round_trip_us / 1000 if media.round_trip_us else None,
        "last_received_ms_ago": (now - last) / MILLISECOND if last else None,
    }


def _drops(call: "Call") -> dict[str, int]:
    media = call.record.media
    return {
        "auth": media.dropped_auth,
        "replay": media.dropped_replay,
        "malformed": media.dropped_malformed,
        "early": media.dropped_early,
        "no_address": media.dropped_no_address,
        "full": media.dropped_full,
    }
