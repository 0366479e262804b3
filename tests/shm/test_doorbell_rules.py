"""A doorbell wakes a sleeper, costs nothing otherwise, and never blocks. Lost wake-ups: test_ring_hammer.py."""

import os
import select
from collections.abc import Iterator

import pytest

from shm.doorbell import CONTROL, MEDIA, WORKER, Doorbell
from shm.lane import Lane
from shm.segment import Segment


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane.create(0, 0, handshake_in=1024, media_in=1024, control_out=1024, media_out=1024) as lane:
        yield lane


def rung(bell: Doorbell) -> bool:
    return bool(select.select([bell.fd], [], [], 0)[0])


@pytest.mark.parametrize("which", [CONTROL, MEDIA, WORKER])
def test_doorbell_rings_only_for_a_sleeper(lane: Lane, which: int) -> None:
    consumer, producer = lane.doorbell(which), lane.doorbell(which)
    assert not producer.ring()
    assert not rung(consumer)
    consumer.arm()
    assert producer.armed
    assert producer.ring()
    assert rung(consumer)
    consumer.clear()
    consumer.disarm()
    assert not rung(consumer)
    assert not producer.ring()


def test_doorbells_of_a_lane_are_three(lane: Lane) -> None:
    bells = [lane.doorbell(which) for which in (CONTROL, MEDIA, WORKER)]
    bells[MEDIA].arm()
    assert [bell.ring() for bell in bells] == [False, True, False]
    assert [rung(bell) for bell in bells] == [False, True, False]
    with pytest.raises(ValueError, match="doorbells 0 to 2, not 3"):
        Doorbell(lane.segment, 3, lane.worker_fd)
    with Segment.create(2, 4096) as flows, pytest.raises(ValueError, match="doorbells"):
        Doorbell(flows, 0, lane.worker_fd)


def test_doorbell_of_a_dead_sleeper_never_blocks_the_producer(lane: Lane) -> None:
    """Nobody takes the rings out any more, and the eventfd is as full as it gets."""
    lane.doorbell(WORKER).arm()
    os.eventfd_write(lane.worker_fd, 2**64 - 2)
    producer = lane.doorbell(WORKER)
    assert all(producer.ring() for _ in range(3))


def test_doorbell_clear_of_a_silent_bell_returns(lane: Lane) -> None:
    lane.doorbell(CONTROL).clear()
