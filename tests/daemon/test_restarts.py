"""A dead child's successor starts at once, unless it dies again and again."""

from shm.daemon.restarts import FIRST_DELAY_NS, LONGEST_DELAY_NS, RestartBackoff

SECOND = 1_000_000_000


def test_restarts_first_deaths_are_answered_at_once() -> None:
    backoff = RestartBackoff(burst=5, window_ns=10 * SECOND)
    assert [backoff.delay_after_death(now) for now in range(5)] == [0] * 5


def test_restarts_delay_doubles_beyond_the_burst_up_to_a_bound() -> None:
    backoff = RestartBackoff(burst=2, window_ns=1000 * SECOND)
    delays = [backoff.delay_after_death(now) for now in range(40)]
    assert delays[:5] == [0, 0, FIRST_DELAY_NS, 2 * FIRST_DELAY_NS, 4 * FIRST_DELAY_NS]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_NS


def test_restarts_old_deaths_are_forgotten() -> None:
    backoff = RestartBackoff(burst=1, window_ns=10 * SECOND)
    assert backoff.delay_after_death(0) == 0
    assert backoff.delay_after_death(SECOND) > 0
    assert backoff.delay_after_death(12 * SECOND) == 0


def test_restarts_loop_is_slow_in_the_long_run() -> None:
    """A worker that dies the moment it starts is started about once a second, not a thousand times."""
    backoff = RestartBackoff(burst=5, window_ns=10 * SECOND)
    now = starts = 0
    while now < 600 * SECOND:
        now += backoff.delay_after_death(now) + 1_000_000
        starts += 1
    assert starts < 900
