"""Ends the calls of a transceiver that stops, so many a second: each client redials as soon as it hears the goodbye.

Run by the transceiver process, a few calls a turn. It knows no clock: `now` is passed in.
"""

import itertools

from transceiverd.calls import CallTable
from transceiverd.engine import SECOND


class Goodbyes:
    """What is left to say. Nothing, until `begin`."""

    def __init__(self, calls: CallTable) -> None:
        self._calls = calls
        self._reason = ""
        self._per_second = 0.0
        self._began = 0
        self._said = 0

    def begin(self, reason: str, per_second: float, now: int) -> None:
        """End every call; `per_second` 0: all at once. A second time it goes on at the new pace."""
        self._reason, self._per_second, self._began, self._said = reason, per_second, now, 0

    def work(self, now: int) -> bool:
        """Say what is due; False when nothing is left to say. Most turns of a long drain say nothing, and look at no
        call either."""
        if not self._reason:
            return False
        due = self._due(now) if self._per_second else len(self._calls)
        if not due:
            return len(self._calls) > 0
        left = (call for call in self._calls if not call.closing)
        for call in itertools.islice(left, due):
            self._calls.close(call, self._reason, now)
            self._said += 1
        return next(left, None) is not None

    def _due(self, now: int) -> int:
        """How many more may have been said by now; the first one at once."""
        return max(0, 1 + int((now - self._began) * self._per_second / SECOND) - self._said)
