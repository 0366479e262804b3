"""Warnings that a peer can cause as often as it likes, written as often as a person needs them.

Used by connection.py and control.py: a transceiverd that is refused tries again several times a second. Every event is
counted by its owner all the same; only the line is left out.
"""

import logging
import time
from collections.abc import Callable

# The same line again: often enough to be seen beside whatever else goes on (ns).
REPEAT_NS = 60_000_000_000
# Another line of the same kind, since a peer that connects anew has another pid each time (ns).
APART_NS = 1_000_000_000


class QuietLog:
    """Writes at most one line a second of each kind, and the same line once a minute."""

    def __init__(self, log: logging.Logger, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._log = log
        self._clock = clock
        self._last: dict[str, tuple[str, int, int]] = {}

    def warning(self, kind: str, text: str) -> None:
        """`kind` is a fixed string, so there are few; `text` is the line."""
        now = self._clock()
        said, said_ns, kept = self._last.get(kind, ("", now - REPEAT_NS, 0))
        if now - said_ns < (REPEAT_NS if text == said else APART_NS):
            self._last[kind] = (said, said_ns, kept + 1)
            return
        more = f" ({kept} more of this kind were not written)" if kept else ""
        self._log.warning("%s%s", text, more)
        self._last[kind] = (text, now, 0)
