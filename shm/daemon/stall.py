"""Which process is stuck: it has work and its loop does not turn (DESIGN 2.8).

Used by both supervisors, one StallWatch a process, once a tick. A worker that sleeps with nothing to do is not stuck,
and neither is one whose heartbeat we failed to look at because this process itself was held up.

Nor is one that would go on if it only got a CPU: on a machine that others fill it may wait for seconds, and a successor
would wait as long. So while a loop is runnable it is charged with the time that it ran, not with the time that passed:
one that spins has had enough as soon on an idle machine, and one that is stopped or asleep is charged in full.
"""

from collections.abc import Callable

from shm.daemon.cpu_use import CpuUse


class StallWatch:
    """Adds up the time during which the heartbeat stood still while work was waiting."""

    def __init__(self, stuck_after_ns: int, tick_ns: int) -> None:
        self._stuck_after_ns = stuck_after_ns
        # After a suspend or a stop of the supervisor one look may come late; it counts no more than two ticks.
        self._longest_step_ns = 2 * tick_ns
        self._heartbeat: int | None = None
        self._looked_ns = 0
        self._stalled_ns = 0
        self._ran_ns: int | None = None

    def observe(
        self,
        heartbeat: int,
        work_waits: Callable[[], bool],
        now: int,
        use: Callable[[], CpuUse | None] = lambda: None,
    ) -> bool:
        """Look once; True when the worker is to be killed. `work_waits`, and `use` of the loop's
        thread, are asked only while the heartbeat stands."""
        step = min(max(now - self._looked_ns, 0), self._longest_step_ns)
        self._looked_ns = now
        if heartbeat != self._heartbeat or not work_waits():
            self._heartbeat = heartbeat
            self._stalled_ns = 0
            self._ran_ns = None
            return False
        self._stalled_ns += self._charge(step, use())
        return self._stalled_ns >= self._stuck_after_ns

    def _charge(self, step: int, used: CpuUse | None) -> int:
        before, self._ran_ns = self._ran_ns, None if used is None else used.ran_ns
        if used is None or before is None or not used.runnable:
            return step
        return min(step, used.ran_ns - before)
