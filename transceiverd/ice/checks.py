"""Telling a real check from a forged one, and the answers to both.

Called by both agents for every Binding request. A verdict of `authenticate` is also the label of the counted drop.
Success answers are built from a template: they are the most frequent thing that this folder writes.

Implements RFC 8489 9.1.3 (short-term credentials, receiving a request) and 14.8; RFC 8445 7.3. Where the RFC wants a
400 or 401 for everybody, DESIGN 2.4 wants silence for strangers; who is answered is the agent's decision.
"""

import hmac
import zlib

from transceiverd.ice import stun

BAD_REQUEST = 400
UNAUTHENTICATED = 401
UNKNOWN_ATTRIBUTE = 420
ROLE_CONFLICT = 487

NOT_REQUEST = "check-not-request"
NO_FINGERPRINT = "check-no-fingerprint"
NOT_OURS = "check-not-ours"
WRONG_PEER = "check-wrong-peer"
NO_INTEGRITY = "check-no-integrity"
BAD_INTEGRITY = "check-bad-integrity"

# The verdicts that earn an error answer, and which; all others meet silence.
ERROR_OF = {WRONG_PEER: UNAUTHENTICATED, NO_INTEGRITY: BAD_REQUEST, BAD_INTEGRITY: UNAUTHENTICATED}

# Type and length of a success answer: with the length that MESSAGE-INTEGRITY is computed under, and the final one.
_SUCCESS_IPV4 = (b"\x01\x01\x00\x24" + stun.MAGIC_COOKIE_BYTES, b"\x01\x01\x00\x2c" + stun.MAGIC_COOKIE_BYTES)
_SUCCESS_IPV6 = (b"\x01\x01\x00\x30" + stun.MAGIC_COOKIE_BYTES, b"\x01\x01\x00\x38" + stun.MAGIC_COOKIE_BYTES)
_XOR_IPV4 = b"\x00\x20\x00\x08\x00\x01"
_XOR_IPV6 = b"\x00\x20\x00\x14\x00\x02"
_INTEGRITY = b"\x00\x08\x00\x14"
_FINGERPRINT = b"\x80\x28\x00\x04"
_PORT_XOR = stun.MAGIC_COOKIE >> 16
_COOKIE = stun.MAGIC_COOKIE


def authenticate(message: stun.Message, ours: bytes, theirs: bytes | None, key: bytes) -> str | None:
    """`None` when the request was written by our peer for this call, else the verdict.

    `ours` is our whole ufrag with the colon; `theirs` the peer's, `None` while no SDP told it.
    """
    if message.message_class != stun.REQUEST:
        return NOT_REQUEST
    if not message.fingerprint:
        return NO_FINGERPRINT
    username = message.username
    if username is None or not username.startswith(ours) or len(username) == len(ours):
        return NOT_OURS
    if theirs is not None and username[len(ours) :] != theirs:
        return WRONG_PEER
    if not message.has_integrity():
        return NO_INTEGRITY
    return None if message.verify(key) else BAD_INTEGRITY


def success(transaction_id: bytes, source: bytes, key: bytes, sha256: bool) -> bytes:
    """The success answer to a request that came from flow key `source`; a pure function, so a repeat gets the same."""
    if sha256:
        return _success_sha256(transaction_id, source, key)
    port = (int.from_bytes(source[32:34], "little") ^ _PORT_XOR).to_bytes(2, "big")
    if source[:12] == stun.IPV4_PREFIX:
        signed, final = _SUCCESS_IPV4
        address = (int.from_bytes(source[12:16], "big") ^ _COOKIE).to_bytes(4, "big")
        body = transaction_id + _XOR_IPV4 + port + address
    else:
        signed, final = _SUCCESS_IPV6
        body = transaction_id + _XOR_IPV6 + port + stun.xor_address(source[:16], 0, transaction_id)[4:]
    data = final + body + _INTEGRITY + hmac.digest(key, signed + body, "sha1")
    return data + _FINGERPRINT + (zlib.crc32(data) ^ stun.FINGERPRINT_XOR).to_bytes(4, "big")


def _success_sha256(transaction_id: bytes, source: bytes, key: bytes) -> bytes:
    answer = stun.Message(stun.SUCCESS, transaction_id)
    answer.xor_mapped_address = source_address(source)
    answer.fingerprint = True
    return answer.serialize(key, True)


def bare_error(code: int, transaction_id: bytes) -> bytes:
    """400 or 401: 36 bytes, no reason text, and no integrity, for there is no proof that the asker shares a key."""
    answer = stun.Message(stun.ERROR, transaction_id)
    answer.error_code = code
    answer.fingerprint = True
    return answer.serialize()


def signed_error(code: int, request: stun.Message, key: bytes, unknown: list[int] | None = None) -> bytes:
    """420 or 487, to an authenticated request and under the same kind of integrity."""
    answer = stun.Message(stun.ERROR, request.transaction_id)
    answer.error_code = code
    if unknown:
        answer.others = ((stun.UNKNOWN_ATTRIBUTES, b"".join(kind.to_bytes(2, "big") for kind in unknown)),)
    answer.fingerprint = True
    return answer.serialize(key, request.integrity_sha256 is not None)


def source_address(source: bytes) -> tuple[bytes, int]:
    """(canonical 16-byte address, port) of a packed flow key's client side; the port is little-endian there."""
    return source[:16], int.from_bytes(source[32:34], "little")
