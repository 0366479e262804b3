"""The DTLS engine of one call: handshake, then records, then the end (DESIGN 2.5, 2.12, 2.13; RFC 5764, 6347).

Called by the call's session on the control thread: give it datagrams and `now`, drain `poll_datagram()` and
`poll_event()`, set one timer from `next_timeout()`. It knows no addresses: the session gives it only datagrams from
checked ones and decides where its own go and how much (DESIGN 2.4); `RecordAuthenticated` tells it that the source of
the datagram just given in is proven.

    NEW --start--> HANDSHAKING --both Finished--> ESTABLISHED --close_notify, fatal alert--> CLOSED
                        | time-out, mismatch, failure --------------------------------------> CLOSED

Once established, all state is in the call's `DtlsState` and OpenSSL is gone; `rebuild` makes an engine that goes on.
What a peer sends never raises: it is a counted drop or ends the association. Only alerts from inside it do.
"""

from collections.abc import Iterable
from enum import Enum

from shm.errors import MalformedPacket
from transceiverd.dtls import messages
from transceiverd.dtls.alerts import (
    CLOSE_NOTIFY,
    LEVEL_FATAL,
    LEVEL_WARNING,
    USER_CANCELED,
    Alert,
    parse_alert,
    serialize_alert,
)
from transceiverd.dtls.certificate import Fingerprint, usable_fingerprints
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.context import DtlsContext
from transceiverd.dtls.events import (
    ApplicationDataReceived,
    Event,
    HandshakeCompleted,
    HandshakePhases,
    RecordAuthenticated,
)
from transceiverd.dtls.flights import RESEND_INTERVAL, pack_records
from transceiverd.dtls.handshake import Handshake
from transceiverd.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    PLAINTEXT_BYTES_MAX,
    RECORD_LAYERS,
    RECORD_OVERHEAD_MAX,
    Record,
    RecordLayer12,
    parse_records,
)
from transceiverd.dtls.state import DtlsState, Role, install_state
from transceiverd.dtls.suites import SUITES_BY_NUMBER
from transceiverd.engine import MILLISECOND, Closed, Drops, Timeout

__all__ = [
    "ApplicationDataReceived",
    "Closed",
    "DtlsEngine",
    "EngineState",
    "Event",
    "HandshakeCompleted",
    "HandshakePhases",
    "RecordAuthenticated",
    "Role",
]

# After a rebuild nobody knows how far epoch 0 was counted. A repeated ChangeCipherSpec is numbered from here by the
# record number of the Finished behind it, which never repeats; a handshake never counts this far.
_EPOCH0_REPEATED = 1 << 32

DEFAULT_CONFIG = DtlsConfig()


class EngineState(Enum):
    """Where the association is."""

    NEW = "new"
    HANDSHAKING = "handshaking"
    ESTABLISHED = "established"
    CLOSED = "closed"


_TRANSITIONS = {
    EngineState.NEW: {EngineState.HANDSHAKING, EngineState.ESTABLISHED, EngineState.CLOSED},
    EngineState.HANDSHAKING: {EngineState.ESTABLISHED, EngineState.CLOSED},
    EngineState.ESTABLISHED: {EngineState.CLOSED},
    EngineState.CLOSED: set(),
}


class DtlsEngine:
    """One association. `drops` may be shared by many engines."""

    __slots__ = (
        "_config",
        "_datagrams",
        "_drops",
        "_events",
        "_first_received",
        "_handshake",
        "_layer",
        "_mtu",
        "_now",
        "_parameters",
        "_received",
        "_repeated_at",
        "_started",
        "_state",
        "alert_hint",
        "failure_detail",
        "final_message",
        "peer_alert",
        "status",
    )

    def __init__(
        self,
        context: DtlsContext | None,
        role: Role,
        remote_fingerprints: Iterable[tuple[str, str | bytes]],
        state: DtlsState,
        mtu: int | None = None,
        config: DtlsConfig = DEFAULT_CONFIG,
        drops: Drops | None = None,
    ) -> None:
        """`remote_fingerprints` are pairs as in the SDP: ("sha-256", "0A:1B:...") or a raw digest. `mtu` in bytes.

        Raises ValueError when none of the fingerprints is of a hash that may be trusted.
        """
        self.status = EngineState.NEW
        self.final_message = b""
        """Our Finished, when it was the last message (DTLS server): 24 bytes that a rebuilt engine needs in order to
        answer a peer that never got it. Empty as client, and once the peer has shown that it has it."""
        self.peer_alert: Alert | None = None
        """The authenticated alert that ended the association."""
        self.alert_hint: Alert | None = None
        """The last alert that came in the clear during the handshake: anybody's word, for people to read."""
        self.failure_detail: str | None = None
        """OpenSSL's words for a failed handshake, for the log: none of them the peer's."""
        self._state = state
        self._mtu = config.mtu if mtu is None else mtu
        self._config = config
        self._drops = Drops() if drops is None else drops
        self._datagrams: list[bytes] = []
        self._events: list[Event] = []
        self._handshake: Handshake | None = None
        self._parameters: tuple[DtlsContext, Role, tuple[Fingerprint, ...]] | None = None
        self._layer: RecordLayer12 | None = None
        self._now = 0
        self._started = 0
        self._first_received = 0
        self._received = 0
        self._repeated_at = 0
        if context is not None:
            trusted = usable_fingerprints(remote_fingerprints)
            if not trusted:
                raise ValueError("no usable fingerprint")
            self._parameters = context, role, trusted

    @classmethod
    def rebuild(
        cls,
        state: DtlsState,
        mtu: int | None = None,
        config: DtlsConfig = DEFAULT_CONFIG,
        drops: Drops | None = None,
        final_message: bytes = b"",
    ) -> "DtlsEngine":
        """An engine that goes on with an established association, from its state alone.

        Raises ValueError when the state has no keys, or keys of a version or suite that this release does not know.
        """
        if state.version not in RECORD_LAYERS or state.cipher_suite not in SUITES_BY_NUMBER:
            raise ValueError(f"DTLS state of version {state.version:#06x}, suite {state.cipher_suite:#06x}")
        engine = cls(None, Role(state.role), (), state, mtu, config, drops)
        engine._layer = RECORD_LAYERS[state.version](state)
        engine.final_message = final_message
        engine._change(EngineState.CLOSED if state.closed else EngineState.ESTABLISHED)
        return engine

    @property
    def drops(self) -> Drops:
        """What was refused, by reason."""
        return self._drops

    @property
    def application_data_max(self) -> int:
        """Bytes that `send` takes at most, so that the record fits a datagram."""
        overhead = RECORD_OVERHEAD_MAX if self._layer is None else self._layer.overhead
        return min(self._mtu - overhead, PLAINTEXT_BYTES_MAX)

    # ---------------------------------------------------------------- calls from above

    def start(self, now: int) -> None:
        """Begin: as client the ClientHello goes out, as server the time-out runs. Once. OpenSSL begins here too: a call
        that is never checked costs none of its memory."""
        assert self._parameters is not None
        self._change(EngineState.HANDSHAKING)
        self._now = self._started = now
        self._handshake = Handshake(*self._parameters, self._config, self._mtu, self._datagrams, self._drops)
        self._parameters = None
        self._handshake.start(now)
        self._settle()

    def send(self, data: bytes, now: int) -> None:
        """Application data, one record in one datagram. After the end it is a counted drop: a peer may close any time.

        Raises ValueError when it is longer than `application_data_max`.
        """
        self._advance_time(now)
        if self.status is not EngineState.ESTABLISHED:
            self._drops["send while not established"] += 1
            return
        if len(data) > self.application_data_max:
            raise ValueError(f"{len(data)} bytes do not fit a datagram, {self.application_data_max} do")
        self._seal(APPLICATION_DATA, data)

    def close(self, now: int) -> None:
        """Say close_notify and be done. It is sent once: a peer that misses it runs into its consent time-out."""
        self._advance_time(now)
        if self.status is EngineState.ESTABLISHED:
            self._seal(ALERT, serialize_alert(Alert(LEVEL_WARNING, CLOSE_NOTIFY)))
        elif self.status is EngineState.HANDSHAKING and self._handshake is not None:
            self._handshake.refuse(USER_CANCELED)
        self._close("local close")

    # ---------------------------------------------------------------- the engine's shape

    def receive_datagram(self, data: bytes, now: int) -> None:
        """Take in one datagram from a checked address."""
        self._advance_time(now)
        try:
            if self.status is EngineState.HANDSHAKING:
                self._receive_handshaking(data)
            elif self.status is EngineState.ESTABLISHED:
                self._receive_established(parse_records(data))
            else:
                raise MalformedPacket("association closed" if self.status is EngineState.CLOSED else "before start")
        except MalformedPacket as error:
            self._drops.malformed(error)

    def handle_timeout(self, now: int) -> None:
        """Do whatever is due."""
        self._advance_time(now)
        if self.status is not EngineState.HANDSHAKING or self._handshake is None:
            return
        if self._now >= self._started + self._config.handshake_timeout_ms * MILLISECOND:
            self._close("dtls timeout")
        else:
            self._handshake.flights.handle_timeout(self._now)

    def next_timeout(self) -> Timeout | None:
        """The next deadline; none once established."""
        if self.status is not EngineState.HANDSHAKING or self._handshake is None:
            return None
        end = Timeout(self._started + self._config.handshake_timeout_ms * MILLISECOND, "dtls handshake")
        resend = self._handshake.flights.deadline
        return end if resend is None or resend >= end.deadline else Timeout(resend, "dtls retransmission")

    def poll_datagram(self) -> bytes | None:
        """The next datagram to send."""
        return self._datagrams.pop(0) if self._datagrams else None

    def poll_event(self) -> Event | None:
        """The next event."""
        return self._events.pop(0) if self._events else None

    # ---------------------------------------------------------------- handshaking

    def _receive_handshaking(self, data: bytes) -> None:
        assert self._handshake is not None
        records = parse_records(data)
        self._received += 1
        if self._received == 1:
            self._first_received = self._now
        fresh = self._handshake.receive_records(records, self._now)
        self._settle()
        if fresh:
            self._events.append(RecordAuthenticated())

    def _settle(self) -> None:
        """Act on what became of the handshake."""
        handshake = self._handshake
        assert handshake is not None
        self.alert_hint = handshake.alert_hint
        if handshake.failure is not None:
            self.peer_alert = handshake.peer_alert
            self.failure_detail = handshake.detail
            self._close(handshake.failure)
        elif handshake.done:
            self._establish(handshake)

    def _establish(self, handshake: Handshake) -> None:
        """The keys go into the call's state before anything that they sealed leaves, and OpenSSL goes."""
        install_state(handshake.state, self._state)
        self._layer = RECORD_LAYERS[self._state.version](self._state)
        self.final_message = handshake.final_message
        self._repeated_at = self._now
        self._handshake = None
        self._change(EngineState.ESTABLISHED)
        phases = HandshakePhases(
            started=self._started,
            first_received=self._first_received,
            keys_derived=handshake.keys_derived,
            completed=self._now,
            datagrams_received=self._received,
            datagrams_sent=handshake.flights.sent,
            resends=handshake.flights.resends,
        )
        keys = handshake.srtp_keys()
        self._events.append(HandshakeCompleted(*keys, handshake.cipher, handshake.version, phases))
        self._events.extend(ApplicationDataReceived(data) for data in handshake.early_data)

    # ---------------------------------------------------------------- established

    def _receive_established(self, records: list[Record]) -> None:
        fresh = False
        for record in records:
            try:
                fresh |= self._receive_record(record)
            except MalformedPacket as error:
                self._drops.malformed(error)
        if fresh:
            self._events.append(RecordAuthenticated())

    def _receive_record(self, record: Record) -> bool:
        """Whether it was fresh and authentic."""
        if self.status is EngineState.CLOSED or self._layer is None:
            raise MalformedPacket("association closed")
        if record.epoch == 0:
            # Repetitions of the handshake, forged alerts, garbage: nothing in the clear counts any more.
            raise MalformedPacket("plaintext record")
        plaintext = self._layer.open(record)
        if record.content_type == HANDSHAKE:
            self._receive_handshake_message(plaintext)
            return True
        self.final_message = b""  # whoever sends anything else has our Finished (RFC 6347 section 4.2.4)
        if record.content_type == APPLICATION_DATA:
            self._events.append(ApplicationDataReceived(plaintext))
        elif record.content_type == ALERT:
            self._receive_alert(parse_alert(plaintext))
        return True

    def _receive_handshake_message(self, plaintext: bytes) -> None:
        """A repeated Finished means that ours was lost. Anything else would be a renegotiation, which is not had."""
        fragments = messages.parse_fragments(plaintext)
        if any(fragment.message_type != messages.FINISHED for fragment in fragments):
            self._drops["renegotiation"] += 1
        elif self.final_message and self._now - self._repeated_at >= RESEND_INTERVAL:
            self._repeated_at = self._now
            self._repeat_final_flight()

    def _repeat_final_flight(self) -> None:
        assert self._layer is not None
        number = _EPOCH0_REPEATED + self._state.write_sequence
        change = Record(CHANGE_CIPHER_SPEC, self._state.version, 0, number, b"\1").serialize()
        finished = self._layer.seal(HANDSHAKE, self.final_message)
        self._datagrams.extend(pack_records((change, finished), self._mtu))

    def _receive_alert(self, alert: Alert) -> None:
        if alert.description == CLOSE_NOTIFY:
            self.peer_alert = alert
            self._seal(ALERT, serialize_alert(Alert(LEVEL_WARNING, CLOSE_NOTIFY)))  # RFC 5246 section 7.2.1
            self._close("close notify")
        elif alert.level == LEVEL_FATAL:
            self.peer_alert = alert
            self._close(f"peer alert: {alert.name}")
        else:
            self._drops["warning alert"] += 1

    # ---------------------------------------------------------------- common

    def _seal(self, content_type: int, plaintext: bytes) -> None:
        assert self._layer is not None
        self._datagrams.append(self._layer.seal(content_type, plaintext))

    def _close(self, reason: str) -> None:
        if self.status is EngineState.CLOSED:
            return
        self._state.closed = True
        self._change(EngineState.CLOSED)
        self._handshake = None
        self._events.append(Closed(reason))

    def _change(self, status: EngineState) -> None:
        """The one place where the state changes."""
        assert status in _TRANSITIONS[self.status], f"{self.status} -> {status}"
        self.status = status

    def _advance_time(self, now: int) -> None:
        """Time that goes back is ignored."""
        self._now = max(self._now, now)
