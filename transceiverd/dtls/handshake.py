"""One DTLS 1.2 handshake: OpenSSL does the cryptography, everything around it is ours (RFC 6347 section 4.2).

Owned by the engine, freed by it when the handshake ends. It stands between the peer and OpenSSL in both directions:

    datagram -> records -> budget, filter, reassembly -> whole messages in order, each once -> OpenSSL
    OpenSSL  -> records -> opened where sealed        -> a flight of ours, numbered, sealed, packed, resent by us

so OpenSSL sees a link that loses, repeats and reorders nothing, and never an alert, a renegotiation, a reflected
message or a bad record. What remains in reach of somebody who can write from a checked address is the content of a
well-formed message in its turn: DTLS 1.2 cannot authenticate those before the Finished.

ChangeCipherSpec records carry nothing that a DTLS record's epoch does not say, have no message number, and are the one
thing that breaks when datagrams change places; so they are ignored, and OpenSSL is given one of our own right before a
Finished that our record layer has authenticated and whose turn has come.

The peer's alerts in the clear are hints for people, counted and never believed: anybody could have sent them. A peer
that really refuses us is found by the time-out. Left out: cookies (see the context), session resumption, DTLS 1.3.
"""

from collections.abc import Iterable

from shm.errors import MalformedPacket
from transceiverd.dtls import messages
from transceiverd.dtls.alerts import (
    BAD_CERTIFICATE,
    CLOSE_NOTIFY,
    DECRYPT_ERROR,
    LEVEL_FATAL,
    Alert,
    parse_alert,
    serialize_alert,
)
from transceiverd.dtls.certificate import Fingerprint, matches_any
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.context import DtlsContext, Secrets
from transceiverd.dtls.flights import Flights, PlainRecord
from transceiverd.dtls.reassembly import MessageReassembly
from transceiverd.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    RECORD_LAYERS,
    Record,
    RecordLayer12,
)
from transceiverd.dtls.srtp import SrtpKeys
from transceiverd.dtls.state import VERSION_DTLS_1_2, MemoryState, Role
from transceiverd.engine import MILLISECOND, Drops

# Records that came too early, each bounded by the datagram it came in. A Finished is one record; a few repetitions.
EARLY_RECORDS_MAX = 8
EARLY_BYTES_MAX = 16_384
# OpenSSL reads at most about this much of its memory at a time and takes it for one datagram.
FEED_BYTES_MAX = 16_384


class Handshake:
    """From `start` to `done` or `failure`."""

    def __init__(
        self,
        context: DtlsContext,
        role: Role,
        fingerprints: tuple[Fingerprint, ...],
        config: DtlsConfig,
        mtu: int,
        datagrams: list[bytes],
        drops: Drops,
    ) -> None:
        self.failure: str | None = None  # the reason to close with
        self.peer_alert: Alert | None = None  # authenticated, and the end
        self.alert_hint: Alert | None = None  # last alert in the clear
        self.state = MemoryState(role=role)
        self.early_data: list[bytes] = []  # authenticated application data that overtook the end of the handshake
        self.final_message = b""  # our Finished, if ours is the last flight
        self.keys_derived = 0
        self.flights = Flights(config, mtu, datagrams)
        self._role = role
        self._fingerprints = fingerprints
        self._config = config
        self._drops = drops
        self._connection = context.connection(role, mtu)
        self._reassembly = MessageReassembly(config.message_bytes_max, config.reassembly_bytes_max)
        self._allowed = messages.FROM_SERVER if role == Role.CLIENT else messages.FROM_CLIENT
        self._certificate_matches = False
        self._layer: RecordLayer12 | None = None
        self._early_finished: list[Record] = []
        self._finished: list[Record] = []
        self._finished_sequence = -1
        self._next_own_message = 0
        self._finished_sent = False
        self._sequence_to_openssl = 0
        self._epoch_changed = False
        self._repeated = False
        self._fresh = False
        self._datagrams_left = config.handshake_datagrams_max
        self._bytes_left = config.handshake_bytes_max
        self._fragments_left = config.handshake_fragments_max

    @property
    def done(self) -> bool:
        """Both Finished messages are right and the certificate is the offer's."""
        return self._connection.done and self._certificate_matches and self.failure is None

    @property
    def detail(self) -> str | None:
        """Why OpenSSL failed, for the log."""
        return self._connection.failure

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the suite in use."""
        return self._connection.cipher_name

    @property
    def version(self) -> str:
        """OpenSSL's name of the version in use."""
        return self._connection.version_name

    def srtp_keys(self) -> SrtpKeys:
        """When done: the keys for media."""
        return self._connection.srtp_keys()

    def start(self, now: int) -> None:
        """As client: send the ClientHello. As server there is nothing to say yet."""
        if self._role == Role.CLIENT:
            self._take_output(self._connection.advance(b""), now)

    def receive_records(self, records: list[Record], now: int) -> bool:
        """Take in a datagram's records; whether one of them was fresh under the association's keys.

        Raises MalformedPacket: "handshake budget".
        """
        self._spend(records)
        self._repeated = self._fresh = False
        for record in records:
            try:
                self._receive_record(record, now)
            except MalformedPacket as error:
                self._drops.malformed(error)
        self._advance(now)
        if self._repeated and self.failure is None:
            self.flights.peer_repeated(now)
        return self._fresh

    def refuse(self, description: int) -> None:
        """Tell the peer that it is over: in the clear, because it can read nothing else yet. Nothing is resent."""
        alert = serialize_alert(Alert(LEVEL_FATAL, description))
        self.flights.send_once(PlainRecord(ALERT, VERSION_DTLS_1_2, 0, alert))
        self.flights.forget()

    # ---------------------------------------------------------------- in

    def _spend(self, records: list[Record]) -> None:
        """Book a datagram that makes work. Garbage and alerts in the clear cost nothing and must not use it up."""
        size = 0
        for record in records:
            if record.content_type == HANDSHAKE or record.epoch:
                size += len(record.body)
        if size == 0:
            return
        self._datagrams_left -= 1
        self._bytes_left -= size
        if self._datagrams_left < 0 or self._bytes_left < 0:
            raise MalformedPacket("handshake budget")

    def _receive_record(self, record: Record, now: int) -> None:
        if record.epoch == 1:
            self._receive_protected(record, now)
        elif record.epoch:
            raise MalformedPacket("record epoch")
        elif record.content_type == HANDSHAKE:
            for fragment in messages.parse_fragments(record.body):
                self._receive_fragment(fragment)
        elif record.content_type == ALERT:
            self.alert_hint = parse_alert(record.body)
            self._drops["plaintext alert"] += 1
        elif record.content_type == APPLICATION_DATA:
            raise MalformedPacket("plaintext record")

    def _receive_fragment(self, fragment: messages.Fragment) -> None:
        self._fragments_left -= 1
        if self._fragments_left < 0:
            raise MalformedPacket("handshake budget")
        kind = fragment.message_type
        # Only the first message of a handshake can be one of these; later it would be a fatal surprise to OpenSSL.
        first_only = kind in (messages.CLIENT_HELLO, messages.HELLO_VERIFY_REQUEST)
        if kind not in self._allowed or (first_only and fragment.message_sequence > 0):
            raise MalformedPacket("handshake message unexpected")
        self._repeated |= self._reassembly.add(fragment)

    def _receive_protected(self, record: Record, now: int) -> None:
        if self._layer is None:
            self._advance(now)  # the key exchange may lie before it in the same datagram
        if self._layer is None:
            self._keep_early(record)
            return
        plaintext = self._layer.open(record)
        self._fresh = True
        self._receive_plaintext(record, plaintext)

    def _receive_plaintext(self, record: Record, plaintext: bytes) -> None:
        if record.content_type == HANDSHAKE:
            self._receive_finished(record, plaintext)
        elif record.content_type == ALERT:
            self._receive_alert(parse_alert(plaintext))
        elif record.content_type == APPLICATION_DATA:
            if len(self.early_data) == EARLY_RECORDS_MAX:
                raise MalformedPacket("early data full")
            self.early_data.append(plaintext)
        else:
            raise MalformedPacket("handshake message unexpected")

    def _keep_early(self, record: Record) -> None:
        """A Finished that overtook the messages before it: it can be read once they are here."""
        held = sum(len(early.body) for early in self._early_finished)
        too_much = len(self._early_finished) == EARLY_RECORDS_MAX or held + len(record.body) > EARLY_BYTES_MAX
        if record.content_type != HANDSHAKE or too_much:
            raise MalformedPacket("record before keys")
        self._early_finished.append(record)

    def _receive_finished(self, record: Record, plaintext: bytes) -> None:
        """Authentic; kept sealed, because OpenSSL opens it once more."""
        fragments = messages.parse_fragments(plaintext)
        sequence = fragments[0].message_sequence
        surprising = any(f.message_type != messages.FINISHED or f.message_sequence != sequence for f in fragments)
        if surprising or self._finished_sequence not in (-1, sequence) or len(self._finished) == EARLY_RECORDS_MAX:
            raise MalformedPacket("handshake message unexpected")
        self._finished_sequence = sequence
        self._finished.append(record)

    def _receive_alert(self, alert: Alert) -> None:
        """From inside the association, so it counts."""
        if alert.level != LEVEL_FATAL and alert.description != CLOSE_NOTIFY:
            self._drops["warning alert"] += 1
            return
        self.peer_alert = alert
        self.failure = "close notify" if alert.description == CLOSE_NOTIFY else f"peer alert: {alert.name}"

    # ---------------------------------------------------------------- through OpenSSL

    def _advance(self, now: int) -> None:
        """Give OpenSSL what has come to its turn."""
        ready = self._reassembly.take()
        if ready and self.failure is None:
            output = self._feed([self._frame(HANDSHAKE, message.serialize()) for message in ready])
            self._after_feed(output, now)
        if self._layer is not None and self._early_finished:
            self._receive_early(self._layer)
        if self.failure is None and self._finished_sequence == self._reassembly.next_sequence and not self.done:
            self._feed_finished(now)

    def _feed_finished(self, now: int) -> None:
        records = [record.serialize() for record in self._finished]
        self._finished.clear()
        if not self._epoch_changed:
            self._epoch_changed = True
            records.insert(0, self._frame(CHANGE_CIPHER_SPEC, b"\1"))
        if records:
            self._after_feed(self._feed(records), now)

    def _receive_early(self, layer: RecordLayer12) -> None:
        """They prove no address: the datagram at hand may be another one's."""
        early, self._early_finished = self._early_finished, []
        for record in early:
            try:
                self._receive_plaintext(record, layer.open(record))
            except MalformedPacket as error:
                self._drops.malformed(error)

    def _frame(self, content_type: int, body: bytes) -> bytes:
        """A record of epoch 0 for OpenSSL, numbered without gaps or repetitions."""
        sequence = self._sequence_to_openssl
        self._sequence_to_openssl += 1
        return Record(content_type, VERSION_DTLS_1_2, 0, sequence, body).serialize()

    def _feed(self, records: Iterable[bytes]) -> list[Record]:
        output: list[Record] = []
        pending = b""
        for record in records:
            if pending and len(pending) + len(record) > FEED_BYTES_MAX:
                output += self._connection.advance(pending)
                pending = b""
            pending += record
        return output + self._connection.advance(pending)

    def _after_feed(self, output: list[Record], now: int) -> None:
        """Nothing of the peer's is used, and nothing answered, before its certificate is the offer's."""
        if not self._certificate_matches and not self._check_certificate():
            return
        if self._layer is None:
            self._derive_keys(now)
        if self._connection.failure is not None:
            self.failure = "handshake failed"
        self._take_output(output, now)
        if self.done:
            self._finish()

    def _check_certificate(self) -> bool:
        """Whether to go on: there is no certificate yet, or it matches (RFC 8122 section 5, any of several)."""
        algorithms = {fingerprint.algorithm for fingerprint in self._fingerprints}
        actual = self._connection.peer_fingerprints(algorithms)
        if not actual:
            return True
        self._certificate_matches = matches_any(self._fingerprints, actual)
        if not self._certificate_matches:
            self.failure = "fingerprint mismatch"
            self.refuse(BAD_CERTIFICATE)
        return self._certificate_matches

    def _derive_keys(self, now: int) -> None:
        """Our record layer's keys, as soon as OpenSSL has the master secret: one flight before the end."""
        secrets = self._connection.secrets() if self._certificate_matches else None
        if secrets is None:
            return
        self.keys_derived = now
        _install_keys(self.state, self._role, secrets)
        self._layer = self.flights.layer = RECORD_LAYERS[secrets.version](self.state)

    # ---------------------------------------------------------------- out

    def _take_output(self, output: list[Record], now: int) -> None:
        """What OpenSSL wants to send: a new flight, an alert, or a flight that its own timer repeated."""
        for record in output:
            if record.epoch:
                self.state.write_sequence = max(self.state.write_sequence, record.sequence + 1)
        if self._connection.failure is not None:
            self._send_last_words(output)
            return
        flight = self._unseal_flight(output)
        if flight:
            hello = flight[0].body[0] == messages.CLIENT_HELLO and flight[0].content_type == HANDSHAKE
            interval = self._config.client_hello_retransmit_ms if hello else self._config.retransmit_ms
            self.flights.send(flight, interval * MILLISECOND, now)

    def _unseal_flight(self, output: list[Record]) -> list[PlainRecord]:
        """The records as plaintext, without the messages that we know already, since we repeat flights ourselves.

        OpenSSL looks at its own timer before it reads: a repetition of its last flight and the flight that answers what
        came late may stand here together. Our Finished comes sealed by OpenSSL, and is made again from what is in it.
        OpenSSL's record is never sent: its explicit nonce is random and ours count, so that nobody ever sees two
        records under one nonce.
        """
        flight, known = [], self._next_own_message
        for record in output:
            body = record.body
            if self._finished_sent and (record.epoch or record.content_type == CHANGE_CIPHER_SPEC):
                continue
            if record.epoch:
                self._finished_sent = True
                verify_data = self._connection.verify_data
                number = self._next_own_message
                finished = messages.Fragment(messages.FINISHED, len(verify_data), number, 0, verify_data)
                body = finished.serialize()
                self._next_own_message += 1
            elif record.content_type == HANDSHAKE:
                message_sequence = messages.parse_fragments(body)[-1].message_sequence
                if message_sequence < known:
                    continue
                self._next_own_message = message_sequence + 1
            flight.append(PlainRecord(record.content_type, record.version, record.epoch, body))
        return flight

    def _send_last_words(self, output: list[Record]) -> None:
        """OpenSSL's alert about its failure. Sealed, it can only be about a Finished that did not fit."""
        for record in output:
            if record.content_type == ALERT:
                body = serialize_alert(Alert(LEVEL_FATAL, DECRYPT_ERROR)) if record.epoch else record.body
                self.flights.send_once(PlainRecord(ALERT, record.version, record.epoch, body))
        self.flights.forget()

    def _finish(self) -> None:
        """Our last flight waits for nothing: as client it was answered, as server only a repetition brings it again."""
        if self._role == Role.SERVER:
            self.final_message = self.flights.final_message()
        self.flights.forget()


def _install_keys(state: MemoryState, role: Role, secrets: Secrets) -> None:
    block = secrets.key_block
    ours, theirs = (block.client_key, block.client_iv), (block.server_key, block.server_iv)
    if role == Role.SERVER:
        ours, theirs = theirs, ours
    state.version = secrets.version
    state.cipher_suite = secrets.suite.number
    state.role = role
    state.write_epoch = state.read_epoch = 1
    state.write_key, state.write_iv = ours
    state.read_key, state.read_iv = theirs
