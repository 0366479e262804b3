# cython: language_level=3, annotation_typing=False, boundscheck=False, wraparound=False
"""The ufrag codec: what a call's ICE username fragment says, and the tag that proves we said it (DESIGN 3).

180 bits, most significant first, as 30 characters of unpadded base64 (its alphabet is RFC 8839's ice-char):

    version 2 | key id 2 | machine 16 | transceiver 8 | slot 24 | generation 16 | nonce 48 | tag 64

The tag is HMAC-SHA-256 over the label and the first 116 bits, zero-padded to 15 bytes, cut to its first 64 bits. The
origin of a call is machine, transceiver, slot and generation, as one integer like RINGLINE_ORIGIN of shm/layout.h.

`mint` is the transceiver's, once a call; `verify` is for tests, tools and whoever lives in Python; the worker decodes
through ufrag.pxd and verifies in relayd/keyring.pyx without the GIL. The same file runs uncompiled. Left out: the
transceiver's comparison of the whole ufrag (DESIGN 2.2), and the keys' file (relayd/ufrag_keys.py).

The text is worked on as three words of 60 bits, ten characters each.
"""

import hmac
from typing import NamedTuple

from relayd.ufrag_keys import UfragKeys
from shm.errors import MalformedPacket

__all__ = ["Ufrag", "UfragKeys", "decode", "encode", "mint", "verify"]

LENGTH = 30
VERSION = 0
LABEL = b"ringline-ufrag-1"

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
INVALID_CHARACTER = 0xFF
INVALID_WORD = 0xFFFFFFFFFFFFFFFF
VALUE_BYTES = bytes(ALPHABET.find(chr(i)) if chr(i) in ALPHABET else INVALID_CHARACTER for i in range(256))
# The 56 of the first word's 60 bits that lie in the origin.
ORIGIN_MASK = 0x00FFFFFFFFFFFFFF
# A C pointer into VALUE_BYTES when compiled.
VALUES = VALUE_BYTES

# Bits of version, key id, machine, transceiver, slot, generation, nonce: 116. Then the tag.
BODY_WIDTHS = (2, 2, 16, 8, 24, 16, 48)
TAG_BITS = 64


class Ufrag(NamedTuple):
    """A ufrag's fields. Whether its tag is right is not said here: see `verify`."""

    version: int
    key_id: int
    machine: int
    transceiver: int
    slot: int
    generation: int
    nonce: int
    tag: int

    @property
    def origin(self) -> int:
        """RINGLINE_ORIGIN: what flows and redirects compare."""
        return (self.machine << 48) | (self.transceiver << 40) | (self.slot << 16) | self.generation


def decode_word(text: bytes, offset: int) -> int:
    """The 60 bits of the ten characters at `offset`, or INVALID_WORD when one is outside the alphabet.

    No branch on a character's value but the last one, so that the time says nothing about the place of an error.
    """
    word = 0
    wrong = 0
    for i in range(offset, offset + 10):
        value = VALUES[text[i]]
        wrong |= value & 0xC0
        word = (word << 6) | (value & 0x3F)
    return INVALID_WORD if wrong else word


def word_version(first: int) -> int:
    """The version of a ufrag by its first word."""
    return first >> 58


def word_key_id(first: int) -> int:
    """The key id of a ufrag by its first word."""
    return (first >> 56) & 3


def words_origin(first: int, second: int) -> int:
    """The origin of a ufrag by its first two words: bits 4 to 67."""
    return ((first & ORIGIN_MASK) << 8) | (second >> 52)


def words_tag(second: int, third: int) -> int:
    """The tag of a ufrag by its last two words: bits 116 to 179."""
    return ((second & 0xF) << 60) | third


def body_byte(first: int, second: int, index: int) -> int:
    """Byte `index` of the 15 under the tag: the first 116 bits and four of zero."""
    if index < 7:
        return (first >> (52 - 8 * index)) & 0xFF
    if index == 7:
        return ((first & 0xF) << 4) | (second >> 56)
    return ((second >> 4 << 4) >> (112 - 8 * index)) & 0xFF


def decode(text: str) -> Ufrag:
    """The fields of a ufrag. Raises MalformedPacket: "ufrag length", "ufrag character", "ufrag version"."""
    if len(text) != LENGTH:
        raise MalformedPacket("ufrag length")
    # A character beyond ASCII becomes "?", which the alphabet does not hold either.
    raw = text.encode("ascii", "replace")
    first = decode_word(raw, 0)
    second = decode_word(raw, 10)
    third = decode_word(raw, 20)
    if INVALID_WORD in (first, second, third):
        raise MalformedPacket("ufrag character")
    if word_version(first) != VERSION:
        raise MalformedPacket("ufrag version")
    origin = words_origin(first, second)
    return Ufrag(
        version=word_version(first),
        key_id=word_key_id(first),
        machine=origin >> 48,
        transceiver=(origin >> 40) & 0xFF,
        slot=(origin >> 16) & 0xFFFFFF,
        generation=origin & 0xFFFF,
        nonce=(second >> 4) & 0xFFFFFFFFFFFF,
        tag=words_tag(second, third),
    )


def encode(fields: Ufrag) -> str:
    """The 30 characters of these fields. ValueError when one does not fit its bits."""
    number = (pack_body(fields) << TAG_BITS) | check_width(fields.tag, TAG_BITS)
    return "".join([ALPHABET[(number >> (6 * (LENGTH - 1 - i))) & 63] for i in range(LENGTH)])


def mint(keys: UfragKeys, machine: int, transceiver: int, slot: int, generation: int, nonce: int) -> str:
    """The ufrag of a new call under the current key; `nonce` is 48 fresh random bits. ValueError when out of range."""
    unsigned = Ufrag(VERSION, keys.current, machine, transceiver, slot, generation, nonce, 0)
    tag = compute_tag(keys.secret(keys.current), unsigned)
    return encode(unsigned._replace(tag=tag))


def verify(keys: UfragKeys, text: str) -> Ufrag | None:
    """The fields when the tag is right under a key that still verifies; else None, without saying why."""
    try:
        fields = decode(text)
        secret = keys.secret(fields.key_id)
    except (MalformedPacket, KeyError):
        return None
    expected = compute_tag(secret, fields)
    return fields if hmac.compare_digest(expected.to_bytes(8, "big"), fields.tag.to_bytes(8, "big")) else None


def compute_tag(secret: bytes, fields: Ufrag) -> int:
    """The 64 bits that these fields must end in under `secret`."""
    body = (pack_body(fields) << 4).to_bytes(15, "big")
    digest = hmac.digest(secret, LABEL + body, "sha256")
    return int.from_bytes(digest[:8], "big")


def pack_body(fields: Ufrag) -> int:
    """The 116 bits that the tag covers, as one integer. ValueError when a field does not fit."""
    number = 0
    for value, width in zip(fields, BODY_WIDTHS, strict=False):  # the tag is the one field left over
        number = (number << width) | check_width(value, width)
    return number


def check_width(value: int, width: int) -> int:
    """`value`. ValueError when it does not fit `width` bits."""
    if value < 0 or value >> width:
        raise ValueError(f"{value} does not fit {width} bits of a ufrag")
    return value
