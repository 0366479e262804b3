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
from transceiverd.sctp import channels, dispatch, handshake, heartbeat, teardown
from transceiverd.sctp.channels import Channel, ChannelState
from transceiverd.sctp.chunks import COOKIE_ECHO, Init
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.congestion import CongestionWindow
from transceiverd.sctp.cookie import KEY_SIZE
from transceiverd.sctp.dcep import (
    PPID_BINARY,
    PPID_BINARY_EMPTY,
    PPID_TEXT,
    PPID_TEXT_EMPTY,
    Open,
)
from transceiverd.sctp.errors import USER_ABORT, ProtocolViolation, Refused
from transceiverd.sctp.events import (
    AssociationEstablished,
    BufferedAmountLow,
    ChannelClosed,
    Event,
    MessageReceived,
)
from transceiverd.sctp.initiation import NO_FEATURES, STREAMS, RandomBytes, new_init
from transceiverd.sctp.outbound import MESSAGE_COST, PRIORITY_NORMAL
from transceiverd.sctp.packet import HEADER_SIZE, parse_init, parse_packet, serialize_packet
from transceiverd.sctp.reception import AT_ONCE, NOTHING, Reception
from transceiverd.sctp.reset import StreamReset
from transceiverd.sctp.rto import RetransmissionTimeout
from transceiverd.sctp.states import CARRIES_DATA_OUT, TRANSITIONS, State
from transceiverd.sctp.transmission import Transmission

PACKETS_MAX = 16  # ready-made packets or control chunks that may wait; a peer that asks faster is not answered more


class Association:
    """Both ends of one association, from before the handshake to after the end."""

    __slots__ = (
        "_now",
        "channels",
        "config",
        "control",
        "cookie_due",
        "cookie_echo",
        "cookie_key",
        "drops",
        "events",
        "features",
        "has_local_init",
        "heartbeat_at",
        "heartbeat_nonce",
        "heartbeat_sent_at",
        "local_init",
        "local_port",
        "packets",
        "parity",
        "peer_streams",
        "peer_tag",
        "random_bytes",
        "reception",
        "remote_init",
        "remote_max_message_size",
        "remote_port",
        "reset",
        "rto",
        "state",
        "t1",
        "t1_count",
        "t2",
        "t2_count",
        "transmission",
    )

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
        self.local_port = local_port
        self.remote_port = remote_port
        self.parity = 0 if dtls_role == "client" else 1
        self.remote_max_message_size = remote_max_message_size
        self.random_bytes = random_bytes
        self.drops = drops
        self.has_local_init = local_init is not None
        self.local_init: Init = new_init(config, random_bytes) if local_init is None else parse_init(local_init)
        self.remote_init: Init | None = None if remote_init is None else parse_init(remote_init)
        self.cookie_key = random_bytes(KEY_SIZE)
        self.state = State.CLOSED
        self.events: list[Event] = []
        self.packets: list[bytes] = []  # whole, ready to leave
        self.control: list[bytes] = []  # chunks for the next packets
        self._now = now
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
        self.cookie_echo = b""
        self.cookie_due = False
        self.channels: dict[int, Channel] = {}
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
        handshake.begin(self, self._now)

    def receive_datagram(self, data: bytes, now: int) -> None:
        """One SCTP packet."""
        self._advance_clock(now)
        if self.state is State.DONE:
            self.drops["sctp-closed"] += 1
            return
        try:
            packet = parse_packet(data, self.config.zero_checksum)
            dispatch.take(self, packet, self._now)
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
        now = self._now
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
        stream_id = channels.claim_id(self, stream_id, negotiated)
        state = ChannelState.OPEN if negotiated else ChannelState.OPENING
        channel = Channel(stream_id, opening, negotiated, state)
        channels.add(self, channel)
        if not negotiated:
            channels.queue_control(self, stream_id, opening.serialize())
        elif self.reset is not None:
            self.events.append(channel.opened())
        return stream_id

    def send(self, stream_id: int, data: bytes, is_text: bool, now: int) -> bool:
        """Queue one message. False: no such open channel, or the send buffer is full (BufferedAmountLow will come).

        ValueError if the message is longer than the peer's SDP allows.
        """
        self._advance_clock(now)
        channel = self.channels.get(stream_id)
        if channel is None or channel.state is ChannelState.CLOSING or self.state > State.ESTABLISHED:
            return False
        if len(data) > self.remote_max_message_size > 0:
            raise ValueError(f"message of {len(data)} bytes, the peer takes {self.remote_max_message_size}")
        transmission = self.transmission
        if transmission.buffered and transmission.buffered + len(data) > self.config.send_buffer_bytes:
            channel.refused = True
            return False
        if data:
            ppid = PPID_TEXT if is_text else PPID_BINARY
        else:
            ppid, data = PPID_TEXT_EMPTY if is_text else PPID_BINARY_EMPTY, channels.EMPTY
        channels.queue(self, channel, ppid, data, self._now)
        return True

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
            dispatch.request_resets(self, self._now)

    def shutdown(self, now: int) -> None:
        """End gracefully: everything queued is delivered first."""
        self._advance_clock(now)
        teardown.begin(self, self._now)

    def abort(self, now: int, reason: str = "aborted") -> None:
        """End at once; the ABORT is left to poll."""
        self._advance_clock(now)
        if self.state is not State.DONE:
            self.send_abort(USER_ABORT, reason.encode())
            self.finish(reason)

    # ------------------------------------------------------------------ out

    def next_timeout(self) -> Timeout | None:
        """The earliest deadline."""
        if self.state is State.DONE:
            return None
        timers = [(self.t1, "t1-init"), (self.t2, "t2-shutdown"), (self.heartbeat_at, "heartbeat")]
        timers.append((self.transmission.t3, "t3-rtx"))
        if self.reset is not None:
            timers.append((self.reset.deadline, "stream-reset"))
        if self.reception is not None and self.reception.sack_wanted not in (NOTHING, AT_ONCE):
            timers.append((self.reception.sack_deadline, "sack"))
        running = [Timeout(deadline, reason) for deadline, reason in timers if deadline]
        return min(running, default=None)

    def poll_datagram(self) -> bytes | None:
        """The next packet to send, made now."""
        if self.packets:
            return self.packets.pop(0)
        if self.state is State.DONE or self.reset is None:
            return None
        if self.reset.waiting and self.reset.request is None:
            dispatch.request_resets(self, self._now)
        parts = self._chunks()
        if not parts:
            parts = self._chunks()  # giving up a message may have made a FORWARD-TSN due
        self._tell_low()
        if not parts:
            return None
        plain = not (self.features.zero_checksum and parts[0][0] != COOKIE_ECHO)
        return serialize_packet(self.local_port, self.remote_port, self.peer_tag, parts, not plain)

    def poll_event(self) -> Event | None:
        """The next event. A message that is not fetched keeps the peer's window smaller."""
        if not self.events:
            return None
        event = self.events.pop(0)
        if isinstance(event, MessageReceived) and self.reception is not None:
            self.reception.fetched(len(event.data))
        return event

    def _chunks(self) -> list[bytes]:
        """What goes into one packet, in this order: control, SACK, FORWARD-TSN, DATA (RFC 9260 6.10)."""
        now = self._now
        reception, transmission = self.reception, self.transmission
        parts: list[bytes] = []
        room = self.config.mtu - HEADER_SIZE
        may_send_data = self.state in CARRIES_DATA_OUT
        if self.cookie_due:
            self.cookie_due = False
            may_send_data = True
            parts.append(self.cookie_echo)
            room -= len(self.cookie_echo)
        elif self.state is State.COOKIE_ECHOED:
            return parts
        while self.control and len(self.control[0]) <= room:
            room -= len(self.control[0])
            parts.append(self.control.pop(0))
        assert reception is not None
        wanted = reception.sack_wanted
        if wanted == AT_ONCE and reception.packets:
            parts.append(reception.sack())
            room -= len(parts[-1])
        if may_send_data:
            self._fill(parts, room, now)
        return parts

    def _fill(self, parts: list[bytes], room: int, now: int) -> None:
        """FORWARD-TSN and DATA."""
        transmission = self.transmission
        if transmission.partial and transmission.outstanding.lost:
            transmission.give_up_lost(now)
        if transmission.forward_due:
            parts.append(transmission.forward(now))
            room -= len(parts[-1])
        transmission.fill(parts, room, now)
