"""What all associations of a process may hold together (DESIGN 2.9).

Asked by the owner of each association before it hands over a packet, and told afterwards what the association holds. An
association over its allowance advertises a smaller window and refuses data that would need more; nothing that is held
is thrown away and nobody is aborted for it.

The rule is the dynamic threshold of shared-memory switches (Choudhury and Hahne, 1998): each may hold as much as is
free now. One alone never notices; n that take all they can get have 1/(n+1) each, and as much is left for whoever comes
next. FLOOR is granted whatever the others hold, so that events pass through any congestion: the bound of a process is
`limit` + FLOOR x calls + what one association may hold by itself.

That one is the *favoured*: if very many hold messages so long that none can complete, all would wait for each other.
So the first that is starved may go to its own limits until it is down to FLOOR, or its time is over.
"""

from transceiverd.engine import SECOND

FLOOR = 16_384  # bytes; several events of a voice call, and 1/16 of the longest message
PATIENCE = 10 * SECOND  # a 256 KiB message at 200 kbit/s
UNLIMITED = 1 << 62


class SharedBuffers:
    """One for a process. `used`: cost of all messages held."""

    __slots__ = ("_favoured", "_last", "_until", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._favoured: object = None
        self._last: object = None  # whose time ran out: not the next again
        self._until = 0

    def allowance(self, who: object) -> int:
        """What `who` may hold now."""
        if who is self._favoured:
            return UNLIMITED
        return max(self.limit - self.used, FLOOR)

    def change(self, who: object, before: int, after: int) -> None:
        """What `who` holds has changed."""
        self.used += after - before
        if who is self._favoured and after <= FLOOR:
            self._favoured = None

    def starved(self, who: object, now: int) -> None:
        """`who` could not take what its peer wants to send."""
        if self._favoured is not None and now >= self._until:
            self._last, self._favoured = self._favoured, None
        if self._favoured is None and who is not self._last:
            self._favoured, self._last, self._until = who, None, now + PATIENCE

    def forget(self, who: object, held: int) -> None:
        """`who` is gone."""
        self.change(who, held, 0)
        if who is self._last:
            self._last = None
