# cython: language_level=3, annotation_typing=False
"""Everything about DATA that comes in: is it new, is there room, what does it complete, when is it acknowledged.

Owned by the association. Implements RFC 9260 6.2 (delayed SACK, receive window), 6.5 (unknown streams), RFC 3758 3.6
(FORWARD-TSN). The window is what the configuration allows less what incomplete messages and messages that the
application did not fetch yet cost: an application that stops fetching stops the peer. It is also at most what the
owner allows at the moment (`buffers.py`).

With I-DATA a sender may have begun many long messages at once, and TSNs must be taken in order: refusing some of them
until one is complete is not possible, since holes in the TSNs would stop them all. So incomplete messages may have
`extension` bytes beyond the capacity; a message that was fetched late never gets any of it. When that is used up too,
and nothing waits to be fetched, no window however small could ever end it: the association is aborted with Out of
Resource, as dcSCTP does.
"""

from transceiverd.sctp.buffers import FLOOR, UNLIMITED
from transceiverd.sctp.chunks import Data, ForwardTsn
from transceiverd.sctp.errors import NO_USER_DATA, OUT_OF_RESOURCE, ProtocolViolation, Refused
from transceiverd.sctp.reassembly import FRAGMENT_COST, Reassembly
from transceiverd.sctp.serial import unwrap32
from transceiverd.sctp.tracker import TsnTracker

SACK_EVERY = 2  # packets with DATA (RFC 9260 6.2)
NOTHING, DELAYED, AT_ONCE = 0, 1, 2


class Reception:
    """`unfetched`: cost of messages that wait for the application. `sack_wanted`: NOTHING, DELAYED or AT_ONCE.

    `allowance`: what the owner lets us hold; `starved`: it is so little that the peer has to wait.
    """

    __slots__ = (
        "allowance",
        "announced",
        "capacity",
        "extension",
        "interleaved",
        "packets",
        "reassembly",
        "sack_deadline",
        "sack_delay",
        "sack_wanted",
        "starved",
        "tracker",
        "unfetched",
    )

    def __init__(
        self,
        initial_tsn: int,
        capacity: int,
        max_message: int,
        streams_max: int,
        sack_delay: int,
        interleaved: bool,
        extension: int = 0,
    ) -> None:
        """`extension`: of the capacity, for incomplete interleaved messages alone."""
        self.tracker = TsnTracker(initial_tsn)
        self.reassembly = Reassembly(max_message, streams_max)
        self.capacity = capacity
        self.interleaved = interleaved
        self.extension = extension if interleaved else 0
        self.allowance = UNLIMITED
        self.starved = False
        self.unfetched = 0
        self.announced = capacity  # the window in our last SACK
        self.packets = SACK_EVERY - 1  # with DATA, since the last SACK; the very first is acknowledged at once
        self.sack_wanted = NOTHING
        self.sack_deadline = 0
        self.sack_delay = sack_delay

    def window(self) -> int:
        """What we can still take."""
        return max(min(self.own_room(), self.shared_room()), 0)

    def own_room(self) -> int:
        """What the configuration leaves."""
        return self.capacity - max(self.reassembly.held - self.extension, 0) - self.unfetched

    def shared_room(self) -> int:
        """What the owner leaves."""
        return self.allowance - self.reassembly.held - self.unfetched

    def take(self, chunk: Data) -> None:
        """One DATA or I-DATA chunk. Raises Refused (dropped, not acknowledged) or ProtocolViolation."""
        if chunk.interleaved != self.interleaved:
            raise ProtocolViolation("data-kind")
        if not chunk.payload:
            raise ProtocolViolation("data-empty", NO_USER_DATA)
        if chunk.immediate:
            self.sack_wanted = AT_ONCE
        tracker = self.tracker
        tsn = unwrap32(chunk.tsn, tracker.cumulative)
        verdict = tracker.judge(tsn)
        if verdict <= 0:
            self.sack_wanted = AT_ONCE
            if verdict == 0:
                tracker.repeat(tsn)
                raise Refused("tsn-duplicate")
            raise Refused("tsn-far")
        self.require_room(chunk, tsn)
        if not self.knows(chunk.stream_id):
            tracker.mark(tsn)  # RFC 9260 6.5: acknowledged, reported, not used
            raise Refused("streams-many")
        if tsn != tracker.cumulative + 1 or tracker.gaps:
            self.sack_wanted = AT_ONCE
        tracker.mark(tsn)
        if not self.reassembly.add(chunk, tsn):
            raise Refused("sequence-stale")

    def knows(self, stream_id: int) -> bool:
        """Whether the stream is in use, or may be taken into use."""
        return stream_id in self.reassembly.streams or len(self.reassembly.streams) < self.reassembly.streams_max

    def require_room(self, chunk: Data, tsn: int) -> None:
        """Room for a fragment: the last quarter is kept for the one that is next, or holes could never be filled."""
        needed = len(chunk.payload) + FRAGMENT_COST
        is_next = tsn == self.tracker.cumulative + 1
        if needed > (self.own_room() if is_next else self.own_room() - self.capacity // 4):
            self.sack_wanted = AT_ONCE
            if is_next and not self.unfetched:  # incomplete messages alone fill it: nothing could ever free it
                raise ProtocolViolation("reassembly-full", OUT_OF_RESOURCE)
            raise Refused("window-full")
        if needed > (self.shared_room() if is_next else self.shared_room() - min(self.allowance, self.capacity) // 4):
            self.sack_wanted = AT_ONCE
            self.starved = True
            raise Refused("buffers-full")

    def skip(self, chunk: ForwardTsn) -> None:
        """FORWARD-TSN or I-FORWARD-TSN."""
        if chunk.interleaved != self.interleaved:
            raise ProtocolViolation("forward-kind")
        tsn = unwrap32(chunk.cumulative, self.tracker.cumulative)
        self.sack_wanted = AT_ONCE
        if tsn <= self.tracker.cumulative:
            raise Refused("forward-old")
        self.tracker.forward(tsn)
        for stream_id, sequence, unordered in chunk.streams:
            self.reassembly.skip(stream_id, sequence, unordered, chunk.interleaved)
        if not chunk.interleaved:
            self.reassembly.skip_unordered(tsn)

    def end_packet(self, had_data: bool, now: int) -> None:
        """All chunks of a packet are taken: decide when to acknowledge."""
        if not had_data:
            return
        self.packets += 1
        if self.packets >= SACK_EVERY or self.sack_wanted == AT_ONCE or self.sack_delay == 0:
            self.sack_wanted = AT_ONCE
        elif self.sack_wanted == NOTHING:
            self.sack_wanted = DELAYED
            self.sack_deadline = now + self.sack_delay

    def fetched(self, size: int) -> None:
        """The application took a message: tell the peer when that opens a closed window well."""
        self.unfetched -= size + FRAGMENT_COST
        if self.announced < self.capacity // 4 and self.window() >= self.capacity // 2:
            self.sack_wanted = AT_ONCE

    def reopen(self) -> None:
        """The owner may allow more: tell the peer when that is worth a packet."""
        window = self.window()
        if window >= min(FLOOR, self.own_room()) and window > self.announced:
            self.starved = False
            self.sack_wanted = AT_ONCE

    def on_timeout(self, now: int) -> None:
        """The delay of a SACK is over."""
        if self.sack_wanted == DELAYED and now >= self.sack_deadline:
            self.sack_wanted = AT_ONCE

    def sack(self) -> bytes:
        """The SACK chunk to send now."""
        self.announced = self.window()
        self.starved = self.announced < min(FLOOR, self.own_room())
        self.packets = 0
        self.sack_wanted = NOTHING
        return self.tracker.sack(self.announced)
