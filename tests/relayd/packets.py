"""Packets for the relay's tests, built by hand so that no parser of ours vouches for another."""

import struct

COOKIE = 0x2112A442
BINDING_REQUEST = 0x0001
BINDING_INDICATION = 0x0011
BINDING_SUCCESS = 0x0101
BINDING_ERROR = 0x0111
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
MESSAGE_INTEGRITY_SHA256 = 0x001C
PRIORITY = 0x0024
FINGERPRINT = 0x8028


def attribute(kind: int, value: bytes) -> bytes:
    """One STUN attribute with its padding."""
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def stun(kind: int, *attributes: bytes, cookie: int = COOKIE, length: int | None = None) -> bytes:
    """One STUN message; `length` overrides the right one."""
    body = b"".join(attributes)
    return struct.pack("!HHI", kind, len(body) if length is None else length, cookie) + b"transaction!" + body


def binding_request(ufrag: str, theirs: str = "peer", *before: bytes) -> bytes:
    """A Binding request as a browser sends it, with an integrity that is garbage to anybody who could check it."""
    return stun(
        BINDING_REQUEST,
        *before,
        attribute(USERNAME, f"{ufrag}:{theirs}".encode("latin-1")),
        attribute(PRIORITY, bytes(4)),
        attribute(MESSAGE_INTEGRITY, bytes(20)),
        attribute(FINGERPRINT, bytes(4)),
    )


def dtls(size: int = 13) -> bytes:
    """A DTLS record header and something behind it."""
    return (b"\x16\xfe\xfd" + bytes(10)).ljust(size, b"d")


def rtp(size: int = 172, sequence: int = 0) -> bytes:
    """An RTP packet, payload type 111."""
    return (struct.pack("!BBHII", 0x80, 111, sequence, 0, 0x1234)).ljust(size, b"r")


def rtcp(size: int = 28) -> bytes:
    """A sender report."""
    return struct.pack("!BBHI", 0x80, 200, 6, 0x1234).ljust(size, b"c")
