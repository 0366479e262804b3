"""A whole transceiver without process, socket, loop or clock, and a client for it: a call in simulated time.

`Bottle` is the product's call table, control lanes, media port and media engine over real rings; the test plays the
relay worker at their other end. `Client` is the other side: a controlling ICE agent, DTLS in the opposite role, SRTP by
pylibsrtp. Both have the engines' shape, so `tests/link.py` joins them with loss, reordering and duplicates.
"""

import random
from collections import deque
from collections.abc import Iterator

from pylibsrtp import Policy, Session

from relayd.ufrag import UfragKeys
from shm.counters import Counters
from shm.flowkey import key_client, key_local
from shm.lane import CONTROL_OUT, HANDSHAKE_IN, MEDIA_IN, MEDIA_OUT, Lane
from shm.ring import RingConsumer, RingProducer
from shm.session import SessionSegment
from tests.peers import CLIENT, HOST_PRIORITY, SERVER, flow, seeded_bytes
from transceiverd.calls import Call, CallTable, Created
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.context import DtlsContext
from transceiverd.dtls.engine import DtlsEngine, HandshakeCompleted, Role
from transceiverd.dtls.state import MemoryState
from transceiverd.engine import MILLISECOND, SECOND, Closed, Datagram, Timeout
from transceiverd.ice.config import IceConfig
from transceiverd.ice.controlling import ControllingAgent, ControllingConfig
from transceiverd.lanes import DTLS, STUN, ControlLanes, Owner
from transceiverd.media.channel import Channel
from transceiverd.media.engine import MediaEngine
from transceiverd.media.outcomes import COUNTER_NAMES
from transceiverd.media.port import MediaPort, Removed, SrtpProven, ntp_offset_ns
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sdp.negotiation import AnswerSection, AudioNegotiation, DataNegotiation, Negotiation, Payload
from transceiverd.sdp.offer import Fingerprint

CONTEXT = DtlsContext()
CLIENT_CONTEXT = DtlsContext()
INCARNATION = 0x0123456789ABCDEF
RTP, RTCP = 3, 4
WITHDRAW, PUBLISH = 17, 16
OPUS = 111
TICK = 20 * MILLISECOND
PROFILES = {
    0x0001: Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    0x0007: Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    0x0008: Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
CLIENT_UFRAG, CLIENT_PASSWORD = "cl1e", "clientpassword0123456789"


def fingerprints(context: DtlsContext) -> tuple[Fingerprint, ...]:
    """A context's, as the SDP has them."""
    return (Fingerprint.of_digest(*context.fingerprint()),)


def negotiation(
    setup: str = "active", context: DtlsContext = CLIENT_CONTEXT, data: DataNegotiation | None = None
) -> Negotiation:
    """What an ordinary offer comes to."""
    return Negotiation(
        sections=(AnswerSection("audio", "UDP/TLS/RTP/SAVPF", "111", "opus/48000/2", "0", True),),
        transport_section=0,
        bundle=("0",),
        remote_ufrag=CLIENT_UFRAG,
        remote_password=CLIENT_PASSWORD,
        remote_fingerprints=fingerprints(context),
        setup=setup,  # type: ignore[arg-type]
        ice_options=(),
        candidates_offered=0,
        audio=AudioNegotiation(0, "sendrecv", (Payload(OPUS, "opus", 48000, 2),), True),
        data=data,
    )


class Bottle:
    """The server end. Every datagram that it would send leaves by `poll_datagram`."""

    def __init__(
        self,
        *,
        slots: int = 4,
        now: int = SECOND,
        data_channel: DataChannelConfig | None = None,
        dtls: DtlsConfig | None = None,
    ) -> None:
        self.now = now
        self.sessions = SessionSegment.create(slots, 0, incarnation=INCARNATION)
        self.lane = Lane.create(
            0, 0, handshake_in=1 << 18, media_in=1 << 18, control_out=1 << 18, media_out=1 << 18,
            incarnation=INCARNATION,
        )  # fmt: skip
        self.handshakes = RingProducer(self.lane.segment, HANDSHAKE_IN)
        self.media_in = RingProducer(self.lane.segment, MEDIA_IN)
        self.control_out = RingConsumer(self.lane.segment, CONTROL_OUT)
        self.media_out = RingConsumer(self.lane.segment, MEDIA_OUT)
        self.counters = Counters.create(COUNTER_NAMES, 0, INCARNATION)
        channel = Channel()
        self.engine = MediaEngine(
            self.sessions.segment, (self.lane,), self.counters, channel, incarnation=INCARNATION,
            ntp_offset_ns=ntp_offset_ns(1_800_000_000 * SECOND, now), seed=7,
        )  # fmt: skip
        self.port = MediaPort(self.sessions, channel, self.engine)
        self.lanes = ControlLanes(self._flows_of)
        self.lanes.use(self.lane, 0)
        keys = UfragKeys.generate()
        self.ended: list[dict[str, object]] = []
        self.calls = CallTable(
            self.sessions, self.lanes, self.port, CONTEXT, lambda: keys, 0, 0, IceConfig(), dtls or DtlsConfig(),
            data_channel or DataChannelConfig(), on_ended=self.ended.append,
        )  # fmt: skip
        self.flows: dict[bytes, int] = {}
        self.sent: list[bytes] = []
        self._out: deque[Datagram] = deque()
        self._tick = now + TICK

    def _flows_of(self, slot: int) -> Iterator[tuple[Owner, bytes, int]]:
        return self.calls.flows_of(slot)

    def create(self, setup: str = "active", data: DataNegotiation | None = None) -> tuple[Created, Call]:
        """A call."""
        created = self.calls.create(negotiation(setup, data=data), self.now)
        call = self.calls.find(created.call_id)
        assert call is not None
        return created, call

    # ------------------------------------------------------------------ the engine's shape

    def receive(self, data: bytes, source: bytes | None, now: int, call: Call | None = None) -> None:
        """What a worker does: kind by first byte; the flow or the ufrag names the call (here: the only one)."""
        assert source is not None
        self.now = max(now, self.now)
        call = call or next(iter(self.calls), None)
        if call is None:
            return
        owner = call.owner
        first, second = data[0], data[1]
        names = {"slot": owner.slot, "generation": owner.generation, "incarnation": owner.incarnation}
        if first < 4 or 20 <= first < 64:
            if first < 4 or source in self.flows:
                self.handshakes.write(STUN if first < 4 else DTLS, source, data, receive_time_ns=now, **names)
                self.handshakes.publish()
        elif 128 <= first < 192 and source in self.flows:
            kind = RTCP if 192 <= second <= 223 else RTP
            self.media_in.write(kind, source, data, receive_time_ns=now, **names)
            self.media_in.publish()
        self.turn()

    def handle_timeout(self, now: int) -> None:
        """Deadlines of sessions, and the media thread's tick."""
        self.now = max(now, self.now)
        self._tick = self.now + TICK
        self.calls.expire(self.now)
        self.turn()

    def next_timeout(self) -> Timeout | None:
        """The media thread looks every 20 ms at the latest."""
        deadline = self.calls.deadlines.next()
        return Timeout(self._tick if deadline is None else min(deadline, self._tick), "turn")

    def poll_datagram(self) -> Datagram | None:
        """The next packet for the wire."""
        return self._out.popleft() if self._out else None

    def turn(self) -> None:
        """One turn of both threads, and of the worker behind the return rings."""
        for record in self.lanes.read(1000, self.now):
            self.calls.receive(record, self.now)
        self.engine.turn(self.now)
        for event in self.port.poll_events():
            match event:
                case SrtpProven(slot, generation, key):
                    self.calls.srtp_proven(slot, generation, key, self.now)
                case Removed(slot, generation, bye, key):
                    self.calls.media_removed(slot, generation, bye, key)
        self.lanes.flush()
        self.engine.turn(self.now)
        self._send()

    def _send(self) -> None:
        for record in self.control_out.read(10_000):
            if record.type == WITHDRAW:
                self.flows.pop(record.key, None)
            elif record.address_state:
                self.flows[record.key] = record.address_state
            if record.payload and record.key in self.flows:
                self._out.append(Datagram(record.payload, record.key))
        self.control_out.release()
        for record in self.media_out.read(10_000):
            self.sent.append(record.payload)
            self._out.append(Datagram(record.payload, record.key))
        self.media_out.release()


class Client:
    """The calling end: `dtls_role` is the opposite of the server's."""

    def __init__(
        self,
        created: Created,
        dtls_role: Role,
        *,
        seed: int = 1,
        now: int = SECOND,
        path: bytes | None = None,
        server: tuple[Fingerprint, ...] = (),
        ice: ControllingConfig | None = None,
        dtls: DtlsConfig | None = None,
    ) -> None:
        self.agent = ControllingAgent(
            CLIENT_UFRAG, CLIENT_PASSWORD, created.ufrag, created.password, ice or ControllingConfig(), now=now,
            random_bytes=seeded_bytes(seed),
        )  # fmt: skip
        self.path = path or flow(SERVER, CLIENT)
        self.agent.add_pair(self.path, HOST_PRIORITY)
        self.dtls = DtlsEngine(
            CLIENT_CONTEXT, dtls_role, server or fingerprints(CONTEXT), MemoryState(), config=dtls or DtlsConfig()
        )
        self.dtls.start(now)
        self.now = now
        self.done: HandshakeCompleted | None = None
        self.closed = ""
        self.heard: list[bytes] = []
        self.reports: list[bytes] = []
        self.wrong = 0
        self.ssrc = random.Random(seed).randrange(1, 1 << 32)
        self.sequence = 65_500
        self.timestamp = 0
        self.talking = False
        self._talk_at = 0

    def receive(self, data: bytes, source: bytes | None, now: int) -> None:
        """By first byte (RFC 7983)."""
        assert source is not None
        self.now = now
        if data[0] < 4:
            self.agent.receive_datagram(data, source, now)
        elif data[0] < 64:
            self.dtls.receive_datagram(data, now)
            self._dtls_events()
        elif self.done is not None:
            self._hear(data)

    def _dtls_events(self) -> None:
        while (event := self.dtls.poll_event()) is not None:
            if isinstance(event, HandshakeCompleted):
                self.done = event
                number = PROFILES[event.srtp_profile]
                self.sender = Session(
                    Policy(event.local_key + event.local_salt, Policy.SSRC_ANY_OUTBOUND, srtp_profile=number)
                )
                self.receiver = Session(
                    Policy(event.remote_key + event.remote_salt, Policy.SSRC_ANY_INBOUND, srtp_profile=number)
                )
            elif isinstance(event, Closed):
                self.closed = event.reason
            self.on_dtls(event)

    def on_dtls(self, event: object) -> None:
        """For a client that does more than talk."""

    def _hear(self, data: bytes) -> None:
        try:
            if 192 <= data[1] <= 223:
                self.reports.append(self.receiver.unprotect_rtcp(data))
            else:
                self.heard.append(self.receiver.unprotect(data))
        except Exception:  # noqa: BLE001 - pylibsrtp's own error; a duplicate by the link is one
            self.wrong += 1

    def talk(self) -> bytes:
        """The next packet of ours, protected."""
        header = bytes((0x80, OPUS)) + self.sequence.to_bytes(2, "big") + self.timestamp.to_bytes(4, "big")
        packet = header + self.ssrc.to_bytes(4, "big") + b"voice %d" % self.sequence
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + 960) & 0xFFFFFFFF
        protected: bytes = self.sender.protect(packet)
        return protected

    def handle_timeout(self, now: int) -> None:
        """All parts."""
        self.now = now
        self.agent.handle_timeout(now)
        self.dtls.handle_timeout(now)
        self._dtls_events()

    def next_timeout(self) -> Timeout | None:
        """The earliest."""
        times: list[Timeout | None] = [self.agent.next_timeout(), self.dtls.next_timeout()]
        if self.talking and self.done is not None:
            times.append(Timeout(max(self._talk_at, self.now), "talk"))
        return min((each for each in times if each is not None), default=None)

    def poll_datagram(self) -> Datagram | None:
        """ICE first, then DTLS, then audio when its time has come."""
        while self.agent.poll_event() is not None:
            pass
        datagram = self.agent.poll_datagram()
        if datagram is not None:
            return datagram
        data = self.dtls.poll_datagram()
        if data is None and self.talking and self.done is not None and self.now >= self._talk_at:
            self._talk_at = self.now + TICK
            data = self.talk()
        return None if data is None else Datagram(data, self.path)


def describe(key: bytes) -> str:
    """For assertion messages."""
    return f"{key_client(key)} at {key_local(key)}"
