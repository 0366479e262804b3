"""The loop: fair over lanes, counted, woken by its doorbells (DESIGN 1, 2.6, 2.9)."""

import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shm.counters import Counters
from shm.doorbell import MEDIA, WORKER, Doorbell
from shm.lane import Lane
from shm.ring import RingConsumer, RingProducer
from tests.media.world import GCM_128, INCARNATION, MEDIA_IN, MEDIA_OUT, Client, World
from transceiverd.media.channel import Channel
from transceiverd.media.engine import MediaEngine
from transceiverd.media.outcomes import COUNTER_NAMES, OUTCOME_NAMES
from transceiverd.media.port import Installed


@contextmanager
def running(world: World) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=world.engine.run)
    thread.start()
    try:
        yield thread
    finally:
        world.engine.stop()
        thread.join(10)
        assert not thread.is_alive()


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 10)[0])


def test_engine_outcomes_are_the_first_counters_without_a_gap() -> None:
    assert OUTCOME_NAMES[0] == "echoed"
    assert OUTCOME_NAMES[-1] == "dropped_protect"
    assert COUNTER_NAMES[0] == "received"
    assert COUNTER_NAMES[-1] == "lost_wakeups"
    assert all(
        name in ("absorbed", "rtcp_processed", "echoed") or name.startswith("dropped_") for name in OUTCOME_NAMES
    )


def test_engine_a_turn_takes_a_batch_of_every_lane() -> None:
    world, client = World(lanes=3, batch=16), Client(GCM_128)
    slot = world.call(client)
    for lane in range(3):
        for _ in range(40):
            world.give(slot, client.packet(), lane=lane)
    world.turn()
    assert [len(world.sent(lane)) for lane in range(3)] == [16, 16, 16]
    world.turn()
    world.turn()
    assert world.turn() == 0
    assert world.count("received") == 120 == world.count("echoed")


def test_engine_time_that_goes_back_is_ignored() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.echo(slot, client.packet())
    world.now -= 500
    assert len(world.echo(slot, client.packet())) == 1
    assert world.sessions.record(slot).media.last_received_ns == world.now + 500


def test_engine_beats_its_counter_segment_every_turn() -> None:
    world = World()
    before = world.counters.segment.heartbeat
    world.turn()
    world.turn()
    assert world.counters.segment.heartbeat == before + 2
    assert world.counters.segment.heartbeat_ns == world.now
    assert world.counters.batch_in_hand == 0


def test_engine_rings_a_sleeping_worker_once_a_batch() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    bell = Doorbell(world.lanes[0].segment, WORKER, world.lanes[0].worker_fd)
    bell.arm()
    before = world.count("doorbells")
    for _ in range(10):
        world.give(slot, client.packet())
    world.turn()
    assert readable(bell.fd)
    assert world.count("doorbells") <= before + 2  # the worker, and control for the proven address


def test_engine_refuses_segments_that_do_not_fit() -> None:
    world = World()
    with pytest.raises(ValueError, match="COUNTER_NAMES"):
        MediaEngine(
            world.sessions.segment,
            [],
            Counters.create(["one"], 0, 1),
            Channel(),
            incarnation=1,
            ntp_offset_ns=0,
            seed=1,
        )
    with pytest.raises(ValueError, match="session segment"):
        MediaEngine(world.lanes[0].segment, [], world.counters, Channel(), incarnation=1, ntp_offset_ns=0, seed=1)


def test_engine_thread_sleeps_is_woken_and_stops() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client, installed=False)
    bell = Doorbell(world.lanes[0].segment, MEDIA, world.lanes[0].media_fd)
    back = Doorbell(world.lanes[0].segment, WORKER, world.lanes[0].worker_fd)
    world.now = time.monotonic_ns()
    with running(world):
        world.port.install(slot)
        assert readable(world.port.event_fd)
        assert world.port.poll_events() == [Installed(slot, world.sessions.record(slot).generation)]
        for _ in range(50):
            back.arm()
            world.give(slot, client.packet())
            bell.ring()
            assert readable(back.fd)
            back.clear()
            back.disarm()
            (data,) = world.sent()
            client.heard(data)
    assert world.count("echoed") == 50
    assert world.count("lost_wakeups") == 0
    assert world.count("sleeps") > 0


def test_engine_uses_a_lane_added_while_it_runs() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    lane = Lane.create(
        0, 1, handshake_in=4096, media_in=1 << 16, control_out=4096, media_out=1 << 16, media_fd=world.lanes[0].media_fd
    )
    producer = RingProducer(lane.segment, MEDIA_IN)
    world.port.add_lane(lane)
    world.turn()
    producer.write(
        3,
        bytes(48),
        client.packet(),
        slot=slot,
        generation=world.sessions.record(slot).generation,
        incarnation=INCARNATION,
    )
    producer.publish()
    world.turn()
    assert world.count("received") == 1


def test_engine_a_successor_goes_on_with_what_was_not_taken_up() -> None:
    """DESIGN 2.6; what was taken up and not booked is given up by the ring itself (shm/ring.pxd)."""
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    packets = [client.packet() for _ in range(3)]
    world.echo(slot, packets[0])
    for data in packets[1:]:
        world.give(slot, data)
    successor = MediaEngine(
        world.sessions.segment, world.lanes, world.counters, Channel(), incarnation=INCARNATION, ntp_offset_ns=0, seed=1
    )
    before = world.count("received")
    successor.turn(world.now)
    assert world.count("received") == before + 2


def test_engine_started_without_lanes_is_woken_by_those_that_come() -> None:
    """How a transceiver starts: its lanes come once relayd is there."""
    world, client = World(lanes=0), Client(GCM_128)
    slot = world.call(client, installed=False)
    with running(world):
        lane = Lane.create(0, 0, handshake_in=4096, media_in=1 << 16, control_out=4096, media_out=1 << 16)
        world.lanes.append(lane)
        world.workers_in.append(RingProducer(lane.segment, MEDIA_IN))
        world.workers_out.append(RingConsumer(lane.segment, MEDIA_OUT))
        own, back = lane.doorbell(MEDIA), lane.doorbell(WORKER)
        world.port.add_lane(lane)
        world.port.install(slot)
        assert readable(world.port.event_fd)
        assert isinstance(world.port.poll_events()[0], Installed)
        for _ in range(20):
            back.arm()
            world.give(slot, client.packet(), receive_time_ns=time.monotonic_ns())
            own.ring()
            assert readable(back.fd)
            back.clear()
            assert len(world.sent()) == 1
    assert world.count("lost_wakeups") == 0
