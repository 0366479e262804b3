"""Alerts (RFC 5246 section 7.2): two bytes, a level and a description.

Which of them count is the engine's business: only those from inside the association do (RFC 6347 section 4.1.2.7).
"""

from typing import NamedTuple

from shm.errors import MalformedPacket

LEVEL_WARNING = 1
LEVEL_FATAL = 2

CLOSE_NOTIFY = 0
BAD_CERTIFICATE = 42
DECRYPT_ERROR = 51
USER_CANCELED = 90

DESCRIPTIONS = {
    0: "close_notify",
    10: "unexpected_message",
    20: "bad_record_mac",
    22: "record_overflow",
    40: "handshake_failure",
    42: "bad_certificate",
    43: "unsupported_certificate",
    44: "certificate_revoked",
    45: "certificate_expired",
    46: "certificate_unknown",
    47: "illegal_parameter",
    48: "unknown_ca",
    49: "access_denied",
    50: "decode_error",
    51: "decrypt_error",
    70: "protocol_version",
    71: "insufficient_security",
    80: "internal_error",
    86: "inappropriate_fallback",
    90: "user_canceled",
    100: "no_renegotiation",
    110: "unsupported_extension",
    116: "certificate_required",
    120: "no_application_protocol",
}


class Alert(NamedTuple):
    """One alert."""

    level: int
    description: int

    @property
    def name(self) -> str:
        """One of a fixed set of names, so that it can be part of a reason."""
        return DESCRIPTIONS.get(self.description, "unknown")


def parse_alert(body: bytes) -> Alert:
    """The alert in a record's plaintext."""
    if len(body) != 2 or body[0] not in (LEVEL_WARNING, LEVEL_FATAL):
        raise MalformedPacket("alert malformed")
    return Alert(body[0], body[1])


def serialize_alert(alert: Alert) -> bytes:
    """The alert as a record's plaintext."""
    return bytes(alert)
