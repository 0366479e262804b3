"""One call: ICE, DTLS and the hand-over to the media thread, composed into one sans-I/O engine (DESIGN 2.12).

Data channels ride on DTLS as one SCTP association (`data_transport.py`). What a successor needs beside the record is
written to the call's blob (`blob.py`) before any datagram that follows from it leaves; `restore` goes on from both.

The transceiver process feeds it STUN and DTLS datagrams, what the media thread reports, and time; and drains it after
every call. SRTP, RTP and RTCP are not here: they belong to the media thread (`transceiverd/media`), which works on the
same session record. Which record field has which writer is said in `shm/layout.h`.

    NEW --check accepted--> CHECKED --DTLS done--> CONNECTED <--consent--> SILENT
     any of them --hangup, close_notify, time-out, fingerprint mismatch--> CLOSING
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from transceiverd.blob import BlobWriter
from transceiverd.data_transport import DataTransport
from transceiverd.dtls.engine import ApplicationDataReceived, DtlsEngine, HandshakeCompleted, RecordAuthenticated
from transceiverd.engine import MILLISECOND, Closed, Datagram, Drops, Timeout, earlier
from transceiverd.ice.addresses import PROVEN
from transceiverd.ice.agent import (
    AddressChecked,
    AddressDropped,
    AddressNominated,
    ConsentExpired,
    ConsentRegained,
    LiteAgent,
    NeverChecked,
)
from transceiverd.phases import Phases
from transceiverd.session_store import SessionStore

NO_ADDRESS = "dtls-unchecked-address"
NO_TARGET = "dtls-no-target"
AMPLIFICATION = "dtls-amplification"
NO_CHANNELS = "application-data-unwanted"
# Labels of the drops that are the session's own; its engines have theirs.
DROP_REASONS = (NO_ADDRESS, NO_TARGET, AMPLIFICATION, NO_CHANNELS)


class State(IntEnum):
    """enum ringline_session_state of shm/layout.h."""

    NEW = 1
    CHECKED = 2
    CONNECTED = 3
    SILENT = 4
    CLOSING = 5


# What may follow what; `_move` is the one place that changes a state. A SILENT call comes back to what it was.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.CHECKED, State.CLOSING}),
    State.CHECKED: frozenset({State.CONNECTED, State.SILENT, State.CLOSING}),
    State.CONNECTED: frozenset({State.SILENT, State.CLOSING}),
    State.SILENT: frozenset({State.CHECKED, State.CONNECTED, State.CLOSING}),
    State.CLOSING: frozenset(),
}


class FlowPublished(NamedTuple):
    """Every relay worker shall hold this flow for this call."""

    key: bytes
    address_state: int
    fresh: bool = False
    """A packet from there authenticated just now: decides a dispute about the flow (DESIGN 2.4)."""


class FlowWithdrawn(NamedTuple):
    """No relay worker shall hold this flow for this call any more."""

    key: bytes


class MediaReady(NamedTuple):
    """The SRTP keys are in the record: the media thread may take the call up."""

    profile: int


Event = FlowPublished | FlowWithdrawn | MediaReady | Closed


class Session:
    """A call from its answer to its end.

    Every method that takes `now` may leave datagrams and events to poll and may move `next_timeout()`.
    """

    __slots__ = (
        "_contended",
        "_datagrams",
        "_dtls_timeout",
        "_events",
        "agent",
        "blob",
        "close_reason",
        "data",
        "drops",
        "dtls",
        "nominated_key",
        "phases",
        "state",
        "store",
        "version",
    )

    def __init__(
        self,
        store: SessionStore,
        agent: LiteAgent,
        dtls: DtlsEngine,
        dtls_timeout_ms: int,
        drops: Drops,
        answered: int,
        blob: BlobWriter,
        data: DataTransport | None = None,
        *,
        restored: bool = False,
    ) -> None:
        """`drops` is shared with the engines, and by all calls of a process. `data`: if channels were negotiated.

        `restored`: go on with a call that was connected; its engines are restored. Its flows are yet to be published.
        """
        self.store = store
        self.agent = agent
        self.dtls = dtls
        self.drops = drops
        self.blob = blob
        self.data = data
        self.state = State.CONNECTED if restored else State.NEW  # one that was silent will be told so again
        self.phases = Phases(answered)
        self.close_reason = ""
        self.nominated_key = next((address.key for address in agent.addresses if address.nominated), b"")
        self.version = ""
        self._contended = False
        self._dtls_timeout = dtls_timeout_ms * MILLISECOND
        self._datagrams: list[Datagram] = []
        self._events: list[Event] = []
        store.state = self.state

    # ------------------------------------------------------------------ in

    def receive_stun(self, data: bytes, source: bytes, now: int) -> None:
        """A STUN packet whose ufrag the worker verified."""
        self.phases.reach("first_check", now)
        self.agent.receive_datagram(data, source, now)
        self.store.last_check_ns = self.agent.last_check or 0
        self._drain(source, now)

    def receive_dtls(self, data: bytes, source: bytes, now: int, contended: bool = False) -> None:
        """A DTLS datagram. Before an accepted check from `source` it never reaches OpenSSL (FACTS 1).

        `contended`: another call disputes the address; whichever authenticates a packet has it.
        """
        if not self.agent.hear(source, len(data)):
            self.drops[NO_ADDRESS] += 1
            return
        self.phases.reach("dtls_answered", now)
        self._contended = contended
        self.dtls.receive_datagram(data, now)
        self._drain(source, now)

    def prove(self, key: bytes, now: int) -> None:
        """The media thread authenticated a fresh SRTP packet from `key`: the first, or one while it is in dispute."""
        if self.agent.may_hear(key):
            self.phases.reach("first_media", now)
            self.agent.addresses.mark_proven(key, "srtp")
            self._publish(key, fresh=True)

    def handle_timeout(self, now: int) -> None:
        """Do all that is due."""
        self.agent.handle_timeout(now)
        self.dtls.handle_timeout(now)
        if self.data is not None and self.state is State.CONNECTED:
            self.data.handle_timeout(now)
        due = self._dtls_deadline()
        if due is not None and now >= due:
            self._end("no dtls", now)
        self._drain(b"", now)

    def close(self, reason: str, now: int) -> None:
        """End the call from our side: close_notify, flows withdrawn."""
        self._end(reason, now)
        self._drain(b"", now)

    # ------------------------------------------------------------------ out

    def next_timeout(self) -> Timeout | None:
        """The earliest of the parts' deadlines."""
        due = self._dtls_deadline()
        earliest = earlier(self.agent.next_timeout(), self.dtls.next_timeout())
        if due is not None and (earliest is None or due < earliest.deadline):
            earliest = Timeout(due, "no-dtls")
        if self.data is not None and self.state is State.CONNECTED:
            earliest = earlier(earliest, self.data.next_timeout())
        return earliest

    def poll_datagram(self) -> Datagram | None:
        """The next datagram to send."""
        return self._datagrams.pop(0) if self._datagrams else None

    def poll_event(self) -> Event | None:
        """The next event."""
        return self._events.pop(0) if self._events else None

    def flows(self) -> Iterator[tuple[bytes, int]]:
        """The flows that workers should hold now, with their address states: for publishing all again."""
        if self.state in (State.CHECKED, State.CONNECTED):
            for address in self.agent.addresses:
                yield address.key, self.agent.addresses.state(address.key)

    # ------------------------------------------------------------------ between

    def _drain(self, source: bytes, now: int) -> None:
        """Take what the engines left, until none has anything: one's event may be another's input."""
        while (event := self.agent.poll_event()) is not None:
            self._on_ice(event, now)
        while (dtls_event := self.dtls.poll_event()) is not None:
            self._on_dtls(dtls_event, source, now)
        while (datagram := self.agent.poll_datagram()) is not None:
            self._datagrams.append(datagram)
        if self.data is not None and self.state is State.CONNECTED:
            self.data.work(self.dtls.send, now)
            self._keep(self.data.keep(self.blob.room(self.dtls.final_message)))
        while (data := self.dtls.poll_datagram()) is not None:
            self._send_dtls(data, now)

    def _on_ice(self, event: object, now: int) -> None:
        match event:
            case AddressChecked(key):
                self._on_checked(key, now)
            case AddressNominated(key):
                self.phases.reach("nominated", now)
                self.nominated_key = key
            case AddressDropped(key):
                self._events.append(FlowWithdrawn(key))
            case ConsentExpired() if self.state is not State.CLOSING:  # a late turn may end the call first
                self._move(State.SILENT)
                self._events.extend(FlowWithdrawn(address.key) for address in self.agent.addresses)
            case ConsentRegained():
                self._move(State.CONNECTED if self.store.connected_ns else State.CHECKED)
                self._events.extend(FlowPublished(key, state) for key, state in self.flows())
            case NeverChecked():
                pass  # Closed follows
            case Closed(reason):
                self._end(reason, now)

    def _on_checked(self, key: bytes, now: int) -> None:
        if self.state is State.NEW:
            self._move(State.CHECKED)
            self.phases.reach("check_accepted", now)
            self.store.checked_since_ns = now
            self.dtls.start(now)
            self.phases.reach("dtls_started", now)
        self._publish(key)

    def _on_dtls(self, event: object, source: bytes, now: int) -> None:
        match event:
            case HandshakeCompleted():
                # Not a proof of `source`: the piece that completed it may have come in the clear.
                self._on_handshake(event, now)
                if not event.srtp_profile and self.data is None:
                    self._drain(source, now)  # first what proves the address that is told
                    self._end("no common srtp profile", now)
            case RecordAuthenticated():
                self._prove_by_dtls(source, now)
            case ApplicationDataReceived(data):
                if self.data is None:
                    self.drops[NO_CHANNELS] += 1
                else:
                    self.data.receive(data, now)
            case Closed(reason):
                self._end(reason, now)

    def _on_handshake(self, done: HandshakeCompleted, now: int) -> None:
        self.agent.handshake_completed()
        self.store.connected_ns = now
        if self.state is not State.SILENT:  # without consent it stays so; a check brings it back
            self._move(State.CONNECTED)
        self.phases.reach("dtls_done", now)
        self.version = f"{done.version} {done.cipher}"
        if self.data is not None:
            self.data.start(now)
        elif self.dtls.final_message:
            self._keep(b"")  # before it leaves: a rebuilt server can repeat it
        if not done.srtp_profile:
            return  # RFC 5764 4.1: no profile in common, no media; data channels would still work
        keys = self.store.srtp
        keys.local_key, keys.local_salt = done.local_key, done.local_salt
        keys.remote_key, keys.remote_salt = done.remote_key, done.remote_salt
        keys.profile = done.srtp_profile
        self._events.append(MediaReady(done.srtp_profile))

    def _keep(self, channels: bytes | None) -> None:
        """Write ahead: nothing that follows from what is kept has left yet."""
        if channels is not None:
            self.blob.write(self.dtls.final_message, channels)

    def release(self) -> None:
        """The call is over, however it ended: shared bounds count it no more."""
        if self.data is not None:
            self.data.close()

    def _prove_by_dtls(self, key: bytes, now: int) -> None:
        if key and self.state is not State.CLOSING:
            news = self.agent.addresses.mark_proven(key, "dtls", now)
            if news or self._contended:
                self._publish(key, fresh=True)

    def _publish(self, key: bytes, *, fresh: bool = False) -> None:
        if self.state in (State.CHECKED, State.CONNECTED):
            self._events.append(FlowPublished(key, self.agent.addresses.state(key), fresh))

    def _send_dtls(self, data: bytes, now: int) -> None:
        """To the one address the rules name, and no more than it has earned; what is dropped is sent again by time."""
        target = self.agent.send_target(now)
        if not target:
            self.drops[NO_TARGET] += 1
        elif not self.agent.may_send(target, len(data)):
            self.drops[AMPLIFICATION] += 1
        else:
            self.agent.account_sent(target, len(data))
            self._datagrams.append(Datagram(data, target))

    def _dtls_deadline(self) -> int | None:
        """Checked, but no association (DESIGN 5): covers the server role, where the peer must speak first."""
        if self.state is not State.CHECKED:
            return None
        return self.store.checked_since_ns + self._dtls_timeout

    def _end(self, reason: str, now: int) -> None:
        """Once: close_notify while the address still counts, then the news. The owner withdraws the flows when the last
        packet of the call, media's BYE, is on its way."""
        if self.state is State.CLOSING:
            return
        self.close_reason = reason
        self.phases.reach("closed", now)
        self.store.closing_ns = now
        self.dtls.close(now)
        while (data := self.dtls.poll_datagram()) is not None:
            self._send_dtls(data, now)
        self._move(State.CLOSING)
        self.agent.close(reason)
        self._events.append(Closed(reason))

    def _move(self, state: State) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state
        self.store.state = state


__all__ = [
    "DROP_REASONS",
    "PROVEN",
    "Event",
    "FlowPublished",
    "FlowWithdrawn",
    "MediaReady",
    "Session",
    "SessionStore",
    "State",
]
