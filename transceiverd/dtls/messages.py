"""Handshake messages and their fragments (RFC 6347 section 4.2.2).

Called by the handshake for both directions. Only the header is looked at: what a message says is OpenSSL's business.
"""

import struct

import msgspec

from shm.errors import MalformedPacket

CLIENT_HELLO = 1
SERVER_HELLO = 2
HELLO_VERIFY_REQUEST = 3
CERTIFICATE = 11
SERVER_KEY_EXCHANGE = 12
CERTIFICATE_REQUEST = 13
SERVER_HELLO_DONE = 14
CERTIFICATE_VERIFY = 15
CLIENT_KEY_EXCHANGE = 16
FINISHED = 20

# What a peer in each role may send in the clear. Everything else (HelloRequest, which would ask for renegotiation;
# NewSessionTicket, which nobody offered; what our own role sends, reflected) never reaches OpenSSL.
FROM_SERVER = frozenset(
    (SERVER_HELLO, HELLO_VERIFY_REQUEST, CERTIFICATE, SERVER_KEY_EXCHANGE, CERTIFICATE_REQUEST, SERVER_HELLO_DONE)
)
FROM_CLIENT = frozenset((CLIENT_HELLO, CERTIFICATE, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY))

HEADER_BYTES = 12

_HEADER = struct.Struct("!BBHHBHBH")  # type, length (24), message_seq, fragment_offset (24), fragment_length (24)


class Fragment(msgspec.Struct, frozen=True, gc=False):
    """A piece of a handshake message, or all of it."""

    message_type: int
    length: int  # of the whole message, without its header
    message_sequence: int
    offset: int
    body: bytes

    def serialize(self) -> bytes:
        """Header and body."""
        length, offset, size = self.length, self.offset, len(self.body)
        header = _HEADER.pack(
            self.message_type, length >> 16, length & 0xFFFF, self.message_sequence,
            offset >> 16, offset & 0xFFFF, size >> 16, size & 0xFFFF,
        )  # fmt: skip
        return header + self.body


def parse_fragments(body: bytes) -> list[Fragment]:
    """All fragments in a handshake record's plaintext, at least one.

    Raises MalformedPacket: "handshake message cut", "handshake fragment outside its message",
    "handshake fragment empty".
    """
    fragments = []
    at = 0
    while True:
        fragment = _parse_fragment(body, at)
        fragments.append(fragment)
        at += HEADER_BYTES + len(fragment.body)
        if at == len(body):
            return fragments


def cipher_suite_of(server_hello: bytes) -> int:
    """The suite that a ServerHello of our own chose (RFC 5246 section 7.4.1.3); OpenSSL's shape is not doubted."""
    session_id_bytes = server_hello[HEADER_BYTES + 34]
    at = HEADER_BYTES + 35 + session_id_bytes
    return int.from_bytes(server_hello[at : at + 2])


def _parse_fragment(data: bytes, at: int) -> Fragment:
    if len(data) - at < HEADER_BYTES:
        raise MalformedPacket("handshake message cut")
    kind, high, low, sequence, offset_high, offset_low, size_high, size_low = _HEADER.unpack_from(data, at)
    length, offset, size = high << 16 | low, offset_high << 16 | offset_low, size_high << 16 | size_low
    if offset + size > length:
        raise MalformedPacket("handshake fragment outside its message")
    if size == 0 and length > 0:
        raise MalformedPacket("handshake fragment empty")
    start = at + HEADER_BYTES
    if len(data) - start < size:
        raise MalformedPacket("handshake message cut")
    return Fragment(kind, length, sequence, offset, data[start : start + size])
