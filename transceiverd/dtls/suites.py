"""The cipher suites that our record layer knows, and the keys a DTLS 1.2 handshake gives them.

Called by the context (which offers no other suite to OpenSSL), the handshake (key block) and the record layer (AEAD).
RFC 5288 and 5289 (AES-GCM), RFC 7905 (ChaCha20-Poly1305), RFC 5246 sections 5 and 6.3 (PRF and key block). Nothing
without ECDHE and an AEAD (RFC 8827 section 6.5).
"""

import hmac
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

TAG_BYTES = 16  # of every AEAD here


class CipherSuite(NamedTuple):
    """One suite of the IANA registry."""

    number: int
    name: str  # OpenSSL's
    hash_name: str  # of the PRF
    key_bytes: int
    iv_bytes: int  # the part of the nonce that comes from the key block
    explicit_bytes: int  # the part that travels in the record
    aead: type[AESGCM] | type[ChaCha20Poly1305]


# In order of preference: AES-128-GCM is the cheapest where AES is in hardware (every server, nearly every phone) and is
# what RFC 8827 obliges peers to know; ChaCha20 next, for peers without AES instructions that ask for it first.
SUITES = (
    CipherSuite(0xC02B, "ECDHE-ECDSA-AES128-GCM-SHA256", "sha256", 16, 4, 8, AESGCM),
    CipherSuite(0xC02F, "ECDHE-RSA-AES128-GCM-SHA256", "sha256", 16, 4, 8, AESGCM),
    CipherSuite(0xCCA9, "ECDHE-ECDSA-CHACHA20-POLY1305", "sha256", 32, 12, 0, ChaCha20Poly1305),
    CipherSuite(0xCCA8, "ECDHE-RSA-CHACHA20-POLY1305", "sha256", 32, 12, 0, ChaCha20Poly1305),
    CipherSuite(0xC02C, "ECDHE-ECDSA-AES256-GCM-SHA384", "sha384", 32, 4, 8, AESGCM),
    CipherSuite(0xC030, "ECDHE-RSA-AES256-GCM-SHA384", "sha384", 32, 4, 8, AESGCM),
)
SUITES_BY_NUMBER = {suite.number: suite for suite in SUITES}
SUITES_BY_NAME = {suite.name: suite for suite in SUITES}


class KeyBlock(NamedTuple):
    """The traffic keys of both directions."""

    client_key: bytes
    server_key: bytes
    client_iv: bytes
    server_iv: bytes

    def __repr__(self) -> str:
        """Without the keys."""
        return "KeyBlock()"


def prf(hash_name: str, secret: bytes, label: bytes, seed: bytes, length: int) -> bytes:
    """P_hash of RFC 5246 section 5: `length` bytes from `secret`."""
    seed = label + seed
    block, output = seed, b""
    while len(output) < length:
        block = hmac.digest(secret, block, hash_name)
        output += hmac.digest(secret, block + seed, hash_name)
    return output[:length]


def derive_key_block(suite: CipherSuite, master_secret: bytes, client_random: bytes, server_random: bytes) -> KeyBlock:
    """The key block of RFC 5246 section 6.3; AEAD suites have no MAC keys."""
    key, iv = suite.key_bytes, suite.iv_bytes
    seed = server_random + client_random
    block = prf(suite.hash_name, master_secret, b"key expansion", seed, 2 * key + 2 * iv)
    return KeyBlock(block[:key], block[key : 2 * key], block[2 * key : 2 * key + iv], block[2 * key + iv :])
