"""The two ways in which a peer's packet is refused after it was parsed.

Neither leaves the engine: `Association.receive_datagram` turns a `Refused` into a counted drop and a
`ProtocolViolation` into an ABORT and `Closed`.
"""

NO_USER_DATA = 9  # error cause codes, RFC 9260 3.3.10
INVALID_STREAM = 1
STALE_COOKIE = 3
OUT_OF_RESOURCE = 4
UNRECOGNIZED_CHUNK = 6
USER_ABORT = 12
PROTOCOL_VIOLATION = 13


class Refused(Exception):
    """This chunk, or the rest of its packet, is dropped; `reason` is fixed and labels a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ProtocolViolation(Exception):
    """The association cannot go on with such a peer; `reason` is fixed, `cause` the error cause code sent."""

    def __init__(self, reason: str, cause: int = PROTOCOL_VIOLATION) -> None:
        super().__init__(reason)
        self.reason = reason
        self.cause = cause
