# cython: language_level=3, annotation_typing=False
"""One SCTP association with its data channels, sans-I/O: the way into this folder (README.md).

Called by the call's session with what DTLS delivers, and drained after every call: `poll_datagram()` and `poll_event()`
until None, then one timer from `next_timeout()`. Composes the handshake, transmission, reception, stream reset and
channels; owns the tags, the state and the timers. Implements RFC 9260 as RFC 8831 and 8261 use it. Left out: several
addresses for one peer (ICE chooses paths), path MTU discovery, authentication (DTLS has it), dynamic streams.

A packet is made when it is polled, so the owner decides how many a turn sends: it may stop after any of them and poll
on later. Peer input never raises: a counted drop, or an ABORT and `Closed`.
"""

from shm.errors import MalformedPacket
from transceiverd.engine import MILLISECOND, Closed, Drops, Timeout
from transceiverd.sctp import channels, dispatch, handshake, heartbeat, packing, saved, teardown
from transceiverd.sctp.channels import Channel, ChannelState
from transceiverd.sctp.chunks import Init
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.congestion import CongestionWindow
from transceiverd.sctp.cookie import KEY_SIZE
from transceiverd.sctp.dcep import Open
from transceiverd.sctp.errors import USER_ABORT, ProtocolViolation, Refused
from transceiverd.sctp.events import (
    AssociationEstablished,
    BufferedAmountLow,
    ChannelClosed,
    Event,
    MessageReceived,
)
from transceiverd.sctp.initiation import NO_FEATURES, STREAMS, RandomBytes, features_of, new_init
from transceiverd.sctp.outbound import PRIORITY_NORMAL
from transceiverd.sctp.packet import parse_init, parse_packet, serialize_packet
from transceiverd.sctp.reception import Reception
from transceiverd.sctp.reset import StreamReset
from transceiverd.sctp.rto import RetransmissionTimeout
from transceiverd.sctp.states import CARRIES_DATA_IN, CARRIES_DATA_OUT, TRANSITIONS, State
from transceiverd.sctp.transmission import Transmission

PACKETS_MAX = 16  # ready-made packets or control chunks that may wait; a peer that asks faster is not answered more


class Association:
    """Both ends of one association, from before the handshake to after the end."""

    __slots__ = (
        "carries_in", "carries_out", "channels", "config", "control", "cookie_due", "cookie_echo", "cookie_key",
        "done", "drops", "events", "features", "has_local_init", "heartbeat_at", "heartbeat_nonce",
        "heartbeat_sent_at", "local_init", "local_port", "local_tag", "now", "packets", "parity", "peer_streams",
        "peer_tag", "random_bytes", "reception", "refusals", "remote_init", "remote_max_message_size",
        "remote_port", "reset", "room_at", "rto", "state", "t1", "t1_count", "t2", "t2_count", "transmission",
        "zero_checksum",
    )  # fmt: skip

    def __init__(
        self,
        config: DataChannelConfig,
        *,
        local_port: int,
        remote_port: int,
        dtls_role: str,
        remote_max_message_size: int,
        now: int,
        random_bytes: RandomBytes,
        drops: Drops,
        local_init: bytes | None = None,
        remote_init: bytes | None = None,
    ) -> None:
        """`remote_max_message_size` 0: any size. `local_init`, `remote_init`: whole INIT chunks that the SDP carried
        (SNAP); MalformedPacket if one is not."""
        self.config = config
        self.room_at = config.send_buffer_bytes // 2  # whoever was refused may try again when half of it is free
        self.local_port = local_port
        self.remote_port = remote_port
        self.parity = 0 if dtls_role == "client" else 1
        self.remote_max_message_size = remote_max_message_size
        self.random_bytes = random_bytes
        self.drops = drops
        self.has_local_init = local_init is not None
        self.local_init: Init = new_init(config, random_bytes) if local_init is None else parse_init(local_init)
        self.local_tag = self.local_init.tag  # what the peer must put into its packets
        self.remote_init: Init | None = None if remote_init is None else parse_init(remote_init)
        self.cookie_key = random_bytes(KEY_SIZE)
        self.enter(State.CLOSED)
        self.events: list[Event] = []
        self.packets: list[bytes] = []  # whole, ready to leave
        self.control: list[bytes] = []  # chunks for the next packets
        self.now = now
        self.t1 = self.t2 = 0  # deadlines, 0: not running
        self.t1_count = self.t2_count = 0
        self.heartbeat_at = self.heartbeat_sent_at = 0
        self.heartbeat_nonce = b""
        self._clear()

    def _clear(self) -> None:
        """What a new association starts with."""
        config = self.config
        self.peer_tag = 0
        self.peer_streams = STREAMS
        self.features = NO_FEATURES
        self.zero_checksum = False  # the peer takes packets without
        self.cookie_echo = b""
        self.cookie_due = False
        self.channels: dict[int, Channel] = {}
        self.refusals = False  # some channel was refused a send
        self.reception: Reception | None = None
        self.reset: StreamReset | None = None
        self.rto = RetransmissionTimeout(
            config.rto_initial_ms * MILLISECOND, config.rto_min_ms * MILLISECOND, config.rto_max_ms * MILLISECOND
        )
        window = CongestionWindow(config.mtu, config.initial_window_packets)
        self.transmission = Transmission(
            self.local_init.initial_tsn, config.mtu, self.rto, window, config.burst_packets, config.retransmits_max
        )

    # ------------------------------------------------------------------ in

    def start(self, now: int) -> None:
        """DTLS is up."""
        self._advance_clock(now)
        handshake.begin(self, self.now)

    def receive_datagram(self, data: bytes, now: int) -> None:
        """One SCTP packet."""
        self._advance_clock(now)
        try:
            packet = parse_packet(data, self.config.zero_checksum)
            if self.done:
                teardown.answer_stray(self, packet)
            else:
                dispatch.take(self, packet, self.now)
        except MalformedPacket as error:
            self.drops.malformed(error)
        except Refused as refusal:
            self.drops[refusal.reason] += 1
        except ProtocolViolation as violation:
            self._violated(violation)
        self._tell_low()

    def handle_timeout(self, now: int) -> None:
        """Do all that is due."""
        self._advance_clock(now)
        now = self.now
        if self.t1 and now >= self.t1:
            handshake.on_timeout(self, now)
        if self.t2 and now >= self.t2:
            teardown.on_timeout(self, now)
        if self.reception is not None:
            self.reception.on_timeout(now)
        dispatch.on_timeout(self, now)
        if self.heartbeat_at and now >= self.heartbeat_at:
            heartbeat.on_timeout(self, now)

    def open_channel(
        self,
        label: str = "",
        protocol: str = "",
        *,
        ordered: bool = True,
        max_retransmits: int | None = None,
        max_lifetime_ms: int | None = None,
        priority: int = PRIORITY_NORMAL,
        negotiated: bool = False,
        stream_id: int | None = None,
    ) -> int:
        """A new channel; its stream id. Messages may be sent at once. ValueError: no such id to be had."""
        opening = Open(label, protocol, ordered, max_retransmits, max_lifetime_ms, priority)
        return channels.open_channel(self, opening, stream_id, negotiated)

    def send(self, stream_id: int, data: bytes, is_text: bool, now: int) -> bool:
        """Queue one message. False: no such open channel, or the send buffer is full (BufferedAmountLow will come).

        ValueError if the message is longer than the peer's SDP allows.
        """
        self._advance_clock(now)
        return channels.send(self, stream_id, data, is_text, self.now)

    def is_open(self, stream_id: int) -> bool:
        """Whether `send` on the channel may be tried, now or when there is room: it exists and is not closing."""
        channel = self.channels.get(stream_id)
        return channel is not None and channel.state is not ChannelState.CLOSING and self.state <= State.ESTABLISHED

    def buffered_amount(self, stream_id: int) -> int:
        """Bytes of a channel that were not sent even once; 0 for one that does not exist."""
        stream = self.transmission.queue.streams.get(stream_id)
        return 0 if stream is None else stream.waiting

    def set_buffered_amount_low(self, stream_id: int, threshold: int) -> None:
        """Raise BufferedAmountLow when the channel's waiting bytes fall to `threshold`."""
        self.transmission.queue.streams[stream_id].low_threshold = threshold

    def close_channel(self, stream_id: int, now: int) -> None:
        """Send what is queued, then reset our direction; ChannelClosed follows when the peer has reset its own."""
        self._advance_clock(now)
        channel = self.channels.get(stream_id)
        if channel is not None:
            channels.close(self, channel)
            dispatch.request_resets(self, self.now)

    def shutdown(self, now: int) -> None:
        """End gracefully: everything queued is delivered first."""
        self._advance_clock(now)
        teardown.begin(self, self.now)

    def abort(self, now: int, reason: str = "aborted") -> None:
        """End at once; the ABORT is left to poll."""
        self._advance_clock(now)
        if self.state is not State.DONE:
            self.send_abort(USER_ABORT, reason.encode())
            self.finish(reason)

    # ------------------------------------------------------------------ out

    def next_timeout(self) -> Timeout | None:
        """The earliest deadline."""
        return None if self.done else dispatch.next_timeout(self)

    def poll_datagram(self) -> bytes | None:
        """The next packet to send, made now."""
        if self.packets:
            return self.packets.pop(0)
        if self.done or self.reset is None:
            return None
        if self.reset.waiting and self.reset.request is None:
            dispatch.request_resets(self, self.now)
        packet = packing.make_packet(self)
        self._tell_low()
        return packet

    def poll_event(self) -> Event | None:
        """The next event. A message that is not fetched keeps the peer's window smaller."""
        if not self.events:
            return None
        event = self.events.pop(0)
        if isinstance(event, MessageReceived) and self.reception is not None:
            self.reception.fetched(len(event.data))
        return event

    def held(self) -> int:
        """What messages cost that are not complete, not fetched or not acknowledged."""
        inbound = 0 if self.reception is None else self.reception.reassembly.held + self.reception.unfetched
        return self.transmission.buffered + inbound

    def allow(self, size: int) -> None:
        """From now on `held()` may grow to `size` by what the peer sends; less than is held closes the window."""
        if self.reception is not None:
            self.reception.allowance = size - self.transmission.buffered

    # ------------------------------------------------------------------ kept outside

    def save(self) -> bytes:
        """The whole state, events not fetched included. To be kept before what was polled since is sent."""
        return saved.save(self)

    def save_cost(self) -> int:
        """At most as many bytes `save` would give now: an owner with little room need not make them to find out."""
        return saved.cost(self)

    @classmethod
    def restore(
        cls, data: bytes, config: DataChannelConfig, *, now: int, random_bytes: RandomBytes, drops: Drops
    ) -> "Association":
        """An association that goes on where `save` was called. ValueError if `data` is not of this release's making."""
        state = saved.load(data)
        association = cls(
            config,
            local_port=state.local_port,
            remote_port=state.remote_port,
            dtls_role="server" if state.parity else "client",
            remote_max_message_size=state.remote_max_message_size,
            now=now,
            random_bytes=random_bytes,
            drops=drops,
            local_init=state.local_init,
            remote_init=state.remote_init,
        )
        association.has_local_init = state.has_local_init
        saved.apply(state, association, now)
        return association

    def rearm(self, now: int) -> None:
        """Start the timers that this state needs."""
        deadline = now + self.rto.value
        self.t1 = deadline if self.state in (State.COOKIE_WAIT, State.COOKIE_ECHOED) else 0
        self.t2 = deadline if self.state in (State.SHUTDOWN_SENT, State.SHUTDOWN_ACK_SENT) else 0
        if self.state is State.ESTABLISHED:
            heartbeat.arm(self, now)

    # ------------------------------------------------------------------ between: for the modules of this folder

    def reception_now(self) -> Reception:
        """The receiving half, which is there from COOKIE_ECHOED on."""
        assert self.reception is not None
        return self.reception

    def move(self, state: State) -> None:
        """The one place that changes the state."""
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.enter(state)

    def enter(self, state: State) -> None:
        """Set the state and what follows from it."""
        self.state = state
        self.done = state is State.DONE
        self.carries_in = state in CARRIES_DATA_IN
        self.carries_out = state in CARRIES_DATA_OUT

    def prepare(self, peer_tsn: int, peer_window: int) -> None:
        """The peer's INIT or INIT ACK is known: both halves can be made."""
        config = self.config
        interleaved = features_of(self.local_init).interleaving and self.features.interleaving
        self.reception = Reception(
            peer_tsn,
            config.receive_buffer_bytes,
            config.max_message_bytes,
            config.channels_max,
            config.sack_delay_ms * MILLISECOND,
            interleaved,
            config.interleaved_buffer_bytes,
        )
        self.reset = StreamReset(self.local_init.initial_tsn, peer_tsn)
        self.zero_checksum = self.features.zero_checksum
        self.transmission.agree(peer_window, interleaved, self.features.partial)

    def establish(self, now: int) -> None:
        """The handshake is done."""
        self.move(State.ESTABLISHED)
        self.t1 = self.t1_count = 0
        self.cookie_due = False
        self.cookie_echo = b""
        self.events.append(AssociationEstablished())
        heartbeat.arm(self, now)
        for channel in list(self.channels.values()):
            channels.on_established(self, channel)

    def renew(self, local_tag: int, local_tsn: int) -> None:
        """Everything of this association is void; another begins (RFC 9260 5.2.4.1)."""
        self.events.extend(ChannelClosed(stream_id) for stream_id in self.channels)
        self.local_init = self.local_init._replace(tag=local_tag, initial_tsn=local_tsn)
        self.local_tag = local_tag
        self.control.clear()
        self._clear()

    def send_packet(self, tag: int, chunk: bytes) -> None:
        """A packet of its own, with a checksum whatever was agreed."""
        if len(self.packets) < PACKETS_MAX:
            self.packets.append(serialize_packet(self.local_port, self.remote_port, tag, [chunk]))

    def send_control(self, chunk: bytes) -> None:
        """A chunk for the next packet; answers beyond a bound are not given."""
        if len(self.control) < PACKETS_MAX:
            self.control.append(chunk)
        else:
            self.drops["answers-many"] += 1

    def send_abort(self, cause: int, text: bytes) -> None:
        """ABORT, if the peer's tag is known."""
        self.packets.clear()
        if self.peer_tag:
            self.send_packet(self.peer_tag, teardown.abort_chunk(cause, text))

    def give_up(self, reason: str) -> None:
        """The peer is gone: a last ABORT, should it still hear us (RFC 9260 8.1)."""
        self.send_abort(USER_ABORT, reason.encode())
        self.finish(reason)

    def finish(self, reason: str) -> None:
        """Over, for good; packets already made may still be polled."""
        if self.state is not State.DONE:
            self.move(State.DONE)
            self.control.clear()
            self.events.append(Closed(reason))

    def _violated(self, violation: ProtocolViolation) -> None:
        self.drops[violation.reason] += 1
        self.send_abort(violation.cause, violation.reason.encode())
        self.finish("protocol violation")

    def _tell_low(self) -> None:
        """Raise BufferedAmountLow where it is owed."""
        low = self.transmission.queue.low
        if low:
            self.transmission.queue.low = []
            for stream_id in dict.fromkeys(low):
                self.events.append(BufferedAmountLow(stream_id))
        if self.refusals and self.transmission.buffered <= self.room_at:
            channels.tell_room(self)

    def _advance_clock(self, now: int) -> None:
        """Time that goes back is ignored."""
        self.now = max(now, self.now)
