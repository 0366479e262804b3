"""Every reason under which a DTLS engine counts a drop; a test reads the sources and holds the two in step."""

DROP_REASONS = (
    "alert malformed",
    "association closed",
    "before start",
    "early data full",
    "handshake budget",
    "handshake fragment conflicts",
    "handshake fragment empty",
    "handshake fragment outside its message",
    "handshake message cut",
    "handshake message too far ahead",
    "handshake message too long",
    "handshake message unexpected",
    "handshake reassembly full",
    "plaintext alert",
    "plaintext record",
    "record before keys",
    "record cut",
    "record epoch",
    "record not authentic",
    "record replayed",
    "record too long",
    "record too short",
    "record type",
    "record version",
    "renegotiation",
    "send while not established",
    "too many records",
    "warning alert",
)


def drop_label(reason: str) -> str:
    """The counter of a drop: the reasons are words and speak of this engine only."""
    return f"dtls-{reason.replace(' ', '-')}"
