"""How many error answers all calls of a process may give in a second (RFC 8489 asks for them, DESIGN 2.4 for few).

Each call has its own interval besides (`error_interval_ms`). This bound is for whoever knows the ufrags of many calls:
an answer costs more than its silence, and goes to whatever address the question named.
"""

from transceiverd.engine import SECOND


class ErrorBudget:
    """Shared by the agents of a process."""

    __slots__ = ("_left", "_per_second", "_second")

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._second = -1
        self._left = 0

    def take(self, now: int) -> bool:
        """Whether one more may be given at `now`, ns."""
        second = now // SECOND
        if second != self._second:
            self._second = second
            self._left = self._per_second
        if not self._left:
            return False
        self._left -= 1
        return True
