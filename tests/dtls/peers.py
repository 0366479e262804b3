"""Both ends of the DTLS tests: our engine with its clock and its wire watched, and bare OpenSSL.

Nothing here opens a socket or reads a clock. A peer has: `datagrams()` to take what it sends, `receive(data, now)`,
`timeout()` and `handle_timeout(now)`.
"""

from collections.abc import Sequence
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

from transceiverd.dtls import DtlsConfig, DtlsContext, DtlsEngine, HandshakeCompleted, MemoryState, Role
from transceiverd.dtls.certificate import NOT_AFTER, NOT_BEFORE
from transceiverd.dtls.events import Event
from transceiverd.dtls.flights import pack_records
from transceiverd.dtls.records import parse_records
from transceiverd.dtls.suites import SUITES_BY_NUMBER
from transceiverd.engine import Closed

ALL_SUITES = b"ECDHE+AESGCM:ECDHE+CHACHA20"
ALL_PROFILES = b"SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80"


@cache
def context(name: str) -> DtlsContext:
    """One context a name for the whole test run: they are meant to be shared."""
    return DtlsContext()


class Wire:
    """Everything one side ever sent, and the rule that no record number (and no nonce) is used twice."""

    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.numbers: set[tuple[int, int]] = set()
        self.nonces: set[bytes] = set()

    def watch(self, datagram: bytes, mtu: int, explicit_nonce: bool) -> None:
        """Note a datagram; it breaks the test when a number comes again."""
        self.datagrams.append(datagram)
        assert len(datagram) <= mtu
        for record in parse_records(datagram):
            number = record.epoch, record.sequence
            assert number not in self.numbers, f"record number {number} was used twice"
            self.numbers.add(number)
            if record.epoch and explicit_nonce:
                assert record.body[:8] not in self.nonces
                self.nonces.add(record.body[:8])


class EnginePeer:
    """Our engine."""

    def __init__(
        self,
        role: Role,
        fingerprints: Sequence[tuple[str, str | bytes]],
        name: str = "ours",
        mtu: int = 1200,
        config: DtlsConfig | None = None,
    ) -> None:
        self.state = MemoryState()
        self.mtu = mtu
        self.config = config or DtlsConfig()
        self.engine = DtlsEngine(context(name), role, fingerprints, self.state, mtu, self.config)
        self.events: list[Event] = []
        self.wire = Wire()

    def start(self, now: int) -> None:
        self.engine.start(now)

    def datagrams(self) -> list[bytes]:
        found = []
        suite = SUITES_BY_NUMBER.get(self.state.cipher_suite)
        while (datagram := self.engine.poll_datagram()) is not None:
            self.wire.watch(datagram, self.mtu, suite is None or suite.explicit_bytes == 8)
            found.append(datagram)
        while (event := self.engine.poll_event()) is not None:
            self.events.append(event)
        return found

    def receive(self, datagram: bytes, now: int) -> None:
        self.engine.receive_datagram(datagram, now)

    def timeout(self) -> int | None:
        timeout = self.engine.next_timeout()
        return timeout.deadline if timeout is not None else None

    def handle_timeout(self, now: int) -> None:
        self.engine.handle_timeout(now)

    def rebuild(self) -> None:
        """Destroy the engine and go on from its state alone."""
        message = self.engine.final_message
        self.engine = DtlsEngine.rebuild(self.state, self.mtu, self.config, final_message=message)

    @property
    def completed(self) -> HandshakeCompleted | None:
        return next((event for event in self.events if isinstance(event, HandshakeCompleted)), None)

    @property
    def closed(self) -> str | None:
        return next((event.reason for event in self.events if isinstance(event, Closed)), None)

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


@cache
def raw_certificate(kind: str) -> tuple[object, x509.Certificate]:
    """A self-signed certificate as other stacks make them."""
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "rsa":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"peer {kind}")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(NOT_BEFORE).not_valid_after(NOT_AFTER)
    return key, builder.sign(key, hashes.SHA256())


class RawPeer:
    """Bare OpenSSL through pyOpenSSL, records and all. It never repeats a flight within a test: its clock is real."""

    def __init__(
        self,
        role: Role,
        kind: str = "ecdsa",
        ciphers: bytes = ALL_SUITES,
        profiles: bytes = ALL_PROFILES,
        mtu: int = 1200,
        hello_padding: int = 0,
        certificate: bool = True,
        cookies: bool = False,
    ) -> None:
        key, own = raw_certificate(kind)
        settings = SSL.Context(SSL.DTLS_METHOD)
        if certificate:
            settings.use_privatekey(key)
            settings.use_certificate(own)
        settings.set_options(SSL.OP_NO_QUERY_MTU)
        settings.set_cipher_list(ciphers)
        if profiles:
            settings.set_tlsext_use_srtp(profiles)
        settings.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
        if cookies:  # answer the first ClientHello with a HelloVerifyRequest
            settings.set_options(SSL.OP_COOKIE_EXCHANGE or 0)
            settings.set_cookie_generate_callback(lambda _: b"cookie" * 4)
            settings.set_cookie_verify_callback(lambda _, cookie: cookie == b"cookie" * 4)
        self.settings = settings
        self.fingerprint = ("sha-256", own.fingerprint(hashes.SHA256()))
        self.certificate = own
        self.role = role
        self.mtu = mtu
        self.connection = SSL.Connection(settings, None)
        self.connection.set_ciphertext_mtu(mtu)
        if hello_padding:
            self.connection.set_alpn_protos([bytes([97 + i % 26]) * 100 for i in range(hello_padding // 101)])
        if role == Role.CLIENT:
            self.connection.set_connect_state()
        else:
            self.connection.set_accept_state()
        self.done = False
        self.error: Exception | None = None
        self.received: list[bytes] = []
        self.closed = False

    def start(self, now: int) -> None:
        self._step()

    def datagrams(self) -> list[bytes]:
        data = b""
        while True:
            try:
                data += self.connection.bio_read(65536)
            except SSL.WantReadError:
                break
        return pack_records([record.serialize() for record in parse_all(data)], self.mtu)

    def receive(self, datagram: bytes, now: int) -> None:
        self.connection.bio_write(datagram)
        self._step()

    def timeout(self) -> int | None:
        return None

    def handle_timeout(self, now: int) -> None:
        raise AssertionError("it has no timer")

    def send(self, data: bytes) -> None:
        self.connection.send(data)

    def _step(self) -> None:
        try:
            if not self.done:
                self.connection.do_handshake()
                self.done = True
            while True:
                self.received.append(self.connection.recv(16384))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.closed = True
        except SSL.Error as error:
            self.error = error


def parse_all(data: bytes) -> list:
    """Records of more than one datagram's length."""
    from transceiverd.dtls.context import _split

    return _split(data)


def engine_pair(mtu: int = 1200, config: DtlsConfig | None = None) -> tuple[EnginePeer, EnginePeer]:
    """A client and a server of ours that know each other's fingerprint."""
    client = EnginePeer(Role.CLIENT, [tuple(context("theirs").fingerprint())], "ours", mtu, config)
    server = EnginePeer(Role.SERVER, [tuple(context("ours").fingerprint())], "theirs", mtu, config)
    return client, server


def engine_against(raw: RawPeer, mtu: int = 1200) -> EnginePeer:
    """Our engine in the other role than `raw`."""
    role = Role.SERVER if raw.role == Role.CLIENT else Role.CLIENT
    return EnginePeer(role, [raw.fingerprint], "ours", mtu)
