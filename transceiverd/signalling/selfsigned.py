"""A certificate that the server makes for itself, so that a phone in the same network may use its microphone.

Browsers give a page the microphone only in a secure context. For `make run LAN=1` nobody has a certificate, so one is
made for each run (`foreground.py`): P-256, for all addresses and names of the machine, gone with the run's directory.
Visitors are warned once and go on. A server that is installed is given its certificate.
"""

import datetime
import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from transceiverd.candidates import IPAddress

LIFETIME_DAYS = 30  # a run is shorter; browsers refuse more than 398 days
CLOCK_SKEW_DAYS = 1  # a phone's clock may be behind ours


class SelfSigned(NamedTuple):
    """PEM texts."""

    certificate: bytes
    key: bytes


def make_certificate(
    addresses: Iterable[IPAddress], names: Iterable[str] = ("localhost",), now: datetime.datetime | None = None
) -> SelfSigned:
    """A key and its certificate. `now` has a time zone."""
    now = now or datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Ringline (made for this run)")])
    alternatives: list[x509.GeneralName] = [x509.DNSName(text) for text in dict.fromkeys(names)]
    alternatives += [x509.IPAddress(ipaddress.ip_address(str(each))) for each in dict.fromkeys(addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=CLOCK_SKEW_DAYS))
        .not_valid_after(now + datetime.timedelta(days=LIFETIME_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return SelfSigned(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
