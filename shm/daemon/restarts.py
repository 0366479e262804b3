"""When a dead child's successor may start: at once, unless it dies again and again.

Used by post.py, one RestartBackoff a post. A single crash must cost less than 50 ms (DESIGN 6); a crash loop,
which forks a process each time, must not eat the machine.
"""

from collections import deque

# A fork costs a few ms of CPU. With the default burst of 5 in 10 s a child that dies at once is started about once a
# second in the long run, since old deaths leave the window: a hundredth of one CPU.
FIRST_DELAY_NS = 50_000_000
LONGEST_DELAY_NS = 5_000_000_000


class RestartBackoff:
    """Counts a child's deaths within a sliding window."""

    def __init__(self, burst: int, window_ns: int) -> None:
        self._burst = burst
        self._window_ns = window_ns
        self._deaths: deque[int] = deque(maxlen=burst + 64)

    def configure(self, burst: int, window_ns: int) -> None:
        """Other limits from now on; deaths that were booked stay booked."""
        self._burst = burst
        self._window_ns = window_ns
        self._deaths = deque(self._deaths, maxlen=burst + 64)

    def delay_after_death(self, now: int) -> int:
        """Book a death at `now`; nanoseconds to wait before the successor starts.

        0 for the first `burst` deaths of any window; then doubling with each further one.
        """
        while self._deaths and self._deaths[0] <= now - self._window_ns:
            self._deaths.popleft()
        self._deaths.append(now)
        beyond = len(self._deaths) - self._burst
        if beyond <= 0:
            return 0
        return int(min(FIRST_DELAY_NS << min(beyond - 1, 16), LONGEST_DELAY_NS))
