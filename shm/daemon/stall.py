"""Which process is stuck: it has work and its loop does not turn (DESIGN 2.8).

Used by both supervisors, one StallWatch a process, once a tick. A worker that sleeps with nothing to do is not stuck,
and neither is one whose heartbeat we failed to look at because this process itself was held up.
"""

from collections.abc import Callable


class StallWatch:
    """Adds up the time during which the heartbeat stood still while work was waiting."""

    def __init__(self, stuck_after_ns: int, tick_ns: int) -> None:
        self._stuck_after_ns = stuck_after_ns
        # After a suspend or a stop of the supervisor one look may come late; it counts no more than two ticks.
        self._longest_step_ns = 2 * tick_ns
        self._heartbeat: int | None = None
        self._looked_ns = 0
        self._stalled_ns = 0

    def observe(self, heartbeat: int, work_waits: Callable[[], bool], now: int) -> bool:
        """Look once; True when the worker is to be killed. `work_waits` is asked only while the heartbeat stands."""
        step = min(max(now - self._looked_ns, 0), self._longest_step_ns)
        self._looked_ns = now
        if heartbeat != self._heartbeat or not work_waits():
            self._heartbeat = heartbeat
            self._stalled_ns = 0
            return False
        self._stalled_ns += step
        return self._stalled_ns >= self._stuck_after_ns
