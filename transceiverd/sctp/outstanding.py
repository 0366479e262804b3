# cython: language_level=3, annotation_typing=False
"""Chunks that were sent and not yet acknowledged: what a SACK says of each (RFC 9260 6.2.1, 6.3.2, 7.2.4).

Owned by `transmission.py`. TSNs have no holes, so a chunk is found by its TSN in one step. A chunk is IN_FLIGHT,
LOST (to be sent again), ACKED by a gap block (the receiver may yet take that back), or ABANDONED (RFC 3758).
"""

from transceiverd.sctp.chunks import Sack
from transceiverd.sctp.errors import ProtocolViolation, Refused
from transceiverd.sctp.outbound import OutboundMessage
from transceiverd.sctp.serial import unwrap32

IN_FLIGHT, LOST, ACKED, ABANDONED = 0, 1, 2, 3
MISSES_MAX = 3  # reports of a hole before it counts as a loss (RFC 9260 7.2.4)
COMPACT_AT = 64  # acknowledged chunks at the front of the list before it is cut


class SentChunk:
    """One fragment under its TSN. `miss_after`: only reports of TSNs above it count as a miss of this one."""

    __slots__ = ("begins", "ends", "fragment", "message", "miss_after", "misses", "offset", "sent_at", "size", "state",
                 "transmissions", "tsn")  # fmt: skip

    def __init__(self, tsn: int, message: OutboundMessage, offset: int, size: int, fragment: int) -> None:
        self.tsn = tsn
        self.message = message
        self.offset = offset
        self.size = size
        self.fragment = fragment
        self.begins = offset == 0
        self.ends = offset + size == len(message.data)
        self.state = IN_FLIGHT
        self.sent_at = 0
        self.transmissions = 1
        self.misses = 0
        self.miss_after = -1

    def cost(self) -> int:
        """Its share of the flight: user data and DATA_HEADER_SIZE."""
        return self.size + 16


def new_chunk(tsn: int, message: OutboundMessage, offset: int, size: int, fragment: int) -> SentChunk:
    """A `SentChunk` as from its class, but no object is made of any number: one comes with every packet."""
    chunk = SentChunk.__new__(SentChunk)
    chunk.tsn, chunk.message, chunk.offset, chunk.size, chunk.fragment = tsn, message, offset, size, fragment
    chunk.begins, chunk.ends = offset == 0, offset + size == len(message.data)
    chunk.state, chunk.sent_at, chunk.transmissions, chunk.misses, chunk.miss_after = IN_FLIGHT, 0, 1, 0, -1
    return chunk


class Outstanding:
    """`cumulative`: everything up to it is acknowledged. `flight`: bytes believed to be under way."""

    __slots__ = (
        "chunks",
        "cumulative",
        "flight",
        "gap_acked",
        "head",
        "lost",
        "newly",
        "next_tsn",
        "released",
        "timed",
        "timed_at",
    )

    def __init__(self, initial_tsn: int) -> None:
        self.cumulative = initial_tsn - 1
        self.next_tsn = initial_tsn
        self.chunks: list[SentChunk] = []
        self.head = 0  # index of the chunk with TSN cumulative + 1
        self.flight = 0
        self.lost = 0  # chunks in state LOST
        self.gap_acked = 0  # chunks in state ACKED
        self.timed = -1  # TSN whose round trip is being measured
        self.timed_at = 0
        self.newly = 0  # bytes that the last SACK acknowledged for the first time
        self.released = 0  # bytes of messages that need not be held any longer

    def count(self) -> int:
        """Chunks not yet acknowledged cumulatively."""
        return len(self.chunks) - self.head

    def append(self, message: OutboundMessage, size: int, fragment: int, now: int) -> SentChunk:
        """The next `size` bytes of `message` get a TSN and are on their way."""
        chunk = new_chunk(self.next_tsn, message, message.sent, size, fragment)
        chunk.sent_at = now
        self.next_tsn += 1
        self.chunks.append(chunk)
        self.flight += chunk.cost()
        if self.timed < 0:
            self.timed = chunk.tsn
            self.timed_at = now
        return chunk

    def append_end(self, message: OutboundMessage, fragment: int) -> None:
        """A TSN for the end of a message that is given up half sent, so that a FORWARD-TSN can pass its beginning."""
        chunk = new_chunk(self.next_tsn, message, message.sent, 0, fragment)
        chunk.state = ABANDONED
        chunk.ends = True
        self.next_tsn += 1
        self.chunks.append(chunk)

    def acknowledge(self, sack: Sack, now: int) -> int:
        """Apply a SACK; the round-trip time it measures, or -1. Refused: of no use; ProtocolViolation: a lie."""
        cumulative = unwrap32(sack.cumulative, self.cumulative)
        if cumulative < self.cumulative:
            raise Refused("sack-old")
        self.require_sent(cumulative, sack)
        self.newly = 0
        self.released = 0
        highest = self.advance(cumulative)
        if sack.gaps or self.gap_acked:
            highest = max(highest, self.mark_gaps(cumulative, sack.gaps))
        if sack.gaps and highest >= 0:
            self.count_misses(highest)
        if not 0 <= self.timed <= cumulative:
            return -1
        self.timed = -1
        return now - self.timed_at

    def require_sent(self, cumulative: int, sack: Sack) -> None:
        """Nobody can acknowledge what was never sent; gap blocks ascend and do not touch."""
        if cumulative >= self.next_tsn:
            raise ProtocolViolation("sack-optimistic")
        last = 0
        for index in range(0, len(sack.gaps), 2):
            if sack.gaps[index] <= last or sack.gaps[index + 1] < sack.gaps[index]:
                raise Refused("sack-gaps")
            last = sack.gaps[index + 1]
        if cumulative + last >= self.next_tsn:
            raise ProtocolViolation("sack-optimistic")

    def advance(self, cumulative: int) -> int:
        """Everything up to `cumulative` is there for good; the highest TSN of that which is news, or -1."""
        chunks = self.chunks
        highest = -1
        while self.cumulative < cumulative:
            chunk = chunks[self.head]
            if chunk.state == ACKED:
                self.gap_acked -= 1
            elif chunk.state != ABANDONED:
                self.leave(chunk)
                self.newly += chunk.cost()
                highest = chunk.tsn
            self.release(chunk)
            self.head += 1
            self.cumulative += 1
        if self.head >= COMPACT_AT and 2 * self.head >= len(chunks):
            del chunks[: self.head]
            self.head = 0
        return highest

    def leave(self, chunk: SentChunk) -> None:
        """The chunk is not in flight or lost any more."""
        if chunk.state == IN_FLIGHT:
            self.flight -= chunk.cost()
        elif chunk.state == LOST:
            self.lost -= 1
        elif chunk.state == ACKED:
            self.gap_acked -= 1

    def release(self, chunk: SentChunk) -> None:
        """The chunk will never be sent again; with a message's last one the message is let go."""
        if chunk.ends:
            self.released += chunk.message.cost()

    def mark_gaps(self, cumulative: int, gaps: tuple[int, ...]) -> int:
        """Bring every chunk in line with the gap blocks, also those taken back; highest TSN that is news, or -1."""
        highest = -1
        index, block = self.head, 0
        while index < len(self.chunks):
            chunk = self.chunks[index]
            offset = chunk.tsn - cumulative
            while block < len(gaps) and gaps[block + 1] < offset:
                block += 2
            if block >= len(gaps) and not self.gap_acked:
                break
            if block < len(gaps) and gaps[block] <= offset:
                if chunk.state < ACKED:
                    self.leave(chunk)
                    chunk.state = ACKED
                    self.gap_acked += 1
                    self.newly += chunk.cost()
                    highest = chunk.tsn
            elif chunk.state == ACKED:
                self.take_back(chunk)
            index += 1
        return highest

    def take_back(self, chunk: SentChunk) -> None:
        """The receiver reneged (RFC 9260 6.2.1 D iii), or an old SACK came late: in flight again, T3 watches it."""
        chunk.state = IN_FLIGHT
        chunk.misses = 0
        self.gap_acked -= 1
        self.flight += chunk.cost()

    def count_misses(self, highest: int) -> None:
        """Chunks below the highest newly acknowledged TSN that are still missing (7.2.4, HTNA)."""
        for index in range(self.head, len(self.chunks)):
            chunk = self.chunks[index]
            if chunk.tsn >= highest:
                break
            if chunk.state == IN_FLIGHT and highest > chunk.miss_after:
                chunk.misses += 1
                if chunk.misses >= MISSES_MAX:
                    self.lose(chunk)

    def lose(self, chunk: SentChunk) -> None:
        """The chunk is taken for lost. A round trip measured over it would be ambiguous (Karn)."""
        self.leave(chunk)
        chunk.state = LOST
        chunk.misses = 0
        self.lost += 1
        if chunk.tsn <= self.timed:
            self.timed = -1

    def lose_all(self) -> None:
        """T3 ran out: all that is in flight counts as lost (6.3.3 E3)."""
        for index in range(self.head, len(self.chunks)):
            if self.chunks[index].state == IN_FLIGHT:
                self.lose(self.chunks[index])

    def resent(self, chunk: SentChunk, now: int) -> None:
        """A lost chunk is on its way again."""
        self.leave(chunk)
        chunk.state = IN_FLIGHT
        chunk.sent_at = now
        chunk.transmissions += 1
        chunk.miss_after = self.next_tsn - 1
        self.flight += chunk.cost()

    def abandon(self, message: OutboundMessage) -> None:
        """None of the message's chunks will be sent again."""
        message.abandoned = True
        for index in range(self.head, len(self.chunks)):
            chunk = self.chunks[index]
            if chunk.message is message:
                self.leave(chunk)
                chunk.state = ABANDONED
