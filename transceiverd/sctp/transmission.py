# cython: language_level=3, annotation_typing=False
"""Everything about DATA that goes out: what is sent next, when, and what a SACK or T3 changes.

Owned by the association; composes the send queue, the outstanding chunks, the congestion window and the RTO. Implements
RFC 9260 6.1 (order: FORWARD-TSN, retransmissions, new DATA; Max.Burst; zero-window probes), 6.3 (T3-rtx), 7.2, and RFC
3758 3.5 / RFC 8260 2.3 for the sender. Chunks become bytes only when a packet is polled, so nothing stale is ever
queued and the owner decides how many packets a turn may have.
"""

from transceiverd.sctp.chunks import (
    DATA_HEADER_SIZE,
    I_DATA_HEADER_SIZE,
    ForwardTsn,
    Sack,
    SkippedStream,
)
from transceiverd.sctp.congestion import CongestionWindow
from transceiverd.sctp.outbound import OutboundMessage, SendQueue
from transceiverd.sctp.outstanding import ABANDONED, LOST, Outstanding, SentChunk
from transceiverd.sctp.packet import HEADER_SIZE
from transceiverd.sctp.rto import RetransmissionTimeout
from transceiverd.sctp.writing import data_chunk, i_data_chunk

FORWARD_STREAMS_MAX = 100  # streams named in one FORWARD-TSN: 800 bytes of I-FORWARD-TSN
FRAGMENT_MIN = 400  # bytes; a message is not cut for less room than this left in a packet


class Transmission:
    """`peer_window`: what the last SACK said; `allowance`: packets that may still leave for the last event.

    `answered`: it was polled since that. SACKs that came together release and widen as much as they would one by one;
    `flight_before` is what was under way before the first of them.
    """

    __slots__ = (
        "advanced",
        "allowance",
        "answered",
        "buffered",
        "burst",
        "errors",
        "errors_max",
        "flight_before",
        "forward_due",
        "forward_sent_at",
        "header_size",
        "interleaved",
        "last_sent",
        "mtu",
        "outstanding",
        "partial",
        "peer_window",
        "queue",
        "recover",
        "rto",
        "t3",
        "window",
    )

    def __init__(
        self,
        initial_tsn: int,
        mtu: int,
        rto: RetransmissionTimeout,
        window: CongestionWindow,
        burst: int,
        errors_max: int,
    ) -> None:
        self.mtu = mtu
        self.rto = rto
        self.window = window
        self.burst = burst
        self.errors_max = errors_max
        self.queue = SendQueue()
        self.outstanding = Outstanding(initial_tsn)
        self.interleaved = False
        self.partial = False  # the peer takes FORWARD-TSN
        self.header_size = DATA_HEADER_SIZE
        self.peer_window = 0
        self.buffered = 0  # cost of all messages held
        self.allowance = burst
        self.answered = True
        self.flight_before = 0
        self.t3 = 0  # deadline of T3-rtx; 0: not running
        self.errors = 0  # T3 in a row
        self.recover = False  # the first packet of a fast retransmit goes whatever the window says
        self.advanced = initial_tsn - 1  # Advanced.Peer.Ack.Point
        self.forward_due = False
        self.forward_sent_at = 0
        self.last_sent = 0

    def agree(self, peer_window: int, interleaved: bool, partial: bool) -> None:
        """The handshake is done: what the peer can do."""
        self.peer_window = peer_window
        self.interleaved = interleaved
        self.queue.interleaved = interleaved
        self.partial = partial
        self.header_size = I_DATA_HEADER_SIZE if interleaved else DATA_HEADER_SIZE

    # ------------------------------------------------------------------ in

    def push(self, message: OutboundMessage) -> None:
        """Queue a message on its stream."""
        self.queue.push(self.queue.streams[message.stream_id], message)
        self.buffered += message.cost()
        self.allowance = self.burst

    def on_sack(self, sack: Sack, now: int) -> None:
        """Apply a SACK. Raises Refused or ProtocolViolation."""
        outstanding = self.outstanding
        before = outstanding.cumulative
        if self.answered:
            self.flight_before = outstanding.flight
        rtt = outstanding.acknowledge(sack, now)
        if rtt >= 0:
            self.rto.measure(rtt)
        elif outstanding.newly:
            self.rto.recover()
        self.peer_window = sack.window
        self.allowance = self.burst if self.answered else self.allowance + self.burst
        self.answered = False
        self.buffered -= outstanding.released
        if outstanding.newly or not sack.window:
            self.errors = 0  # it lives; a closed window is no fault of the path (6.1 A)
        if outstanding.cumulative > before:
            size = self.window.size
            self.window.on_acknowledged(outstanding.newly, self.flight_before, outstanding.cumulative)
            self.flight_before += self.window.size - size  # by the next SACK a sender that was polled would use it
            self.t3 = now + self.rto.value if outstanding.count() else 0
        if outstanding.lost:
            self.on_loss()
        if self.partial:
            self.advance(now)

    def on_loss(self) -> None:
        """Chunks were found lost: once a window, shrink it and send the first packet regardless (7.2.4)."""
        if self.window.on_loss(self.outstanding.next_tsn - 1):
            self.recover = True

    def on_timeout(self, now: int) -> bool:
        """T3 ran out; False: once too often, the peer is gone."""
        self.errors += 1
        self.rto.back_off()
        self.window.on_timeout()
        self.outstanding.lose_all()
        self.allowance = self.burst
        self.t3 = now + self.rto.value
        self.forward_due = self.advanced > self.outstanding.cumulative
        return self.errors <= self.errors_max

    # ------------------------------------------------------------------ out

    def may_send(self) -> bool:
        """Whether `fill` could find anything to do now: most polls find nothing, and shall cost next to nothing."""
        if self.forward_due or self.outstanding.lost:
            return True
        return self.allowance > 0 and len(self.queue.active) > 0 and self.outstanding.flight < self.window.size

    def fill(self, parts: list[bytes], room: int, now: int) -> None:
        """Append as many chunks as fit `room` and the windows allow; first what was lost, then what is new."""
        if self.allowance <= 0:
            return
        count = len(parts)
        if self.outstanding.lost:
            room = self.resend(parts, room, now)
        if self.queue.active and not self.outstanding.lost:
            self.send_new(parts, room, now)
        if len(parts) == count:
            return
        self.allowance -= 1
        self.recover = False
        self.last_sent = now
        if not self.t3:
            self.t3 = now + self.rto.value

    def resend(self, parts: list[bytes], room: int, now: int) -> int:
        """Chunks that were lost, lowest TSN first; the room that is left."""
        outstanding = self.outstanding
        for index in range(outstanding.head, len(outstanding.chunks)):
            if not outstanding.lost:
                break
            chunk = outstanding.chunks[index]
            if chunk.state != LOST:
                continue
            needed = (self.header_size + chunk.size + 3) & ~3
            if needed > room or (outstanding.flight >= self.window.size and not self.recover):
                break
            if index == outstanding.head:
                self.t3 = now + self.rto.value  # 6.3.2 R3: the earliest one is on its way again
            outstanding.resent(chunk, now)
            parts.append(self.serialize(chunk))
            room -= needed
        return room

    def send_new(self, parts: list[bytes], room: int, now: int) -> None:
        """Fragments that were never sent."""
        outstanding = self.outstanding
        if not outstanding.flight and self.last_sent and now - self.last_sent > self.rto.value:
            self.window.on_idle()
        while outstanding.flight < self.window.size:
            message = self.queue.peek()
            if message is None:
                return
            if self.partial and message.expires_at and now >= message.expires_at:
                self.give_up_waiting(message, now)
                continue
            size = self.fragment_size(message, room)
            if size < 0 or (size > self.peer_window - outstanding.flight and outstanding.flight):
                return
            chunk = outstanding.append(message, size, message.fragments, now)
            self.queue.cut(message, size)
            parts.append(self.serialize(chunk))
            room -= (self.header_size + size + 3) & ~3

    def fragment_size(self, message: OutboundMessage, room: int) -> int:
        """How much of `message` goes into `room` bytes; -1: better none."""
        remaining = len(message.data) - message.sent
        room = (room - self.header_size) & ~3
        if remaining <= room:
            return remaining
        whole = (self.mtu - HEADER_SIZE - self.header_size) & ~3
        if remaining <= whole or room < min(FRAGMENT_MIN, whole):
            return -1  # the next packet has room for it, or for a bigger piece
        return room

    def serialize(self, chunk: SentChunk) -> bytes:
        """The bytes of a chunk."""
        message = chunk.message
        flags = (2 if chunk.begins else 0) | (1 if chunk.ends else 0) | (4 if message.unordered else 0)
        tsn = chunk.tsn & 0xFFFFFFFF
        sequence = message.sequence & 0xFFFFFFFF
        data, offset, size = message.data, chunk.offset, chunk.size
        if self.interleaved:
            last = message.ppid if chunk.begins else chunk.fragment
            return i_data_chunk(flags, tsn, message.stream_id, sequence, last, data, offset, size)
        return data_chunk(flags, tsn, message.stream_id, sequence & 0xFFFF, message.ppid, data, offset, size)

    # ------------------------------------------------------------------ partial reliability

    def give_up_lost(self, now: int) -> None:
        """Abandon lost chunks whose message may not be sent again (RFC 3758 3.5 A3)."""
        outstanding = self.outstanding
        for index in range(outstanding.head, len(outstanding.chunks)):
            if not outstanding.lost:
                break
            chunk = outstanding.chunks[index]
            if chunk.state == LOST and self.is_over(chunk.message, chunk.transmissions, now):
                self.abandon(chunk.message)
        self.advance(now)

    def is_over(self, message: OutboundMessage, transmissions: int, now: int) -> bool:
        """Whether a message's limit forbids sending a fragment of it once more."""
        if 0 <= message.max_retransmits < transmissions:
            return True
        return bool(message.expires_at and now >= message.expires_at)

    def abandon(self, message: OutboundMessage) -> None:
        """Give up a message of which something was sent."""
        if message.sent < len(message.data):
            self.outstanding.append_end(message, message.fragments)
            self.queue.drop(message)
        self.outstanding.abandon(message)

    def give_up_waiting(self, message: OutboundMessage, now: int) -> None:
        """Give up the message that is next in its queue."""
        if message.sent:
            self.abandon(message)
            self.advance(now)
            return
        self.queue.drop(message)
        self.buffered -= message.cost()

    def advance(self, now: int) -> None:
        """Move Advanced.Peer.Ack.Point over abandoned chunks (RFC 3758 3.5 C1-C3)."""
        outstanding = self.outstanding
        point = max(self.advanced, outstanding.cumulative)
        index = outstanding.head + point - outstanding.cumulative
        while index < len(outstanding.chunks) and outstanding.chunks[index].state == ABANDONED:
            point += 1
            index += 1
        behind = point > outstanding.cumulative
        if behind and (point > self.advanced or now - self.forward_sent_at >= (self.rto.round_trip or self.rto.value)):
            self.forward_due = True
        self.forward_due = self.forward_due and behind
        self.advanced = point

    def forward(self, now: int) -> bytes:
        """The FORWARD-TSN chunk that is due."""
        self.forward_due = False
        self.forward_sent_at = now
        if not self.t3:
            self.t3 = now + self.rto.value
        outstanding = self.outstanding
        skipped: dict[tuple[int, bool], int] = {}
        tsn = outstanding.cumulative
        for index in range(outstanding.head, outstanding.head + self.advanced - tsn):
            message = outstanding.chunks[index].message
            key = (message.stream_id, message.unordered)
            if len(skipped) == FORWARD_STREAMS_MAX and key not in skipped:
                break
            tsn = outstanding.chunks[index].tsn
            if self.interleaved or not message.unordered:
                skipped[key] = max(message.sequence, skipped.get(key, 0))
        mask = 0xFFFFFFFF if self.interleaved else 0xFFFF
        streams = [SkippedStream(sid, last & mask, unordered) for (sid, unordered), last in skipped.items()]
        return ForwardTsn(tsn & 0xFFFFFFFF, tuple(streams), self.interleaved).serialize()
