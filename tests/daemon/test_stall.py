"""A worker is stuck when its loop does not turn while work waits, and only then."""

from collections.abc import Callable

from shm.daemon.stall import StallWatch

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
