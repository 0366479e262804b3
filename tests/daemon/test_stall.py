"""A worker is stuck when its loop does not turn while work waits, and only then."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from shm.daemon.cpu_use import CpuUse, cpu_use
from shm.daemon.stall import StallWatch
from tests.daemons import wait_for

MILLISECOND = 1_000_000


def watch() -> StallWatch:
    return StallWatch(stuck_after_ns=1000 * MILLISECOND, tick_ns=125 * MILLISECOND)


def work() -> bool:
    return True


def no_work() -> bool:
    return False


def ticks_until_stuck(beat: Callable[[int], int], waits: Callable[[], bool], ticks: int = 40) -> int | None:
    """The first tick at which the watch says so."""
    stall = watch()
    for tick in range(ticks):
        if stall.observe(beat(tick), waits, (tick + 1000) * 125 * MILLISECOND):
            return tick
    return None


def test_stall_worker_without_turns_and_with_work_is_stuck_after_its_time() -> None:
    assert ticks_until_stuck(lambda _tick: 7, work) == 8


def test_stall_idle_worker_is_never_stuck() -> None:
    assert ticks_until_stuck(lambda _tick: 7, no_work) is None


def test_stall_turning_worker_is_never_stuck() -> None:
    assert ticks_until_stuck(lambda tick: tick, work) is None


def test_stall_slow_turns_count_as_turns() -> None:
    assert ticks_until_stuck(lambda tick: tick // 6, work) is None


def test_stall_work_that_comes_late_starts_the_time() -> None:
    stall = watch()
    looks = [stall.observe(7, no_work if tick < 20 else work, tick * 125 * MILLISECOND) for tick in range(40)]
    assert looks.index(True) == 27


def test_stall_supervisor_held_up_itself_kills_nobody() -> None:
    """The story: the machine was suspended for an hour; every heartbeat looks an hour old at the first look after."""
    stall = watch()
    stall.observe(7, work, 0)
    assert not stall.observe(7, work, 3600 * 1000 * MILLISECOND)
    assert not stall.observe(8, work, 3600 * 1000 * MILLISECOND + 125 * MILLISECOND)


def test_stall_time_that_goes_back_is_ignored() -> None:
    stall = watch()
    stall.observe(7, work, 10**12)
    assert not stall.observe(7, work, 5)


class _Thread:
    """One that is asked for its share of the CPUs."""

    def __init__(self, *, runnable: bool, share: float) -> None:
        self._runnable = runnable
        self._share = share
        self._looks = 0

    def __call__(self) -> CpuUse:
        self._looks += 1
        return CpuUse(self._runnable, 10**9 + int(self._looks * 125 * MILLISECOND * self._share))


def looks_until_stuck(thread: _Thread, looks: int = 200) -> int | None:
    stall = watch()
    return next(
        (tick for tick in range(looks) if stall.observe(7, work, (1000 + tick) * 125 * MILLISECOND, thread)), None
    )


def test_stall_loop_that_waits_for_a_cpu_is_starved_and_not_stuck() -> None:
    """The story: on a machine at load 11 a worker got no CPU for a second, and was replaced, as if that helped."""
    assert looks_until_stuck(_Thread(runnable=True, share=0.01), 200) is None


def test_stall_loop_that_spins_has_had_enough_when_it_ran_so_long() -> None:
    assert looks_until_stuck(_Thread(runnable=True, share=1.0)) == 8
    assert looks_until_stuck(_Thread(runnable=True, share=0.25)) == 1 + 7 * 4


def test_stall_loop_that_is_stopped_or_asleep_is_charged_in_full() -> None:
    assert looks_until_stuck(_Thread(runnable=False, share=0.0)) == 8


def test_stall_thread_that_cannot_be_looked_at_is_charged_in_full() -> None:
    stall = watch()
    assert [stall.observe(7, work, (1000 + tick) * 125 * MILLISECOND, lambda: None) for tick in range(9)].index(
        True
    ) == 8


def test_cpu_use_tells_a_stopped_process_from_one_that_runs_and_its_threads_by_name() -> None:
    program = (
        "import threading, time\n"
        "from shm.daemon.process import name_process\n"
        "threading.Thread(target=lambda: (name_process('naps'), print('up', flush=True), time.sleep(60))).start()\n"
        "while True: pass\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            before = cpu_use(child.pid)
            assert before is not None
            wait_for(lambda: (now := cpu_use(child.pid)) and now.runnable and now.ran_ns > before.ran_ns, "it runs")
            naps = cpu_use(child.pid, "naps")
            wait_for(lambda: (now := cpu_use(child.pid, "naps")) and not now.runnable, "its thread sleeps")
            assert naps is not None
            assert cpu_use(child.pid, "no such thread") is None
            os.kill(child.pid, signal.SIGSTOP)
            wait_for(lambda: (now := cpu_use(child.pid)) and not now.runnable, "it is stopped")
        finally:
            child.kill()
    assert cpu_use(child.pid) is None
