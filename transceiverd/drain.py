"""The orderly end of transceiverd: no new calls, the others until a deadline, then goodbyes at a pace, then nothing.

    serving --begin--> draining --deadline, or hurry--> closing --last call--> over
                          └------------last call---------------------------------┘

Run in the supervisor's loop by supervisor.py, on SIGTERM or when an operator asks. A second SIGTERM is `hurry`: all
goodbyes at once. Hang-ups and questions about running calls are answered to the last.
"""

import logging
import time
from collections.abc import Callable, Mapping

from shm.daemon.loop import Timer
from shm.daemon.notify import notify
from shm.daemon.orders import Reply, Report
from shm.daemon.post import Post
from transceiverd import links
from transceiverd.transceivers import House, Places

log = logging.getLogger("supervisor")

SECOND_NS = 1_000_000_000
LOOK_NS = 500_000_000  # how often the service manager is told how it goes
SAY_LOOKS = 20  # looks between two lines in the log
# What the service manager is asked for at each look, beyond what it allows a stop by itself (TimeoutStopSec).
EXTENSION_US = 30_000_000
# For a refused caller: by then another server was found, or this one serves again.
RETRY_AFTER_SECONDS = 5
DEADLINE_SECONDS_MAX = 86_400
KILL_AFTER_NS = 500_000_000  # beyond stop_seconds, for a process that does not end


BAD_DEADLINE = Report(False, f"deadline: allowed are 0 to {DEADLINE_SECONDS_MAX} seconds")


def read_deadline(arguments: Mapping[str, str], default: float) -> float | None:
    """An order's `deadline` in seconds; None when it makes no sense."""
    try:
        seconds = float(arguments.get("deadline", default))
    except ValueError:
        return None
    return seconds if 0 <= seconds <= DEADLINE_SECONDS_MAX else None


class Drain:
    """One, for the daemon's whole life. `on_over` is called once, when no transceiver runs any more."""

    def __init__(
        self,
        house: House,
        places: Places,
        signalling: Post[links.Message],
        on_over: Callable[[], None],
    ) -> None:
        self._house = house
        self._places = places
        self._signalling = signalling
        self._on_over = on_over
        self._deadline: Timer | None = None
        self._kill: Timer | None = None
        self._looks = 0

    def has_begun(self) -> bool:
        """Whether the daemon is about to end."""
        return self._deadline is not None

    def order(self, arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `drain`, with `deadline` in seconds."""
        seconds = read_deadline(arguments, self._house.settings.transceiver.drain_seconds)
        if seconds is None:
            reply(BAD_DEADLINE)
            return
        calls = self._places.calls
        self.begin(seconds)
        reply(Report(True, f"draining; {calls} calls go on for {seconds:g} s at most", {"calls": calls}))

    def begin(self, seconds: float) -> None:
        """Take no new calls; let the others go on for so long. A second time: the new deadline holds."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._house.loop.call_after(int(seconds * SECOND_NS), self._close)
        self.tell_signalling()  # readiness first: whoever asks now is told to come again
        for place in self._places:
            place.leave()
        log.info("draining: no new calls; %d go on for %g s at most", self._places.calls, seconds)
        notify("STOPPING=1")
        if not self._looks:
            self._look()
        self.look_if_over()

    def hurry(self) -> None:
        """All goodbyes now, and at once."""
        log.info("stopping at once: %d calls are ended", self._places.calls)
        self._say_goodbye(0.0)

    def tell_signalling(self) -> None:
        """Also to a signalling process that starts meanwhile."""
        if self.has_begun():
            self._signalling.send(links.Draining(RETRY_AFTER_SECONDS))

    def _close(self) -> None:
        if len(self._places):
            pace = self._house.settings.transceiver.goodbyes_per_second
            log.info("saying goodbye to %d calls, %s", self._places.calls, f"{pace:g} a second" if pace else "at once")
            self._say_goodbye(pace)

    def _say_goodbye(self, per_second: float) -> None:
        """BYE and close_notify for every call. A transceiver that does not end in time is killed, and has no other."""
        if self._deadline is not None:
            self._deadline.cancel()
        if self._kill is not None:
            self._kill.cancel()
        each = per_second / max(1, len(self._places))
        longest = max((place.calls / each for place in self._places), default=0.0) if each else 0.0
        for place in self._places:
            place.post.retire(links.Stop("shutdown", each))
        patience_ns = int((longest + self._house.settings.transceiver.stop_seconds) * SECOND_NS) + KILL_AFTER_NS
        self._kill = self._house.loop.call_after(patience_ns, self._kill_all)

    def _kill_all(self) -> None:
        for place in self._places:
            log.error("%s did not end in time; killing it", place.post.name)
            place.post.kill()

    def look_if_over(self) -> None:
        """Told whenever a transceiver has left."""
        if self.has_begun() and not len(self._places):
            self._on_over()

    def _look(self) -> None:
        if self._looks % SAY_LOOKS == 0:
            log.info("%s", self._progress())
        self._looks += 1
        notify(f"STATUS={self._progress()}", f"EXTEND_TIMEOUT_USEC={EXTENSION_US}")
        self._house.loop.call_after(LOOK_NS, self._look)

    def _progress(self) -> str:
        left_ns = self._deadline.due_ns - time.monotonic_ns() if self._deadline is not None else 0
        if left_ns > 0 and self._kill is None:
            return f"draining: {self._places.calls} calls left, {left_ns // SECOND_NS} s to the deadline"
        return f"stopping: {self._places.calls} calls left"
