"""How many set-ups a second, and who comes again when."""

from collections import Counter

import pytest

from transceiverd.signalling import pace
from transceiverd.signalling.pace import AddressPaces, Pace, SetupPaces
from transceiverd.signalling.router import LimitReached


def test_pace_burst_passes_then_the_rate() -> None:
    paced = Pace(10, 5)
    assert [paced.take(100.0) for _ in range(5)] == [0] * 5
    assert paced.take(100.0) == 1
    assert paced.take(100.2) == 0, "a fifth of a second brings two"
    assert paced.take(100.2) == 0
    assert paced.take(100.2) > 0
    assert [paced.take(200.0) for _ in range(6)].count(0) == 5, "a pause fills the burst, and no more"


def test_pace_storm_of_a_thousand_is_over_within_ten_seconds() -> None:
    """1,000 callers redial in one moment and obey Retry-After: nobody comes in vain for long."""
    paced = Pace(200, 200)
    waiting = {0.0: 1000}
    attempts, last = 0, 0.0
    while waiting:
        now = min(waiting)
        told: Counter[int] = Counter()
        for _ in range(waiting.pop(now)):
            attempts += 1
            told[paced.take(now)] += 1
        for seconds, callers in told.items():
            if seconds:
                waiting[now + seconds] = waiting.get(now + seconds, 0) + callers
        last = now
    assert last <= 5
    assert attempts <= 1000 + 800, "each that was refused had to come once more only"


def test_pace_promises_are_spread_and_bounded() -> None:
    paced = Pace(10, 1)
    paced.take(0.0)
    told = Counter(paced.take(0.5) for _ in range(1000))
    assert all(told[second] == 10 for second in range(1, pace.WAIT_SECONDS_MAX))
    assert max(told) == pace.WAIT_SECONDS_MAX
    assert paced.take(29.0 + 100) == 0


def test_pace_time_that_goes_back_gives_nothing() -> None:
    paced = Pace(10, 1)
    assert paced.take(100.0) == 0
    assert paced.take(0.0) > 0
    assert paced.take(100.01) > 0


def test_pace_remembers_a_bounded_number_of_addresses() -> None:
    paces = AddressPaces(1, 1)
    for n in range(3 * pace.ADDRESSES_MAX):
        paces.take(str(n), 1.0)
    assert len(paces) == pace.ADDRESSES_MAX
    assert paces.take(str(3 * pace.ADDRESSES_MAX - 1), 1.0) == 1, "the latest are remembered"


def test_pace_one_address_cannot_take_everybodys_turns() -> None:
    paces = SetupPaces(10, 10, 2, 3)
    for _ in range(3):
        paces.admit("192.0.2.1", 0.0)
    for _ in range(100):
        with pytest.raises(LimitReached) as refused:
            paces.admit("192.0.2.1", 0.0)
        assert refused.value.code == "too_many_setups_from_address"
    for n in range(7):
        paces.admit(f"198.51.100.{n}", 0.0)
    with pytest.raises(LimitReached) as refused:
        paces.admit("198.51.100.99", 0.0)
    assert refused.value.code == "too_many_setups"
    assert refused.value.retry_after >= 1
    paces.refund()
    paces.admit("198.51.100.98", 0.0)
