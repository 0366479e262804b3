"""DTLS-SRTP (RFC 5764): the protection profiles we offer and the split of the exported keys.

Called by the context (the use_srtp extension) and by the handshake when it is done.
"""

from typing import NamedTuple

from transceiverd.dtls.state import Role

EXPORTER_LABEL = b"EXTRACTOR-dtls_srtp"  # RFC 5764 section 4.2


class SrtpProfile(NamedTuple):
    """One DTLS-SRTP protection profile."""

    number: int  # IANA
    name: bytes  # OpenSSL's
    key_bytes: int
    salt_bytes: int


# In order of preference. GCM first: one pass with hardware AES instead of AES plus HMAC-SHA-1, half the cost a packet
# (FACTS 4). Its 128-bit key before the 256-bit one: as strong as the P-256 exchange that made it, and cheaper.
# AES128_CM_HMAC_SHA1_80 is the one that every WebRTC peer must have (RFC 8827 section 6.5). The 32-bit tag: never.
PROFILES = (
    SrtpProfile(0x0007, b"SRTP_AEAD_AES_128_GCM", 16, 12),
    SrtpProfile(0x0008, b"SRTP_AEAD_AES_256_GCM", 32, 12),
    SrtpProfile(0x0001, b"SRTP_AES128_CM_SHA1_80", 16, 14),
)
PROFILES_BY_NAME = {profile.name: profile for profile in PROFILES}


class SrtpKeys(NamedTuple):
    """Master keys and salts of both directions; all empty with profile 0."""

    profile: int = 0
    local_key: bytes = b""
    local_salt: bytes = b""
    remote_key: bytes = b""
    remote_salt: bytes = b""

    def __repr__(self) -> str:
        """Without the keys."""
        return f"SrtpKeys({self.profile:#06x})"


def exported_bytes(profile: SrtpProfile) -> int:
    """How much key material a profile takes."""
    return 2 * (profile.key_bytes + profile.salt_bytes)


def split_exported(profile: SrtpProfile, role: Role, exported: bytes) -> SrtpKeys:
    """RFC 5764 section 4.2: client key, server key, client salt, server salt. The DTLS client writes with the first."""
    key, salt = profile.key_bytes, profile.salt_bytes
    keys = exported[:key], exported[key : 2 * key]
    salts = exported[2 * key : 2 * key + salt], exported[2 * key + salt :]
    local = 0 if role == Role.CLIENT else 1
    return SrtpKeys(profile.number, keys[local], salts[local], keys[1 - local], salts[1 - local])
