"""SRTP and SRTCP written plainly from RFC 3711 and RFC 7714 over `cryptography`'s primitives: an oracle for one packet
at a known index. test_srtp_vectors.py holds it to the RFCs' vectors, and libsrtp (through our glue) to it.
"""

import hmac

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

RTP_LABELS, RTCP_LABELS = (0, 1, 2), (3, 4, 5)


def counter_mode(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES in counter mode from a 16-byte first block."""
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor()
    return encryptor.update(data) + encryptor.finalize()


def derive(master_key: bytes, master_salt: bytes, label: int, size: int) -> bytes:
    """RFC 3711 4.3.1 with a key derivation rate of 0; a 96-bit salt is padded to 112 bits (RFC 7714 11)."""
    salt = int.from_bytes(master_salt.ljust(14, b"\0"), "big")
    return counter_mode(master_key, ((salt ^ (label << 48)) << 16).to_bytes(16, "big"), bytes(size))


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def gcm_rtp(key: bytes, salt: bytes, packet: bytes, index: int, header: int = 12) -> bytes:
    """RFC 7714 8.1 and 9.1, session key and salt."""
    iv = xor(salt, b"\0\0" + packet[8:12] + index.to_bytes(6, "big"))
    return packet[:header] + AESGCM(key).encrypt(iv, packet[header:], packet[:header])


def gcm_rtcp(key: bytes, salt: bytes, packet: bytes, index: int) -> bytes:
    """RFC 7714 9.2, encrypted."""
    trailer = (1 << 31 | index).to_bytes(4, "big")
    iv = xor(salt, b"\0\0" + packet[4:8] + b"\0\0" + index.to_bytes(4, "big"))
    return packet[:8] + AESGCM(key).encrypt(iv, packet[8:], packet[:8] + trailer) + trailer


def _cm_iv(salt: bytes, ssrc: bytes, index: int) -> bytes:
    value = (int.from_bytes(salt, "big") << 16) ^ (int.from_bytes(ssrc, "big") << 64) ^ (index << 16)
    return value.to_bytes(16, "big")


def cm_rtp(key: bytes, auth: bytes, salt: bytes, packet: bytes, index: int, header: int = 12) -> bytes:
    """RFC 3711 4.1.1 and 4.2, 80-bit tag."""
    body = packet[:header] + counter_mode(key, _cm_iv(salt, packet[8:12], index), packet[header:])
    return body + hmac.digest(auth, body + (index >> 16).to_bytes(4, "big"), "sha1")[:10]


def cm_rtcp(key: bytes, auth: bytes, salt: bytes, packet: bytes, index: int) -> bytes:
    """RFC 3711 3.4, encrypted, 80-bit tag."""
    body = packet[:8] + counter_mode(key, _cm_iv(salt, packet[4:8], index), packet[8:])
    body += (1 << 31 | index).to_bytes(4, "big")
    return body + hmac.digest(auth, body, "sha1")[:10]


def protect(
    profile: int, master_key: bytes, master_salt: bytes, packet: bytes, index: int, rtcp: bool = False
) -> bytes:
    """One packet from master key and salt, at this index."""
    labels = RTCP_LABELS if rtcp else RTP_LABELS
    if profile == 0x0001:
        key, auth, salt = (derive(master_key, master_salt, n, k) for n, k in zip(labels, (16, 20, 14), strict=True))
        return (cm_rtcp if rtcp else cm_rtp)(key, auth, salt, packet, index)
    key = derive(master_key, master_salt, labels[0], len(master_key))
    salt = derive(master_key, master_salt, labels[2], 12)
    return (gcm_rtcp if rtcp else gcm_rtp)(key, salt, packet, index)
