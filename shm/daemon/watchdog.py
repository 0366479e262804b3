"""The service manager's watchdog, fed only while every process of the daemon makes progress (sd_watchdog_enabled(3)).

Used by each supervisor, which names its loops: a process's place, and a heartbeat that each turn of the loop moves,
with or without work. Since the last feeding every one of them must have moved, or its process be another one; only then
systemd hears of us again. A loop that stands for half of the time that we have is ended here first, since its successor
costs less than a restart of everything; what is left for systemd is what a supervisor cannot mend, itself above all.

Does nothing where no watchdog is asked for.
"""

import os
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from shm.daemon.loop import EventLoop
from shm.daemon.notify import notify
from shm.daemon.post import Post

LOOKS = 8
"""In the time that we have: an eighth of it is how late a loop's end may be seen."""


class Sign(NamedTuple):
    """A loop's sign of life, as of now."""

    post: Post[Any]
    loop: str
    """Which of the process's loops, where it has several."""
    beat: int


class Watchdog:
    """Looks at the signs; `start` it once the first processes run."""

    def __init__(self, loop: EventLoop, signs: Callable[[], Iterable[Sign]]) -> None:
        self._loop = loop
        self._signs = signs
        self._seen: dict[tuple[str, str], tuple[int | None, int]] = {}
        self._moved_ns: dict[tuple[str, str], int] = {}
        self._fed_ns = 0
        within_us = os.environ.get("WATCHDOG_USEC", "")
        self._within_ns = int(within_us) * 1000 if within_us.isdigit() else 0

    def start(self) -> None:
        """Begin to look."""
        if self._within_ns:
            self._look()

    def _look(self) -> None:
        self._loop.call_after(self._within_ns // LOOKS, self._look)
        self.look(time.monotonic_ns())

    def look(self, now: int) -> None:
        """Once: feed the watchdog if everybody has moved, end who has stood too long."""
        signs = list(self._signs())
        for sign in signs:
            key, found = (sign.post.name, sign.loop), (sign.post.pid, sign.beat)
            if self._seen.get(key) != found:
                self._seen[key] = found
                self._moved_ns[key] = now
        standing = [sign for sign in signs if self._moved_ns[sign.post.name, sign.loop] <= self._fed_ns]
        if not standing:
            self._fed_ns = now
            notify("WATCHDOG=1")
        for sign in standing:
            stood_ns = now - self._moved_ns[sign.post.name, sign.loop]
            if stood_ns >= self._within_ns // 2:
                sign.post.kill_stuck(f"made no turn for {stood_ns / 1e9:.1f} s")
