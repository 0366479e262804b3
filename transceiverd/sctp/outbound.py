# cython: language_level=3, annotation_typing=False
"""Messages that wait to be sent: one queue a stream, and which stream is next.

Called by `transmission.py` when there is room for a chunk. Streams take turns by weighted fair queueing with their
channel's priority as weight (RFC 8831 6.4, RFC 8260 3.6). With I-DATA the turn may change at every fragment, without it
only between messages (RFC 9260 6.9). Sequence numbers are given when a message's first fragment is cut.
"""

PRIORITY_NORMAL = 256  # RFC 8831 6.4
MESSAGE_COST = 128  # bytes that a waiting message costs besides its data; keeps empty ones from being free
TURN_SCALE = 1 << 16  # virtual time is bytes / priority; kept in whole numbers


class OutboundMessage:
    """One message on its way out. `sequence` is -1 until its first fragment is cut; `sent` counts bytes cut.

    `max_retransmits` -1 and `expires_at` 0: no such limit.
    """

    __slots__ = (
        "abandoned",
        "data",
        "expires_at",
        "fragments",
        "max_retransmits",
        "ppid",
        "sent",
        "sequence",
        "stream_id",
        "unordered",
    )

    def __init__(
        self, stream_id: int, ppid: int, data: bytes, unordered: bool, max_retransmits: int = -1, expires_at: int = 0
    ) -> None:
        self.stream_id = stream_id
        self.ppid = ppid
        self.data = data
        self.unordered = unordered
        self.max_retransmits = max_retransmits
        self.expires_at = expires_at
        self.sequence = -1
        self.sent = 0
        self.fragments = 0
        self.abandoned = False

    def cost(self) -> int:
        """What holding all of it costs."""
        return len(self.data) + MESSAGE_COST


class OutboundStream:
    """The queue of one stream. `waiting` counts bytes not yet cut; `turn` is its virtual time.

    `low_threshold` -1: nobody asked to be told.
    """

    __slots__ = (
        "low_threshold",
        "next_ordered",
        "next_unordered",
        "priority",
        "queue",
        "stream_id",
        "turn",
        "waiting",
    )

    def __init__(self, stream_id: int, priority: int, low_threshold: int = -1) -> None:
        self.stream_id = stream_id
        self.priority = max(priority, 1)
        self.low_threshold = low_threshold
        self.queue: list[OutboundMessage] = []
        self.waiting = 0
        self.turn = 0
        self.next_ordered = 0  # SSN, or MID of ordered messages
        self.next_unordered = 0  # MID of unordered messages

    def assign(self, message: OutboundMessage, interleaved: bool) -> None:
        """Give a message its place in the stream."""
        if not message.unordered:
            message.sequence = self.next_ordered
            self.next_ordered += 1
        elif interleaved:
            message.sequence = self.next_unordered
            self.next_unordered += 1
        else:
            message.sequence = 0

    def restart(self) -> None:
        """The reset was performed (RFC 6525 5.2.7)."""
        self.next_ordered = 0
        self.next_unordered = 0


class SendQueue:
    """All streams that have something to send. `low` collects streams whose waiting bytes fell to the threshold."""

    __slots__ = ("active", "clock", "current", "interleaved", "low", "streams")

    def __init__(self) -> None:
        self.streams: dict[int, OutboundStream] = {}
        self.active: list[OutboundStream] = []
        self.current: OutboundStream | None = None  # whose message is half sent (DATA only)
        self.interleaved = False
        self.clock = 0
        self.low: list[int] = []

    def push(self, stream: OutboundStream, message: OutboundMessage) -> None:
        """Queue a message."""
        if not stream.queue:
            stream.turn = max(stream.turn, self.clock)
            self.active.append(stream)
        stream.queue.append(message)
        stream.waiting += len(message.data)

    def peek(self) -> OutboundMessage | None:
        """The message whose next fragment is next."""
        if not self.active:
            return None
        stream = self.current if self.current is not None else self.choose()
        return None if stream is None else stream.queue[0]

    def choose(self) -> OutboundStream | None:
        """The stream furthest behind its share."""
        best = None
        for stream in self.active:
            if best is None or stream.turn < best.turn:
                best = stream
        return best

    def cut(self, message: OutboundMessage, size: int) -> bool:
        """`size` more bytes of `message`, which is what `peek` gave, leave the queue; True at its end."""
        stream = self.streams[message.stream_id]
        if message.sequence < 0:
            stream.assign(message, self.interleaved)
        message.sent += size
        message.fragments += 1
        self.clock = stream.turn
        stream.turn += max(size, 1) * TURN_SCALE // stream.priority
        self.waited(stream, size)
        if message.sent < len(message.data):
            self.current = None if self.interleaved else stream
            return False
        self.finish(stream)
        return True

    def finish(self, stream: OutboundStream) -> None:
        """The first message of a stream is through with the queue."""
        self.current = None
        del stream.queue[0]
        if not stream.queue:
            self.active.remove(stream)

    def drop(self, message: OutboundMessage) -> None:
        """The message, which is first of its stream, is given up: forget what was not cut."""
        stream = self.streams[message.stream_id]
        self.waited(stream, len(message.data) - message.sent)
        self.finish(stream)

    def discard(self, stream_id: int) -> int:
        """Forget messages of a stream of which nothing was cut; returns what they cost."""
        stream = self.streams.get(stream_id)
        if stream is None or not stream.queue:
            return 0
        kept = [message for message in stream.queue if message.sent]
        cost = sum(message.cost() for message in stream.queue if not message.sent)
        stream.waiting = sum(len(message.data) - message.sent for message in kept)
        stream.queue = kept
        if not kept:
            self.active.remove(stream)
        return cost

    def waited(self, stream: OutboundStream, size: int) -> None:
        """`size` bytes wait no more."""
        before = stream.waiting
        stream.waiting = before - size
        if before > stream.low_threshold >= stream.waiting:
            self.low.append(stream.stream_id)
