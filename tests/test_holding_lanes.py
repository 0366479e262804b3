"""A transceiver's lanes are made all or none: whoever tries again after a failure makes, and hands out, every one."""

import os
import resource
from collections.abc import Iterator

import pytest

from shm.segment import SUPPORTED_MAJORS
from transceiverd.config import TransceiverSection
from transceiverd.holding import Holding

LAYOUT = max(SUPPORTED_MAJORS)
CONFIG = TransceiverSection(slots=1)


@pytest.fixture
def holding() -> Iterator[Holding]:
    made = Holding.make(0, CONFIG)
    yield made
    made.close()


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_holding_lanes_that_cannot_all_be_made_are_all_made_the_next_time(holding: Holding) -> None:
    """relayd attaches while descriptors run out: the lane to worker 0 was made, the next was not. The next attach found
    the first one there, so its transceiver was never given it, and every call by that worker failed."""
    before = _open_descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
    spare = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest + 1 - before)]  # fills the gaps below
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare, default=highest) + 1 + 6, hard))  # a lane has four
    try:
        with pytest.raises(OSError, match="Too many open files"):
            holding.add_lanes(3, CONFIG, LAYOUT)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in spare:
            os.close(fd)
    assert holding.lanes == {}
    assert _open_descriptors() == before
    assert holding.add_lanes(3, CONFIG, LAYOUT) == [0, 1, 2]
    assert sorted(holding.lanes) == [0, 1, 2]
