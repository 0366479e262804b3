"""The one OpenSSL context of a process, and the connection that one handshake uses.

Made by the transceiver process at its start (a context of its own for every call would double a handshake's cost,
FACTS 4), used by every handshake. Everything that touches pyOpenSSL is in this file. Limits to what our record layer
knows: DTLS 1.2, AEAD suites; no tickets, sessions, renegotiation or compression. Extended master secret (RFC 7627) is
OpenSSL's default and used when the peer has it.
"""

import hashlib
from typing import NamedTuple

from OpenSSL import SSL, crypto

from transceiverd.dtls.certificate import Certificate, Fingerprint, generate_certificate
from transceiverd.dtls.messages import SERVER_HELLO, cipher_suite_of
from transceiverd.dtls.records import HANDSHAKE, HEADER_BYTES, RECORD_LAYERS, Record, parse_record
from transceiverd.dtls.srtp import EXPORTER_LABEL, PROFILES, PROFILES_BY_NAME, SrtpKeys, exported_bytes, split_exported
from transceiverd.dtls.state import Role
from transceiverd.dtls.suites import SUITES, SUITES_BY_NAME, SUITES_BY_NUMBER, CipherSuite, KeyBlock, derive_key_block

_READ_BYTES = 16_384  # one read takes any flight of ours


def _accept_any(*_: object) -> bool:
    """OpenSSL's own opinion of the peer's certificate: self-signed, so it has none. The fingerprint decides."""
    return True


class DtlsContext:
    """Certificate and settings, shared by all handshakes of a process, in either role."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self.certificate = certificate or generate_certificate()
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_min_proto_version(min(RECORD_LAYERS))
        context.set_max_proto_version(max(RECORD_LAYERS))
        # NO_QUERY_MTU: else set_ciphertext_mtu is ignored and messages are cut at 256 bytes (FACTS 3). No cookie
        # exchange as server: it would prove the client's address, which an accepted STUN check has already done,
        # with more than a cookie (RFC 5763 section 6.7.1 needs ICE for the same reason), and costs a round trip.
        context.set_options(
            SSL.OP_NO_QUERY_MTU
            | SSL.OP_NO_TICKET
            | SSL.OP_NO_RENEGOTIATION
            | SSL.OP_NO_COMPRESSION
            | SSL.OP_CIPHER_SERVER_PREFERENCE
        )
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_cipher_list(":".join(suite.name for suite in SUITES).encode())
        context.set_tlsext_use_srtp(b":".join(profile.name for profile in PROFILES))
        context.use_privatekey(self.certificate.private_key)
        context.use_certificate(self.certificate.certificate)
        self._context = context
        self._fingerprint = self.certificate.fingerprint()

    def fingerprint(self) -> Fingerprint:
        """Ours, for the SDP."""
        return self._fingerprint

    def connection(self, role: Role, mtu: int) -> "HandshakeConnection":
        """A fresh connection for one handshake."""
        return HandshakeConnection(self._context, role, mtu)


class Secrets(NamedTuple):
    """What a DTLS 1.2 key exchange gives the record layer."""

    suite: CipherSuite
    version: int
    key_block: KeyBlock


class HandshakeConnection:
    """One OpenSSL connection on memory, for the length of a handshake. Its timer is never asked.

    OpenSSL looks at the real clock all the same whenever it finds nothing to read, and after a second repeats its
    flight by itself; the handshake tells that by the message numbers and does not send it.
    """

    __slots__ = ("_connection", "_role", "_suite", "done", "failure")

    def __init__(self, context: SSL.Context, role: Role, mtu: int) -> None:
        self.done = False
        self.failure: str | None = None  # OpenSSL's own words, for the log
        self._role = role
        self._suite: CipherSuite | None = None  # as server: OpenSSL tells it only at the very end
        self._connection = SSL.Connection(context, None)
        self._connection.set_ciphertext_mtu(mtu)
        if role == Role.CLIENT:
            # No suite of ours does without a server's certificate, and the handshake compares it. Asking OpenSSL to
            # verify it as well would only have every certificate made into Python objects for `_accept_any`.
            self._connection.set_connect_state()
        else:
            self._connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _accept_any)
            self._connection.set_accept_state()

    def advance(self, records: bytes) -> list[Record]:
        """Give OpenSSL whole records (together at most 16 KiB: it reads them as one datagram) and take its own."""
        if records:
            self._connection.bio_write(records)
        try:
            self._connection.do_handshake()
            self.done = True
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.failure = _describe(error)
        return self._output()

    def _output(self) -> list[Record]:
        data = b""
        while len(data) % _READ_BYTES == 0:  # a read that is not full was the last
            try:
                data += self._connection.bio_read(_READ_BYTES)
            except SSL.WantReadError:
                break
        records = _split(data)
        for record in records:
            if record.epoch == 0 and record.content_type == HANDSHAKE and record.body[0] == SERVER_HELLO:
                self._suite = SUITES_BY_NUMBER[cipher_suite_of(record.body)]
        return records

    def secrets(self) -> Secrets | None:
        """The traffic keys, as soon as the key exchange is done."""
        connection = self._connection
        try:
            master = connection.master_key()
        except SSL.Error:  # there is a session without a key in it
            return None
        suite = self._suite or SUITES_BY_NAME.get(connection.get_cipher_name() or "")
        client, server = connection.client_random(), connection.server_random()
        if not master or suite is None or client is None or server is None:
            return None
        version = connection.get_protocol_version()
        return Secrets(suite, version, derive_key_block(suite, master, client, server))

    def peer_fingerprints(self, algorithms: set[str]) -> list[Fingerprint]:
        """The digests of the peer's certificate; none while there is no certificate."""
        certificate = self._connection.get_peer_certificate()
        if certificate is None:
            return []
        encoded = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        return [Fingerprint(name, hashlib.new(name.replace("-", ""), encoded).digest()) for name in algorithms]

    def srtp_keys(self) -> SrtpKeys:
        """The SRTP keys, once done; profile 0 when none was in common."""
        profile = PROFILES_BY_NAME.get(self._connection.get_selected_srtp_profile())
        if profile is None:
            return SrtpKeys()
        exported = self._connection.export_keying_material(EXPORTER_LABEL, exported_bytes(profile))
        return split_exported(profile, self._role, exported)

    @property
    def verify_data(self) -> bytes:
        """What our Finished says, once it was made."""
        return self._connection.get_finished() or b""

    @property
    def cipher_name(self) -> str:
        """OpenSSL's name of the suite, once negotiated."""
        return self._connection.get_cipher_name() or ""

    @property
    def version_name(self) -> str:
        """`DTLSv1.2`."""
        return self._connection.get_protocol_version_name()


def _split(data: bytes) -> list[Record]:
    """OpenSSL's output is whole records, but of how many datagrams the memory does not tell (FACTS 3)."""
    records = []
    offset = 0
    while offset < len(data):
        record = parse_record(data, offset)
        records.append(record)
        offset += HEADER_BYTES + len(record.body)
    return records


def _describe(error: SSL.Error) -> str:
    """OpenSSL's reason strings are a fixed set, none of the peer's bytes are in them."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(entry[-1]) for entry in queue) or type(error).__name__
