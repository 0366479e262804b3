# cython: language_level=3, annotation_typing=False, wraparound=False
"""The STUN messages that ICE uses: Binding requests, indications, success and error responses.

Owns the byte format both ways and the two integrity attributes. Called by the agents of this folder for every STUN
packet; the relay worker has its own, smaller reader of USERNAME (`relayd/headers.py`). Compiled with `stun.pxd`; the
same file runs uncompiled and both are tested against each other.

Implements RFC 8489 5, 6.3, 9.1, 14 and RFC 8445 7.1, 16.1. Leaves out: every method but Binding (a GOOG-PING or TURN
packet is refused by name), long-term credentials as a mechanism, ALTERNATE-SERVER, and STUN over streams.

What counts and what does not: the first of several equal attributes wins; nothing after MESSAGE-INTEGRITY counts
except MESSAGE-INTEGRITY-SHA256 and FINGERPRINT; FINGERPRINT must be last and right if it is there at all.
"""

import hmac
import zlib

from shm.errors import MalformedPacket

HEADER_SIZE = 20  # bytes: type, length, magic cookie, transaction id (RFC 8489 5)
MAGIC_COOKIE = 0x2112A442
MAGIC_COOKIE_BYTES = b"\x21\x12\xa4\x42"
TRANSACTION_ID_SIZE = 12  # bytes

METHOD_BINDING = 0x001
METHOD_MASK = 0x3EEF
CLASS_MASK = 0x0110
REQUEST = 0x0000
INDICATION = 0x0010
SUCCESS = 0x0100
ERROR = 0x0110

MAPPED_ADDRESS = 0x0001
USERNAME = 0x0006
MESSAGE_INTEGRITY = 0x0008
ERROR_CODE = 0x0009
UNKNOWN_ATTRIBUTES = 0x000A
REALM = 0x0014
NONCE = 0x0015
MESSAGE_INTEGRITY_SHA256 = 0x001C
PASSWORD_ALGORITHM = 0x001D
USERHASH = 0x001E
XOR_MAPPED_ADDRESS = 0x0020
PRIORITY = 0x0024
USE_CANDIDATE = 0x0025
SOFTWARE = 0x8022
FINGERPRINT = 0x8028
ICE_CONTROLLED = 0x8029
ICE_CONTROLLING = 0x802A

COMPREHENSION_OPTIONAL = 0x8000  # types from here up may be ignored by who does not know them (RFC 8489 14)
FINGERPRINT_XOR = 0x5354554E  # RFC 8489 14.7
SHA1_SIZE = 20  # bytes of MESSAGE-INTEGRITY
SHA256_SIZE = 32  # bytes of MESSAGE-INTEGRITY-SHA256; ICE defines no truncation, so no shorter one (RFC 8489 14.6)
USERNAME_SIZE_MAX = 508  # bytes, RFC 8489 14.3
REASON_SIZE_MAX = 763  # bytes of an error's reason phrase, RFC 8489 14.8
OTHERS_MAX = 32  # attributes without a field here, a message; browsers send at most 8, so this only stops hostile ones

FAMILY_IPV4 = 1
FAMILY_IPV6 = 2
IPV4_PREFIX = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"  # an IPv4 address in the canonical 16 bytes of a flow key

# Comprehension-required attributes that RFC 8489 defines, so that nobody may be told 420 about them, although a check
# under short-term credentials has no use for them.
UNDERSTOOD = frozenset((MAPPED_ADDRESS, UNKNOWN_ATTRIBUTES, REALM, NONCE, PASSWORD_ALGORITHM, USERHASH))

# Every reason that `parse` gives: the labels of its counters.
REASONS = (
    "stun-short",
    "stun-type",
    "stun-length",
    "stun-cookie",
    "stun-method",
    "stun-attribute-overrun",
    "stun-attribute-size",
    "stun-attribute-value",
    "stun-attributes-many",
    "stun-fingerprint",
    "stun-fingerprint-place",
)


class Message:
    """One STUN message, read or to be written.

    `xor_mapped_address` is (canonical 16-byte address, port). `others` holds the attributes that have no field here,
    in their order. `fingerprint` says that FINGERPRINT is there; its value is computed. `integrity` and
    `integrity_sha256` are the values as read; `serialize(key)` computes them instead.
    """

    def __init__(self, message_class: int, transaction_id: bytes) -> None:
        self.message_class = message_class
        self.transaction_id = transaction_id
        self.username: bytes | None = None
        self.priority: int | None = None
        self.use_candidate = False
        self.controlling: int | None = None
        self.controlled: int | None = None
        self.xor_mapped_address: tuple[bytes, int] | None = None
        self.error_code: int | None = None
        self.error_reason = b""
        self.others: tuple[tuple[int, bytes], ...] = ()
        self.integrity: bytes | None = None
        self.integrity_sha256: bytes | None = None
        self.fingerprint = False
        self._data = b""  # what was read, for the integrity check
        self._integrity_at = 0
        self._integrity_sha256_at = 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return bool(self.fields() == other.fields())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Message{self.fields()}"

    def fields(self) -> tuple[object, ...]:
        """All that the message says, for comparison and for tests."""
        return (
            self.message_class,
            self.transaction_id,
            self.username,
            self.priority,
            self.use_candidate,
            self.controlling,
            self.controlled,
            self.xor_mapped_address,
            self.error_code,
            self.error_reason,
            self.others,
            self.integrity,
            self.integrity_sha256,
            self.fingerprint,
        )

    def unknown_required(self) -> list[int]:
        """The comprehension-required types that we do not know, each once (RFC 8489 6.3.1)."""
        unknown: list[int] = []
        for kind, _ in self.others:
            if kind < COMPREHENSION_OPTIONAL and kind not in UNDERSTOOD and kind not in unknown:
                unknown.append(kind)
        return unknown

    def has_integrity(self) -> bool:
        """Whether there is an integrity attribute at all."""
        return self.integrity is not None or self.integrity_sha256 is not None

    def verify(self, key: bytes) -> bool:
        """Whether the message, as read by `parse`, was written by somebody who holds `key`.

        MESSAGE-INTEGRITY-SHA256 decides when it is there, else MESSAGE-INTEGRITY (RFC 8489 9.1.3).
        """
        if self.integrity_sha256 is not None:
            computed = integrity_sha256(key, self._data[: self._integrity_sha256_at])
            return hmac.compare_digest(computed, self.integrity_sha256)
        if self.integrity is not None:
            computed = integrity_sha1(key, self._data[: self._integrity_at])
            return hmac.compare_digest(computed, self.integrity)
        return False

    def serialize(self, key: bytes | None = None, sha256: bool = False) -> bytes:
        """The bytes on the wire; with `key` under a fresh integrity attribute, else with the values as read."""
        data = header(self.message_class, self.transaction_id) + self._body()
        if key is not None:
            data = seal_sha256(key, data) if sha256 else seal_sha1(key, data)
        else:
            if self.integrity is not None:
                data += attribute(MESSAGE_INTEGRITY, self.integrity)
            if self.integrity_sha256 is not None:
                data += attribute(MESSAGE_INTEGRITY_SHA256, self.integrity_sha256)
        return seal_fingerprint(data) if self.fingerprint else with_length(data, len(data))

    def _body(self) -> bytes:
        parts = []
        if self.error_code is not None:
            parts.append(attribute(ERROR_CODE, error_value(self.error_code) + self.error_reason))
        if self.username is not None:
            parts.append(attribute(USERNAME, self.username))
        parts.extend(attribute(kind, value) for kind, value in self.others)
        if self.controlled is not None:
            parts.append(attribute(ICE_CONTROLLED, self.controlled.to_bytes(8, "big")))
        if self.controlling is not None:
            parts.append(attribute(ICE_CONTROLLING, self.controlling.to_bytes(8, "big")))
        if self.use_candidate:
            parts.append(attribute(USE_CANDIDATE, b""))
        if self.priority is not None:
            parts.append(attribute(PRIORITY, self.priority.to_bytes(4, "big")))
        if self.xor_mapped_address is not None:
            address, port = self.xor_mapped_address
            parts.append(attribute(XOR_MAPPED_ADDRESS, xor_address(address, port, self.transaction_id)))
        return b"".join(parts)


def parse(data: bytes) -> Message:
    """Read one whole UDP payload; raises `MalformedPacket` with one of `REASONS`."""
    size = len(data)
    if size < HEADER_SIZE:
        raise MalformedPacket("stun-short")
    kind = u16(data, 0)
    if kind & 0xC000:
        raise MalformedPacket("stun-type")
    if u32(data, 4) != MAGIC_COOKIE:
        raise MalformedPacket("stun-cookie")
    length = u16(data, 2)
    if length & 3 or length + HEADER_SIZE != size:
        raise MalformedPacket("stun-length")
    if kind & METHOD_MASK != METHOD_BINDING:
        raise MalformedPacket("stun-method")
    message = Message(kind & CLASS_MASK, data[8:HEADER_SIZE])
    message._data = data
    read_attributes(message, data, size)
    return message


def read_attributes(message: Message, data: bytes, size: int) -> None:
    """Read what follows the header. `size` is a multiple of 4 and so is every step: 4 bytes are always left."""
    position = HEADER_SIZE
    others: list[tuple[int, bytes]] = []
    while position < size:
        kind = u16(data, position)
        length = u16(data, position + 2)
        start = position + 4
        if length > size - start:
            raise MalformedPacket("stun-attribute-overrun")
        position = start + ((length + 3) & 0x1FFFC)
        if kind == FINGERPRINT:
            check_fingerprint(data, start, length, position == size)
            message.fingerprint = True
        elif message.integrity_sha256 is not None:
            continue
        elif kind == MESSAGE_INTEGRITY_SHA256:
            require(length == SHA256_SIZE)
            message.integrity_sha256 = data[start : start + SHA256_SIZE]
            message._integrity_sha256_at = start - 4
        elif message.integrity is not None:
            continue
        elif kind == MESSAGE_INTEGRITY:
            require(length == SHA1_SIZE)
            message.integrity = data[start : start + SHA1_SIZE]
            message._integrity_at = start - 4
        elif not read_field(message, kind, data, start, length):
            if len(others) == OTHERS_MAX:
                raise MalformedPacket("stun-attributes-many")
            others.append((kind, data[start : start + length]))
    if others:
        message.others = tuple(others)


def read_field(  # noqa: PLR0912 - one branch a field, nothing to share
    message: Message, kind: int, data: bytes, start: int, length: int
) -> bool:
    """Set the field that belongs to attribute `kind`, if it has one and was not set before (the first wins)."""
    if kind == USERNAME:
        if message.username is None:
            require(length <= USERNAME_SIZE_MAX)
            message.username = data[start : start + length]
    elif kind == PRIORITY:
        if message.priority is None:
            require(length == 4)
            message.priority = u32(data, start)
    elif kind == USE_CANDIDATE:
        require(length == 0)
        message.use_candidate = True
    elif kind == ICE_CONTROLLING:
        if message.controlling is None:
            require(length == 8)
            message.controlling = u64(data, start)
    elif kind == ICE_CONTROLLED:
        if message.controlled is None:
            require(length == 8)
            message.controlled = u64(data, start)
    elif kind == XOR_MAPPED_ADDRESS:
        if message.xor_mapped_address is None:
            message.xor_mapped_address = read_xor_address(data, start, length, message.transaction_id)
    elif kind == ERROR_CODE:
        if message.error_code is None:
            message.error_code = read_error_code(data, start, length)
            message.error_reason = data[start + 4 : start + length]
    else:
        return False
    return True


def check_fingerprint(data: bytes, start: int, length: int, last: bool) -> None:
    """FINGERPRINT is last, so the header's length already covers it and the CRC is over the bytes as they came."""
    require(length == 4)
    if not last:
        raise MalformedPacket("stun-fingerprint-place")
    if u32(data, start) != zlib.crc32(data[: start - 4]) ^ FINGERPRINT_XOR:
        raise MalformedPacket("stun-fingerprint")


def read_error_code(data: bytes, start: int, length: int) -> int:
    """Class 3 to 6 and number below 100, RFC 8489 14.8."""
    require(4 <= length <= 4 + REASON_SIZE_MAX)
    hundreds = data[start + 2] & 7
    number = data[start + 3]
    if hundreds < 3 or hundreds > 6 or number > 99:
        raise MalformedPacket("stun-attribute-value")
    return hundreds * 100 + number


def read_xor_address(data: bytes, start: int, length: int, transaction_id: bytes) -> tuple[bytes, int]:
    """(canonical 16-byte address, port) of an XOR-MAPPED-ADDRESS, RFC 8489 14.2."""
    require(length in (8, 20))
    family = data[start + 1]
    if family != (FAMILY_IPV4 if length == 8 else FAMILY_IPV6):
        raise MalformedPacket("stun-attribute-value")
    port = u16(data, start + 2) ^ (MAGIC_COOKIE >> 16)
    address = xor(data[start + 4 : start + length], MAGIC_COOKIE_BYTES + transaction_id)
    return (IPV4_PREFIX + address if length == 8 else address), port


def require(condition: bool) -> None:
    """An attribute of fixed size has that size."""
    if not condition:
        raise MalformedPacket("stun-attribute-size")


def u16(data: bytes, at: int) -> int:
    """Two bytes in network order; the caller has checked the bounds."""
    return (data[at] << 8) | data[at + 1]


def u32(data: bytes, at: int) -> int:
    """Four bytes in network order; the caller has checked the bounds."""
    return (u16(data, at) << 16) | u16(data, at + 2)


def u64(data: bytes, at: int) -> int:
    """Eight bytes in network order; the caller has checked the bounds."""
    high, low = u32(data, at), u32(data, at + 4)
    return (high << 32) | low


def xor(data: bytes, pad: bytes) -> bytes:
    """`data` with `pad`, which is at least as long, laid over it."""
    size = len(data)
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad[:size], "big")).to_bytes(size, "big")


def header(message_class: int, transaction_id: bytes) -> bytes:
    """A header whose length is still zero."""
    return (METHOD_BINDING | message_class).to_bytes(2, "big") + b"\0\0" + MAGIC_COOKIE_BYTES + transaction_id


def attribute(kind: int, value: bytes) -> bytes:
    """Type, length, value, zero padding to 4 bytes."""
    size = len(value)
    return kind.to_bytes(2, "big") + size.to_bytes(2, "big") + value + bytes(-size % 4)


def error_value(code: int) -> bytes:
    """The first four bytes of an ERROR-CODE; what may follow is the reason phrase."""
    return bytes((0, 0, code // 100, code % 100))


def xor_address(address: bytes, port: int, transaction_id: bytes) -> bytes:
    """The value of an XOR-MAPPED-ADDRESS; `address` as canonical 16 bytes."""
    family, short = FAMILY_IPV6, address
    if address[:12] == IPV4_PREFIX:
        family, short = FAMILY_IPV4, address[12:]
    port_bytes = (port ^ (MAGIC_COOKIE >> 16)).to_bytes(2, "big")
    return bytes((0, family)) + port_bytes + xor(short, MAGIC_COOKIE_BYTES + transaction_id)


def with_length(data: bytes, size: int) -> bytes:
    """`data` with a header that says the whole message, header included, has `size` bytes."""
    return data[:2] + (size - HEADER_SIZE).to_bytes(2, "big") + data[4:]


def integrity_sha1(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA1 over what stands before MESSAGE-INTEGRITY, as if the message ended behind it (RFC 8489 14.5)."""
    return hmac.digest(key, with_length(data, len(data) + 4 + SHA1_SIZE), "sha1")


def integrity_sha256(key: bytes, data: bytes) -> bytes:
    """Likewise HMAC-SHA256 for MESSAGE-INTEGRITY-SHA256 (RFC 8489 14.6)."""
    return hmac.digest(key, with_length(data, len(data) + 4 + SHA256_SIZE), "sha256")


def seal_sha1(key: bytes, data: bytes) -> bytes:
    """`data` with MESSAGE-INTEGRITY behind it."""
    return data + b"\0\x08\0\x14" + integrity_sha1(key, data)


def seal_sha256(key: bytes, data: bytes) -> bytes:
    """`data` with MESSAGE-INTEGRITY-SHA256 behind it."""
    return data + b"\0\x1c\0\x20" + integrity_sha256(key, data)


def seal_fingerprint(data: bytes) -> bytes:
    """`data` with its final length in the header and FINGERPRINT behind it."""
    data = with_length(data, len(data) + 8)
    return data + b"\x80\x28\0\x04" + (zlib.crc32(data) ^ FINGERPRINT_XOR).to_bytes(4, "big")
