"""kill -9 before every single store of a publish, and of a read: nothing torn, nothing wedged, the rule of loss kept.

A test build puts a fault point before each store (tests/shm/fault_point.h). A child is killed at the first, at the
second, and so on until one run survives; after each kill a successor goes on with the same ring.
"""

import pytest

from shm.lane import HANDSHAKE_IN, Lane
from shm.ring import RingConsumer, RingProducer
from tests.shm.native_build import fault_harness
from tests.shm.processes import KILLED, fork, reap, shared_bytes, shared_words

BATCH = 4
SURVIVED = 0


def new_lane() -> Lane:
    return Lane.create(0, 0, handshake_in=2048, media_in=1024, control_out=1024, media_out=1024)


def advance(lane: Lane, position: int) -> None:
    """Bring an empty ring to `position`, so that the next batch meets the end of the ring somewhere else."""
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    while lane.status()["handshake_in"]["tail"] < position:
        assert producer.write(1, b"", b"12345678")
        producer.publish()
        consumer.read(1)
        consumer.release()


def killed_at(store: int, work: object) -> bool:
    """Run `work` in a child that dies at its `store`-th store; False when it has fewer."""
    harness = fault_harness()

    def child() -> None:
        harness.fault_arm(store)
        work()  # type: ignore[operator]

    status = reap(fork(child))
    assert status in (KILLED, SURVIVED)
    return status == KILLED


def read_life(lane: Lane, life: int, acted: memoryview, board: memoryview) -> list[int]:
    """Read all there is in this process, checked for tearing, gaps and half batches; the indexes of `life` seen."""
    harness = fault_harness()
    harness.consume_batches(lane, HANDSHAKE_IN, False, 64, board, acted, BATCH)
    words = harness.BOARD
    assert [board[words[name]] for name in ("torn", "gaps", "halves")] == [0, 0, 0]
    return [index for index in range(BATCH) if acted[life * BATCH + index]]


@pytest.mark.parametrize("position", [0, 1360, 1768])
def test_ring_producer_killed_at_every_store(position: int) -> None:
    harness = fault_harness()
    kills = 0
    for store in range(1, 1000):
        lane = new_lane()
        advance(lane, position)
        board, acted = shared_words(harness.BOARD_WORDS), shared_bytes(3 * BATCH)
        died = killed_at(store, lambda lane=lane: harness.publish_batch(lane, HANDSHAKE_IN, 1, 0, BATCH))
        seen = read_life(lane, 1, acted, board)
        assert seen in ([], list(range(BATCH))), "a batch is seen whole or not at all"
        assert harness.publish_batch(lane, HANDSHAKE_IN, 2, 0, BATCH), "a successor goes on"
        assert read_life(lane, 2, acted, board) == list(range(BATCH))
        assert lane.status()["handshake_in"]["malformed"] == 0
        lane.close()
        if not died:
            assert seen, "the run that survives shows its batch"
            break
        kills += 1
    assert kills > 4 * BATCH


@pytest.mark.parametrize("at_most_once", [False, True])
@pytest.mark.parametrize("position", [0, 1360])
def test_ring_consumer_killed_at_every_store(at_most_once: bool, position: int) -> None:
    harness = fault_harness()
    kills = 0
    for store in range(1, 1000):
        lane = new_lane()
        advance(lane, position)
        board, acted = shared_words(harness.BOARD_WORDS), shared_bytes(2 * BATCH)
        harness.publish_batch(lane, HANDSHAKE_IN, 1, 0, BATCH)

        def consume(lane: Lane = lane, board: memoryview = board, acted: memoryview = acted) -> None:
            harness.consume_batches(lane, HANDSHAKE_IN, at_most_once, 3, board, acted, BATCH)

        died = killed_at(store, consume)
        consume()
        ring = lane.status()["handshake_in"]
        counts = list(acted[BATCH:])
        if at_most_once:
            assert max(counts) <= 1, "nothing is acted upon twice"
            assert counts.count(0) <= ring["lost"] <= 3, "at most the batch in hand is lost, and it is booked"
        else:
            assert min(counts) >= 1, "nothing is lost"
            assert ring["lost"] == 0
        assert (ring["waiting"], ring["malformed"], board[harness.BOARD["torn"]]) == (0, 0, 0)
        lane.close()
        if not died:
            assert counts == [1] * BATCH
            break
        kills += 1
    assert kills > 2 * BATCH


@pytest.mark.parametrize("at_most_once", [False, True])
def test_ring_successor_killed_at_every_store(at_most_once: bool) -> None:
    """The successor of a dead reader dies too, anywhere, also while it is still booking what the first one lost."""
    harness = fault_harness()
    for store in range(1, 1000):
        lane = new_lane()
        board, acted = shared_words(harness.BOARD_WORDS), shared_bytes(2 * BATCH)
        harness.publish_batch(lane, HANDSHAKE_IN, 1, 0, BATCH)

        def consume(lane: Lane = lane, board: memoryview = board, acted: memoryview = acted) -> None:
            harness.consume_batches(lane, HANDSHAKE_IN, at_most_once, 3, board, acted, BATCH)

        assert killed_at(5, consume), "the first reader always dies inside its batch"
        died = killed_at(store, consume)
        consume()
        ring = lane.status()["handshake_in"]
        counts = list(acted[BATCH:])
        if at_most_once:
            assert max(counts) <= 1
            assert counts.count(0) <= ring["lost"]
        else:
            assert counts.count(0) <= ring["lost"] <= 1, "two deaths on the same record make it poison"
        assert (ring["waiting"], ring["malformed"], board[harness.BOARD["torn"]]) == (0, 0, 0)
        lane.close()
        if not died:
            break
    assert store > 2 * BATCH


def test_ring_poison_record_is_tried_twice_then_skipped() -> None:
    """An at-least-once record that kills its reader must not kill every successor for ever."""
    harness = fault_harness()
    lane = new_lane()
    acted = shared_bytes(2 * BATCH)
    board = shared_words(harness.BOARD_WORDS)
    harness.publish_batch(lane, HANDSHAKE_IN, 1, 0, BATCH)

    def consume() -> None:
        harness.consume_batches(lane, HANDSHAKE_IN, False, 64, board, acted, BATCH, poison=2)

    for attempts in (0, 1):
        assert reap(fork(consume)) == KILLED
        assert lane.status()["handshake_in"]["attempts"] == attempts
    assert reap(fork(consume)) == SURVIVED
    assert list(acted[:BATCH]) == [3, 3, 0, 1]
    assert lane.status()["handshake_in"]["lost"] == 1
    assert lane.waiting(HANDSHAKE_IN) == 0
    lane.close()


def test_ring_innocent_record_survives_one_death() -> None:
    """A reader killed from outside while a record was in work: the record is tried again, and the count starts anew."""
    harness = fault_harness()
    lane = new_lane()
    acted = shared_bytes(2 * BATCH)
    board = shared_words(harness.BOARD_WORDS)
    harness.publish_batch(lane, HANDSHAKE_IN, 1, 0, BATCH)
    dies_on_2 = fork(lambda: harness.consume_batches(lane, HANDSHAKE_IN, False, 64, board, acted, BATCH, poison=2))
    assert reap(dies_on_2) == KILLED
    dies_on_3 = fork(lambda: harness.consume_batches(lane, HANDSHAKE_IN, False, 64, board, acted, BATCH, poison=3))
    assert reap(dies_on_3) == KILLED
    assert lane.status()["handshake_in"]["attempts"] == 0, "record 3 has not been tried again yet"
    harness.consume_batches(lane, HANDSHAKE_IN, False, 64, board, acted, BATCH)
    assert lane.status()["handshake_in"]["lost"] == 0
    lane.close()
