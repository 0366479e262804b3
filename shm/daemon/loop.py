"""The supervisor's event loop: descriptors, timers and signals on one epoll, in one thread.

Used by both daemons' supervisors and all that runs in them. Not asyncio, for two reasons: the supervisor forks, and a
forked asyncio loop shares its epoll with the parent; and everything here is a handful of descriptors and timers.

A callback that raises is logged and the loop goes on: one bad connection must not take the port away from all calls.
"""

import contextlib
import heapq
import itertools
import logging
import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger("supervisor")

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


@dataclass(order=True)
class Timer:
    """One call at one time; `cancel` before it and it never happens."""

    due_ns: int
    order: int
    action: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Forget the call."""
        self.cancelled = True


class EventLoop:
    """Watch descriptors, call timers, deliver signals; `run` until `stop`."""

    def __init__(self) -> None:
        self._selector = selectors.EpollSelector()
        self._timers: list[Timer] = []
        self._order = itertools.count()
        self._running = False
        self._signal_actions: dict[int, Callable[[], object]] = {}
        # The C-level handler writes the signal's number here, so that a signal wakes epoll like any descriptor.
        self._wakeup_read, self._wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._wakeup_read, READ, self._read_signals)

    def watch(self, fd: int, events: int, action: Callable[[int], None]) -> None:
        """Call `action(events)` while `fd` is ready for one of `events`; a second call changes the first."""
        try:
            self._selector.modify(fd, events, action)
        except KeyError:
            self._selector.register(fd, events, action)

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor; call it before closing the descriptor. One that is not watched stays so."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def call_at(self, due_ns: int, action: Callable[[], None]) -> Timer:
        """Call `action` once at CLOCK_MONOTONIC `due_ns` or as soon after as the loop gets there."""
        timer = Timer(due_ns, next(self._order), action)
        heapq.heappush(self._timers, timer)
        return timer

    def call_after(self, delay_ns: int, action: Callable[[], None]) -> Timer:
        """`call_at`, counted from now."""
        return self.call_at(time.monotonic_ns() + delay_ns, action)

    def on_signal(self, number: int, action: Callable[[], object]) -> None:
        """Call `action` from the loop, not from the interrupted place, when the signal comes."""
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        self._signal_actions[number] = action
        signal.signal(number, lambda _number, _frame: None)  # the wakeup descriptor carries it

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        while self._running:
            self.turn(None)

    @property
    def running(self) -> bool:
        """Whether nobody has said `stop`."""
        return self._running

    def stop(self) -> None:
        """Make `run` return after this turn."""
        self._running = False

    def turn(self, longest_ns: int | None) -> None:
        """Wait for one thing, at most `longest_ns` (None: until the next timer), and do all that is due."""
        for key, events in self._selector.select(self._wait_seconds(longest_ns)):
            # An earlier action of this turn may have closed it, and another descriptor may have its number by now.
            if self._selector.get_map().get(key.fileobj) is key:
                self._guard(lambda key=key, events=events: key.data(events))  # type: ignore[misc]
        self._fire(time.monotonic_ns())

    def close(self) -> None:
        """Give back the loop's own descriptors, and the signals."""
        signal.set_wakeup_fd(-1)
        for number in self._signal_actions:
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        os.close(self._wakeup_read)
        os.close(self._wakeup_write)

    def _wait_seconds(self, longest_ns: int | None) -> float | None:
        while self._timers and self._timers[0].cancelled:
            heapq.heappop(self._timers)
        waits = [] if longest_ns is None else [longest_ns]
        if self._timers:
            waits.append(self._timers[0].due_ns - time.monotonic_ns())
        return max(0, min(waits)) / 1e9 if waits else None

    def _fire(self, now: int) -> None:
        while self._timers and (self._timers[0].cancelled or self._timers[0].due_ns <= now):
            timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._guard(timer.action)

    def _read_signals(self, _events: int) -> None:
        for number in os.read(self._wakeup_read, 64):
            action = self._signal_actions.get(number)
            if action is not None:
                action()

    @staticmethod
    def _guard(action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            log.exception("a fault in the supervisor itself; it goes on")
