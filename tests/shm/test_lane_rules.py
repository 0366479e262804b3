"""A lane: four rings and three doorbells in one segment, handed over as four descriptors."""

import os

import pytest

from shm.errors import LayoutRefused
from shm.lane import CONTROL, CONTROL_OUT, HANDSHAKE_IN, MEDIA, MEDIA_OUT, RING_NAMES, WORKER, Lane
from shm.ring import RingConsumer, RingProducer
from shm.segment import Segment

SIZES = {"handshake_in": 16_384, "media_in": 65_536, "control_out": 1_024, "media_out": 32_768}


def test_lane_attached_elsewhere_is_the_same_lane() -> None:
    with Lane.create(3, 1, incarnation=42, **SIZES) as made, Lane.attach([os.dup(fd) for fd in made.fds]) as seen:
        assert (seen.transceiver, seen.worker, seen.incarnation) == (3, 1, 42)
        made.incarnation = 43
        assert seen.incarnation == 43
        for which in range(4):
            producer, consumer = RingProducer(made.segment, which), RingConsumer(seen.segment, which)
            producer.write(1, b"", bytes([which]))
            producer.publish()
            assert seen.waiting(which) == 136
            assert consumer.read(2)[0].payload == bytes([which])


def test_lane_rings_share_no_page() -> None:
    with Lane.create(0, 0, **SIZES) as lane:
        assert {name: ring["capacity"] for name, ring in lane.status().items()} == SIZES
        header_and_four_rings = 4096 + 16_384 + 65_536 + 4_096 + 32_768
        assert lane.segment.size == header_and_four_rings
        assert tuple(lane.status()) == RING_NAMES


@pytest.mark.parametrize("capacity", [0, 512, 3_000, 1 << 31])
def test_lane_ring_sizes_are_powers_of_two_in_bounds(capacity: int) -> None:
    with pytest.raises(ValueError, match=r"control_out: .* powers of two from 1024 to"):
        Lane.create(0, 0, **{**SIZES, "control_out": capacity})


def test_lane_shares_the_transceivers_eventfds_and_owns_the_workers() -> None:
    with (
        Lane.create(0, 0, **SIZES) as first,
        Lane.create(0, 1, control_fd=first.control_fd, media_fd=first.media_fd, **SIZES) as second,
    ):
        for which, shared in ((CONTROL, True), (MEDIA, True), (WORKER, False)):
            second.doorbell(which).arm()
            assert second.doorbell(which).ring()
            first.doorbell(which).clear()
            still_rung = _readable(second.fds[1 + which])
            assert still_rung != shared


def _readable(fd: int) -> bool:
    try:
        return bool(os.eventfd_read(fd))
    except BlockingIOError:
        return False


def test_lane_attach_refuses_and_leaves_the_descriptors_to_the_caller() -> None:
    reading, writing = os.pipe()
    blocking = os.eventfd(0)
    with Lane.create(0, 0, **SIZES) as lane, Segment.create(2, 65_536) as flows:
        segment, *bells = lane.fds
        wrong = [
            (lane.fds[:3], "descriptors of a lane: found 3"),
            ([segment, reading, *bells[1:]], "non-blocking eventfds"),
            ([segment, *bells[:2], blocking], "non-blocking eventfds"),
            ([flows.fd, *bells], "segment kind: found 2"),
        ]
        for fds, words in wrong:
            with pytest.raises(LayoutRefused, match=words):
                Lane.attach(fds)
        with Segment.create(1, 1_024) as small, pytest.raises(LayoutRefused, match="lane size in bytes"):
            Lane.attach([small.fd, *bells])
        Lane.attach([os.dup(fd) for fd in lane.fds]).close()
    for fd in (reading, writing, blocking):
        os.close(fd)


def test_lane_closed_gives_back_its_descriptors() -> None:
    before = os.listdir("/proc/self/fd")
    lane = Lane.create(0, 0, **SIZES)
    lane.close()
    lane.close()
    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ValueError, match="an open lane"):
        lane.waiting(HANDSHAKE_IN)
    with pytest.raises(ValueError, match="closed"):
        RingProducer(lane.segment, CONTROL_OUT)


def test_lane_has_four_rings() -> None:
    with Lane.create(0, 0, **SIZES) as lane, pytest.raises(ValueError, match="rings 0 to 3, not 4"):
        lane.waiting(MEDIA_OUT + 1)
