"""One call from the client's side: ICE, DTLS and the keys, composed like the server's session, sans-I/O (DESIGN 2.12).

Owned by the fleet, which gives it STUN and DTLS datagrams and time, and drains it. Audio is not here: once `secured`
holds the keys, the packet path sends and judges it.

    CHECKING --pair succeeded--> HANDSHAKING --DTLS done--> ESTABLISHED --close_notify, consent lost--> ENDED
        any of them --time-out, failure--> ENDED
"""

from enum import Enum

from shm.flowkey import FlowKey
from transceiverd.dtls.context import DtlsContext
from transceiverd.dtls.engine import Closed, DtlsEngine, HandshakeCompleted
from transceiverd.dtls.state import MemoryState
from transceiverd.engine import Drops, Timeout
from transceiverd.ice.controlling import ControllingAgent, ControllingConfig
from transceiverd.ice.events import PairNominated, PairValidated
from transceiverd.load.offer import Answer, Credentials


class State(Enum):
    """Where the call is."""

    CHECKING = "checking"
    HANDSHAKING = "handshaking"
    ESTABLISHED = "established"
    ENDED = "ended"


class Caller:
    """A call that was answered. `drops` may be shared by all."""

    __slots__ = (
        "_agent", "_datagrams", "_dtls", "_path", "checked_at", "nominated_at", "payload_type", "reason",
        "secured", "secured_at", "ssrc", "state",
    )  # fmt: skip

    def __init__(
        self,
        credentials: Credentials,
        answer: Answer,
        path: FlowKey,
        context: DtlsContext,
        ice: ControllingConfig,
        drops: Drops,
        now: int,
    ) -> None:
        self.state = State.CHECKING
        self.reason = ""
        """Why it ended."""
        self.secured: HandshakeCompleted | None = None
        """The keys, for whoever takes them away."""
        self.checked_at = self.nominated_at = self.secured_at = 0
        self.ssrc = credentials.ssrc
        self.payload_type = answer.payload_type
        self._path = path.pack()
        self._agent = ControllingAgent(
            credentials.ufrag, credentials.password, answer.ufrag, answer.password, ice, now=now, drops=drops
        )
        self._agent.add_pair(self._path, answer.priority)
        self._dtls = DtlsEngine(context, answer.role, answer.fingerprints, MemoryState(), drops=drops)
        self._dtls.start(now)
        self._datagrams: list[bytes] = []
        self.handle_timeout(now)

    def receive_datagram(self, data: bytes, now: int) -> None:
        """STUN or DTLS."""
        if data[0] < 4:
            self._agent.receive_datagram(data, self._path, now)
            self._agent.handle_timeout(now)  # what a success allows is due at once
        elif 20 <= data[0] < 64:
            self._dtls.receive_datagram(data, now)
        self._drain(now)

    def handle_timeout(self, now: int) -> None:
        """Do what is due."""
        self._agent.handle_timeout(now)
        self._dtls.handle_timeout(now)
        self._drain(now)

    def next_timeout(self) -> Timeout | None:
        """The earlier of both engines' deadlines."""
        ice, dtls = self._agent.next_timeout(), self._dtls.next_timeout()
        if ice is None or dtls is None:
            return ice or dtls
        return min(ice, dtls)

    def poll_datagram(self) -> bytes | None:
        """The next datagram for the server."""
        return self._datagrams.pop(0) if self._datagrams else None

    def close(self, now: int) -> None:
        """Say close_notify."""
        self._dtls.close(now)
        self._end("hung up")
        self._drain(now)

    def _drain(self, now: int) -> None:
        while (event := self._agent.poll_event()) is not None:
            match event:
                case PairValidated():
                    self._checked(now)
                case PairNominated():
                    self.nominated_at = now
                case Closed(reason):
                    self._end(reason)
        while (dtls_event := self._dtls.poll_event()) is not None:
            match dtls_event:
                case HandshakeCompleted():
                    self._completed(dtls_event, now)
                case Closed(reason):
                    self._end(reason)
        while (datagram := self._agent.poll_datagram()) is not None:
            self._datagrams.append(datagram.data)
        while (data := self._dtls.poll_datagram()) is not None:
            self._datagrams.append(data)

    def _checked(self, now: int) -> None:
        if self.state is State.CHECKING:
            self.state = State.HANDSHAKING
            self.checked_at = now

    def _completed(self, event: HandshakeCompleted, now: int) -> None:
        if self.state is State.ENDED:
            return
        if not event.srtp_profile:
            self._end("no SRTP profile in common")
            return
        self.state = State.ESTABLISHED
        self.checked_at = self.checked_at or now
        self.secured, self.secured_at = event, now

    def _end(self, reason: str) -> None:
        if self.state is not State.ENDED:
            self.state = State.ENDED
            self.reason = reason
            self._agent.close(reason)
