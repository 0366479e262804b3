# cython: language_level=3, annotation_typing=False
"""Which TSNs have come: cumulative TSN, gap blocks, duplicates (RFC 9260 6.2, 6.2.1).

Called by `reception.py` for every DATA chunk. Bounded: at most GAPS_MAX ranges beyond the cumulative TSN, none further
away than a SACK can say.
"""

from transceiverd.sctp.writing import sack_chunk

GAPS_MAX = 200  # ranges; 4 bytes each in the SACK, which must fit a packet with its duplicates
DUPLICATES_MAX = 20  # reported in one SACK; more tell the sender nothing new
OFFSET_MAX = 0xFFFF  # gap blocks are 16-bit offsets from the cumulative TSN

NEW = 1
DUPLICATE = 0
REFUSED = -1


class TsnTracker:
    """`cumulative`: every TSN up to it has come. `gaps`: flat first, last, first, last... beyond it, ascending."""

    __slots__ = ("cumulative", "duplicates", "gaps")

    def __init__(self, initial_tsn: int) -> None:
        self.cumulative = initial_tsn - 1
        self.gaps: list[int] = []
        self.duplicates: list[int] = []

    def judge(self, tsn: int) -> int:
        """NEW, DUPLICATE, or REFUSED: too far away, or one range too many."""
        if tsn <= self.cumulative:
            return 0
        if tsn - self.cumulative > OFFSET_MAX:
            return -1
        if not self.gaps:
            return 1
        place = self.place(tsn)
        if place < len(self.gaps) and self.gaps[place] <= tsn:
            return 0
        if len(self.gaps) < 2 * GAPS_MAX or tsn == self.cumulative + 1:
            return 1
        joins_before = place > 0 and self.gaps[place - 1] == tsn - 1
        joins_after = place < len(self.gaps) and self.gaps[place] == tsn + 1
        return 1 if joins_before or joins_after else -1

    def place(self, tsn: int) -> int:
        """Index of the first range whose last TSN is not below `tsn`; most TSNs belong at the end."""
        gaps = self.gaps
        index = len(gaps)
        while index and gaps[index - 1] >= tsn:
            index -= 2
        return index

    def mark(self, tsn: int) -> None:
        """`tsn`, which was judged NEW, has been taken."""
        if tsn == self.cumulative + 1:
            self.cumulative = tsn
            if self.gaps:
                self.absorb()
            return
        gaps = self.gaps
        place = self.place(tsn)
        joins_before = place > 0 and gaps[place - 1] == tsn - 1
        joins_after = place < len(gaps) and gaps[place] == tsn + 1
        if joins_before and joins_after:
            del gaps[place - 1 : place + 1]
        elif joins_before:
            gaps[place - 1] = tsn
        elif joins_after:
            gaps[place] = tsn
        else:
            gaps[place:place] = [tsn, tsn]

    def forward(self, tsn: int) -> None:
        """The sender gave up everything to `tsn` (RFC 3758 3.6)."""
        if tsn > self.cumulative:
            self.cumulative = tsn
            self.absorb()

    def absorb(self) -> None:
        """Let the cumulative TSN swallow the ranges that it touches."""
        gaps = self.gaps
        while gaps and gaps[0] <= self.cumulative + 1:
            self.cumulative = max(self.cumulative, gaps[1])
            del gaps[:2]

    def repeat(self, tsn: int) -> None:
        """`tsn` came again."""
        if len(self.duplicates) < DUPLICATES_MAX:
            self.duplicates.append(tsn & 0xFFFFFFFF)

    def sack(self, window: int) -> bytes:
        """The SACK chunk as it stands now; duplicates are reported once."""
        duplicates = self.duplicates
        if duplicates:
            self.duplicates = []
        return sack_chunk(self.cumulative, window, self.gaps, duplicates)
