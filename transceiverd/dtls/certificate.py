"""The certificate of this process, and the fingerprints by which peers' certificates are known.

Called by the context (which signs with the certificate), by signalling (which puts our fingerprint into the answer and
hands over those of the offer) and by the handshake (which compares). RFC 8122 section 5 and RFC 8827 section 6.5: the
certificate is self-signed, its names and dates mean nothing, only its fingerprint in the SDP does. So dates are fixed
(no clock is read, and nothing tells when the process started), and nothing of a peer's certificate is looked at.
"""

import datetime
import hmac
from collections.abc import Iterable
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# RFC 8122 section 5 forbids md2 and md5; sha-1 no longer protects anything (RFC 8827 section 6.5 wants sha-256).
DIGEST_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}

# Up to 2049 a date is written as UTCTime, which every parser knows (RFC 5280 section 4.1.2.5).
NOT_BEFORE = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
NOT_AFTER = datetime.datetime(2049, 12, 31, tzinfo=datetime.UTC)


class Fingerprint(NamedTuple):
    """One `a=fingerprint`: the hash function's name in lower case and the digest."""

    algorithm: str
    digest: bytes

    def __str__(self) -> str:
        """Written as the attribute's value: `sha-256 0A:1B:...`."""
        return f"{self.algorithm} {self.digest.hex(':').upper()}"


def parse_fingerprint(algorithm: str, value: str) -> Fingerprint | None:
    """A fingerprint as the SDP has it (`sha-256`, `0A:1B:...`), or `None` when it is malformed or its hash refused."""
    algorithm = algorithm.lower()
    expected = DIGEST_BYTES.get(algorithm)
    if expected is None or len(value) != expected * 3 - 1 or value[2::3].count(":") != expected - 1:
        return None
    try:
        digest = bytes.fromhex(value.replace(":", ""))
    except ValueError:
        return None
    return Fingerprint(algorithm, digest) if len(digest) == expected else None


def usable_fingerprints(offered: Iterable[tuple[str, str | bytes]]) -> tuple[Fingerprint, ...]:
    """Those of the offer's fingerprints (algorithm, hex with colons or raw digest) that we may trust."""
    found = []
    for algorithm, value in offered:
        if isinstance(value, str):
            parsed = parse_fingerprint(algorithm, value)
        else:
            parsed = Fingerprint(algorithm, value) if DIGEST_BYTES.get(algorithm) == len(value) else None
        if parsed is not None:
            found.append(parsed)
    return tuple(found)


def matches_any(offered: Iterable[Fingerprint], actual: Iterable[Fingerprint]) -> bool:
    """Whether any of the offer's fingerprints is one of the certificate's own, compared in constant time."""
    digests = dict(actual)
    matched = False
    for algorithm, digest in offered:
        matched |= hmac.compare_digest(digest, digests.get(algorithm, b""))
    return matched


class Certificate(NamedTuple):
    """A private key and its self-signed certificate."""

    private_key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def fingerprint(self) -> Fingerprint:
        """The fingerprint for our SDP."""
        return Fingerprint("sha-256", self.certificate.fingerprint(hashes.SHA256()))


def generate_certificate() -> Certificate:
    """A new P-256 key with an ECDSA certificate, which RFC 8827 section 6.5 obliges every peer to know."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ringline")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .sign(private_key, hashes.SHA256())
    )
    return Certificate(private_key, certificate)
