# cython: language_level=3, annotation_typing=False, boundscheck=False, wraparound=False
"""What the relay reads of a packet: its kind, and of a Binding request the routing half of USERNAME. Nothing else.

Called for every packet by the worker (without the GIL, through headers.pxd), and by tests and fuzzers as plain Python:
this same file runs uncompiled. Implements RFC 7983 section 7 and RFC 5761 section 4 (demultiplexing), and of RFC 8489
sections 5, 6.3 and 14 as much as it takes to find USERNAME: the header, the walk over the attributes and where it ends.

Left out on purpose: MESSAGE-INTEGRITY, FINGERPRINT and every other attribute (the transceiver's), all of DTLS, RTP and
RTCP behind the bytes that tell them apart (DESIGN 2.1: headers only, no session key).

The functions for the hot path return an integer, never raise: an offset or kind >= 0, or minus a place in REASONS.
"""

from shm.errors import MalformedPacket

# The kinds are the types of the ring records that carry them (shm/layout.h, enum ringline_record_type).
KIND_STUN = 1
KIND_DTLS = 2
KIND_RTP = 3
KIND_RTCP = 4

# Why a packet is dropped; the place is the code's absolute value, and the words are the counters' labels.
REASONS = (
    "",
    "empty",
    "unknown kind",
    "too short",
    "stun cookie",
    "stun length",
    "stun method",
    "stun response",
    "stun indication",
    "stun attribute",
    "stun without username",
    "stun username form",
)
EMPTY = -1
UNKNOWN_KIND = -2
TOO_SHORT = -3
STUN_COOKIE = -4
STUN_LENGTH = -5
STUN_METHOD = -6
STUN_RESPONSE = -7
STUN_INDICATION = -8
STUN_ATTRIBUTE = -9
STUN_WITHOUT_USERNAME = -10
STUN_USERNAME_FORM = -11

# Characters of our half of USERNAME: 180 bits of base64 (relayd/ufrag.py).
UFRAG_LENGTH = 30


def classify(first_byte: int, second_byte: int) -> int:
    """The kind of a packet by its first two bytes, or UNKNOWN_KIND.

    RFC 7983 section 7 and 9443: 0-3 STUN, 20-63 DTLS, 128-191 RTP and RTCP; ZRTP, TURN channels and QUIC are not spoken
    here. Among the last, a second byte of 192-223 is RTCP (RFC 5761 section 4 keeps RTP off payload types 64-95).
    """
    if first_byte <= 3:
        return 1
    if 20 <= first_byte <= 63:
        return 2
    if 128 <= first_byte <= 191:
        return 4 if 192 <= second_byte <= 223 else 3
    return -2


def packet_kind(data: bytes, size: int) -> int:
    """The kind of a whole packet of `size` bytes; EMPTY, UNKNOWN_KIND, or TOO_SHORT for its fixed header."""
    if size < 1:
        return -1
    kind = classify(data[0], data[1] if size > 1 else 0)
    if kind < 0:
        return kind
    return kind if size >= fixed_header_size(kind) else -3


def fixed_header_size(kind: int) -> int:
    """Bytes below which a packet of this kind cannot be one."""
    if kind == 1:
        return 20  # RFC 8489 section 5: type, length, cookie, transaction id
    if kind == 2:
        return 13  # RFC 6347 section 4.1: type, version, epoch, sequence number, length
    if kind == 3:
        return 12  # RFC 3550 section 5.1: up to and with the SSRC
    return 8  # RFC 3550 section 6.4: the first RTCP packet's header and SSRC


def binding_request_ufrag(data: bytes, size: int) -> int:
    """Where our 30 characters of USERNAME start in a Binding request of `size` bytes, or minus a reason."""
    code = check_binding_request(data, size)
    return code if code < 0 else find_username(data, size)


def check_binding_request(data: bytes, size: int) -> int:
    """0 when the header is a Binding request's (RFC 8489 sections 5 and 6.3), else minus a reason."""
    if size < 20:
        return -3
    if data[4] != 0x21 or data[5] != 0x12 or data[6] != 0xA4 or data[7] != 0x42:
        return -4
    length = (data[2] << 8) | data[3]
    if length & 3 or length + 20 != size:
        return -5
    # The two class bits, C1 and C0, lie at 0x0100 and 0x0010 among the method's bits; Binding is method 1.
    message_type = (data[0] << 8) | data[1]
    if message_type & 0xFEEF != 0x0001:
        return -6
    if message_type == 0x0001:
        return 0
    return -8 if message_type == 0x0011 else -7


def find_username(data: bytes, size: int) -> int:
    """Walks the attributes up to the first USERNAME: a second one, as RFC 8489 section 14 has it, does not count.

    Nothing after an integrity attribute or FINGERPRINT counts either (sections 14.5 to 14.7), so the walk ends there.
    """
    offset = 20
    while offset + 4 <= size:
        attribute = (data[offset] << 8) | data[offset + 1]
        length = (data[offset + 2] << 8) | data[offset + 3]
        following = offset + 4 + ((length + 3) & ~3)
        if following > size:
            return -9
        if attribute == 0x0006:
            return check_username(data, offset + 4, length)
        # MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256, FINGERPRINT
        if attribute in (0x0008, 0x001C, 0x8028):
            return -10
        offset = following
    return -10


def check_username(data: bytes, offset: int, length: int) -> int:
    """`offset` when the value is 30 characters, a colon, something of the peer's, 508 bytes at most (RFC 8489 14.3)."""
    if length < 32 or length > 508:
        return -11
    return offset if data[offset + 30] == 0x3A else -11


def parse_binding_request(data: bytes) -> str:
    """Our ufrag out of a Binding request. Raises MalformedPacket with one of REASONS. For tests and tools."""
    kind = packet_kind(data, len(data))
    if kind < 0:
        raise MalformedPacket(REASONS[-kind])
    if kind != KIND_STUN:
        raise MalformedPacket("unknown kind")
    offset = binding_request_ufrag(data, len(data))
    if offset < 0:
        raise MalformedPacket(REASONS[-offset])
    # Latin-1 so that a hostile byte is a character that the ufrag codec refuses, not another exception.
    return data[offset : offset + UFRAG_LENGTH].decode("latin-1")
