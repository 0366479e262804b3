"""DTLS records (RFC 6347 section 4.1): their framing, and the protection of DTLS 1.2 with AEADs (RFC 5246 6.2.3.3).

Called by the handshake (framing both ways, its own Finished) and by the engine (everything after it). Nothing here
keeps state of its own: `RecordLayer12` works on the call's `DtlsState`, and one built on the same fields in another
process goes on where this one stopped. Left out: compression (never negotiated), connection ids, MTU discovery, and
DTLS 1.3, which gets a class of its own. Records are msgspec Structs: made in C, in a fifth of a NamedTuple's time.
"""

import struct

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from shm.errors import MalformedPacket
from transceiverd.dtls.state import VERSION_DTLS_1_2, DtlsState
from transceiverd.dtls.suites import SUITES_BY_NUMBER, TAG_BYTES

CHANGE_CIPHER_SPEC = 20
ALERT = 21
HANDSHAKE = 22
APPLICATION_DATA = 23

VERSION_DTLS_1_0 = 0xFEFF  # on a ClientHello's record and a HelloVerifyRequest's (RFC 6347 section 4.2.1)

HEADER_BYTES = 13
PLAINTEXT_BYTES_MAX = 1 << 14
RECORD_OVERHEAD_MAX = HEADER_BYTES + 8 + TAG_BYTES  # AES-GCM's; ChaCha20 has no explicit nonce
BODY_BYTES_MAX = PLAINTEXT_BYTES_MAX + 2048  # RFC 5246 section 6.2.3
# Zero-length records cost work without bytes. A flight cut to the smallest MTU has fewer records in a datagram.
RECORDS_A_DATAGRAM_MAX = 32
SEQUENCE_MAX = (1 << 48) - 1
WINDOW_BITS = 64  # RFC 6347 section 4.1.2.6 asks for at least 32 and prefers 64
WINDOW_FULL = (1 << WINDOW_BITS) - 1

_HEADER = struct.Struct("!BHHHIH")  # type, version, epoch, sequence number (16 + 32 bits), length
_SEQUENCE = struct.Struct("!Q")  # epoch and sequence number as one number
_ADDITIONAL = struct.Struct("!QBHH")


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as it is on the wire."""

    content_type: int
    version: int
    epoch: int
    sequence: int
    body: bytes

    def serialize(self) -> bytes:
        """The record's bytes."""
        high, low = self.sequence >> 32, self.sequence & 0xFFFFFFFF
        return _HEADER.pack(self.content_type, self.version, self.epoch, high, low, len(self.body)) + self.body


def parse_record(data: bytes, offset: int = 0) -> Record:
    """The record at `offset`. It ends `HEADER_BYTES + len(body)` later.

    Raises MalformedPacket: "record cut", "record type", "record version", "record too long".
    """
    if len(data) - offset < HEADER_BYTES:
        raise MalformedPacket("record cut")
    content_type, version, epoch, high, low, length = _HEADER.unpack_from(data, offset)
    if not CHANGE_CIPHER_SPEC <= content_type <= APPLICATION_DATA:
        raise MalformedPacket("record type")
    if version not in (VERSION_DTLS_1_2, VERSION_DTLS_1_0):
        raise MalformedPacket("record version")
    if length > BODY_BYTES_MAX:
        raise MalformedPacket("record too long")
    start = offset + HEADER_BYTES
    if len(data) - start < length:
        raise MalformedPacket("record cut")
    return Record(content_type, version, epoch, high << 32 | low, data[start : start + length])


def parse_records(datagram: bytes) -> list[Record]:
    """All records of a datagram, at least one. A datagram that is not made of whole records is refused whole.

    Raises MalformedPacket: as `parse_record`, and "too many records".
    """
    records: list[Record] = []
    offset = 0
    while True:
        record = parse_record(datagram, offset)
        if len(records) == RECORDS_A_DATAGRAM_MAX:
            raise MalformedPacket("too many records")
        records.append(record)
        offset += HEADER_BYTES + len(record.body)
        if offset == len(datagram):
            return records


class RecordLayer12:
    """Seals and opens the records of one epoch of DTLS 1.2, on the counters and keys in `state`.

    The ciphers are made when first needed: a call without a data channel never needs them again after its handshake.
    """

    __slots__ = ("_opener", "_sealer", "_state")

    def __init__(self, state: DtlsState) -> None:
        assert state.version == VERSION_DTLS_1_2
        self._state = state
        self._sealer: AESGCM | ChaCha20Poly1305 | None = None
        self._opener: AESGCM | ChaCha20Poly1305 | None = None

    @property
    def overhead(self) -> int:
        """Bytes that a record is longer than its plaintext."""
        return HEADER_BYTES + SUITES_BY_NUMBER[self._state.cipher_suite].explicit_bytes + TAG_BYTES

    def seal(self, content_type: int, plaintext: bytes) -> bytes:
        """A record with `plaintext`. Its sequence number counts as used before anything else happens."""
        state = self._state
        sequence = state.write_sequence
        if sequence > SEQUENCE_MAX:
            raise OverflowError("DTLS sequence numbers are used up")  # after 2^48 records; RFC 6347 4.1 forbids a wrap
        state.write_sequence = sequence + 1
        suite = SUITES_BY_NUMBER[state.cipher_suite]
        if self._sealer is None:
            self._sealer = suite.aead(state.write_key)
        number = _SEQUENCE.pack(state.write_epoch << 48 | sequence)
        additional = number + struct.pack("!BHH", content_type, VERSION_DTLS_1_2, len(plaintext))
        explicit = number[: suite.explicit_bytes]
        body = self._sealer.encrypt(_nonce(state.write_iv, number, suite.explicit_bytes), plaintext, additional)
        return Record(content_type, VERSION_DTLS_1_2, state.write_epoch, sequence, explicit + body).serialize()

    def open(self, record: Record) -> bytes:
        """The plaintext of a fresh, authentic record. It counts as seen before it is handed out.

        Raises MalformedPacket: "record epoch", "record replayed", "record too short", "record not authentic".
        """
        state = self._state
        if record.epoch != state.read_epoch or record.version != VERSION_DTLS_1_2:
            raise MalformedPacket("record epoch")
        self._refuse_replay(record.sequence)
        plaintext = self._decrypt(record)
        self._mark_seen(record.sequence)
        return plaintext

    def _decrypt(self, record: Record) -> bytes:
        state = self._state
        suite = SUITES_BY_NUMBER[state.cipher_suite]
        explicit = suite.explicit_bytes
        length = len(record.body) - explicit - TAG_BYTES
        if length < 0:
            raise MalformedPacket("record too short")
        if length > PLAINTEXT_BYTES_MAX:
            raise MalformedPacket("record too long")
        if self._opener is None:
            self._opener = suite.aead(state.read_key)
        number = record.epoch << 48 | record.sequence
        additional = _ADDITIONAL.pack(number, record.content_type, record.version, length)
        nonce = _nonce(state.read_iv, record.body[:explicit] or _SEQUENCE.pack(number), explicit)
        try:
            return self._opener.decrypt(nonce, record.body[explicit:], additional)
        except InvalidTag:
            raise MalformedPacket("record not authentic") from None

    def _refuse_replay(self, sequence: int) -> None:
        """RFC 6347 section 4.1.2.6; before decryption, because it is the cheaper test."""
        behind = self._state.read_highest - 1 - sequence
        if behind >= 0 and (behind >= WINDOW_BITS or self._state.read_window >> behind & 1):
            raise MalformedPacket("record replayed")

    def _mark_seen(self, sequence: int) -> None:
        """Move the window. Between its two words a death must leave a state that refuses too much, never too little:
        so first everything in the window is marked, then the window moves, then its marks are made right."""
        state = self._state
        ahead = sequence + 1 - state.read_highest
        if ahead <= 0:
            state.read_window |= 1 << -ahead
            return
        window = (state.read_window << min(ahead, WINDOW_BITS) | 1) & WINDOW_FULL
        state.read_window = WINDOW_FULL
        state.read_highest = sequence + 1
        state.read_window = window


def _nonce(iv: bytes, number: bytes, explicit_bytes: int) -> bytes:
    """AES-GCM: salt and the 8 explicit bytes (RFC 5288 section 3). ChaCha20: IV xor number (RFC 7905 section 2)."""
    if explicit_bytes:
        return iv + number
    return (int.from_bytes(iv) ^ int.from_bytes(number)).to_bytes(len(iv))


# One class a version (DESIGN 3); OpenSSL is limited to the versions in here.
RECORD_LAYERS = {VERSION_DTLS_1_2: RecordLayer12}
