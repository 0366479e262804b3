"""A peer gone mad writes anything anywhere: the other end neither crashes nor hangs, and recovers with a successor.

The whole segment is writable for both sides, so "may write" is a promise and not a protection; what protects is that no
end reads twice what its safety depends on. A guard before and behind the ring shows that nothing was written outside.
"""

import os
import random
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from shm.lane import HANDSHAKE_IN, MEDIA_IN, Lane
from shm.ring import RingConsumer, RingProducer
from tests.shm.processes import fork, kill, reaped

CAPACITY = 4096
DATA = 4096  # offset of the first ring's data
RING = 512  # offset of the first ring's header
TAIL, HEAD = RING + 128, RING + 256
LAST = 2**64 - 1

# Values that are nearly right do more harm than plain garbage.
positions = st.one_of(
    st.integers(0, LAST), st.integers(0, 3 * CAPACITY), st.integers(0, CAPACITY // 8).map(lambda n: 8 * n)
)
record_headers = st.builds(
    struct.pack,
    st.just("<IHBB"),
    st.one_of(st.integers(0, 2**32 - 1), st.integers(0, CAPACITY + 9)),
    st.sampled_from([0, 1, 8, 127, 128, 129, 136, 65_535]),
    st.sampled_from([0, 1, 19, 255]),
    st.just(0),
)
data_scribbles = st.lists(st.tuples(st.integers(0, CAPACITY // 8 - 1), record_headers), max_size=6)


def new_lane() -> Lane:
    return Lane.create(0, 0, handshake_in=CAPACITY, media_in=1024, control_out=1024, media_out=1024)


def write_until_taken(producer: RingProducer, consumer: RingConsumer, payload: bytes) -> list[bytes]:
    """A sane pair gets a record through after at most a few turns, whatever the ring looked like."""
    for _ in range(4):
        if producer.write(1, b"", payload):
            producer.publish()
        seen = [record.payload for record in consumer.read(64)]
        consumer.release()
        if payload in seen:
            return seen
    return []


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(positions, data_scribbles), min_size=1, max_size=8), at_most_once=st.booleans())
def test_ring_reader_survives_a_mad_producer(
    steps: list[tuple[int, list[tuple[int, bytes]]]], at_most_once: bool
) -> None:
    with new_lane() as lane, memoryview(lane.segment) as memory:
        consumer = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once)
        for tail, scribbles in steps:
            for place, header in scribbles:
                memory[DATA + 8 * place : DATA + 8 * place + 8] = header
            struct.pack_into("<Q", memory, TAIL, tail)
            for record in consumer.read(64):
                assert len(record.payload) <= CAPACITY // 2
            consumer.release()
            assert consumer.pending() <= CAPACITY
            consumer = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once)
        ring = lane.status()["handshake_in"]
        assert ring["head"] % 8 == 0
        assert ring["malformed"] > 0 or tail <= CAPACITY
        assert write_until_taken(RingProducer(lane.segment, HANDSHAKE_IN), consumer, b"sane again")


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(positions, st.integers(0, 1000)), min_size=1, max_size=8), taken=positions)
def test_ring_writer_survives_a_mad_reader(steps: list[tuple[int, int]], taken: int) -> None:
    with new_lane() as lane, memoryview(lane.segment) as memory:
        guard = bytes(memory[:DATA][RING + 384 :]), bytes(memory[DATA + CAPACITY :])
        producer = RingProducer(lane.segment, HANDSHAKE_IN)
        for head, size in steps:
            struct.pack_into("<4Q", memory, HEAD, head, taken, taken + 1 & LAST, taken)
            for _ in range(20):
                producer.write(1, b"", bytes(size))
            producer.publish()
        assert guard == (bytes(memory[:DATA][RING + 384 :]), bytes(memory[DATA + CAPACITY :]))
        for at_most_once in (True, False):
            consumer = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once)
            assert write_until_taken(RingProducer(lane.segment, HANDSHAKE_IN), consumer, b"sane again")


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(st.sampled_from([TAIL, HEAD]), positions, st.booleans(), st.booleans()), max_size=8),
    last=st.tuples(st.sampled_from([TAIL, HEAD]), positions),
    at_most_once=st.booleans(),
    replaced=st.sampled_from(["producer", "consumer", "nobody"]),
)
def test_ring_end_that_lives_on_repairs_the_words_that_somebody_mad_wrote_over(
    steps: list[tuple[int, int, bool, bool]], last: tuple[int, int], at_most_once: bool, replaced: str
) -> None:
    """The mad one is gone, and the last that it wrote stands there; no more than one end begins anew."""
    with new_lane() as lane, memoryview(lane.segment) as memory:
        producer = RingProducer(lane.segment, HANDSHAKE_IN)
        consumer = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once)
        for word, value, writes, reads in steps:
            struct.pack_into("<Q", memory, word, value)
            if writes and producer.write(1, b"", b"lost, maybe"):
                producer.publish()
            if reads:
                consumer.read(64)
                consumer.release()
        struct.pack_into("<Q", memory, *last)
        if replaced == "producer":
            producer = RingProducer(lane.segment, HANDSHAKE_IN)
        elif replaced == "consumer":
            consumer = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once)
        for _ in range(2 * CAPACITY // 1000):  # twice round, beyond all that either end had looked up before
            assert write_until_taken(producer, consumer, bytes(1000))


def scribble_for_ever(lane: Lane, seed: int) -> None:
    """What the mad process does: garbage, and now and then something that looks good."""
    chance = random.Random(seed)
    memory = memoryview(lane.segment)
    while True:
        place = DATA + 8 * chance.randrange(CAPACITY // 8)
        if chance.random() < 0.5:
            memory[place : place + 8] = chance.randbytes(8)
        else:
            struct.pack_into("<IHBB", memory, place, 128 + 8 * chance.randrange(30), 128, chance.randrange(3), 0)
        tail = chance.choice([chance.getrandbits(64), 8 * chance.randrange(CAPACITY), chance.randrange(CAPACITY)])
        if chance.random() < 0.2:
            struct.pack_into("<Q", memory, TAIL, tail)
        else:  # some bytes further, as a producer would
            (head,) = struct.unpack_from("<Q", memory, HEAD)
            struct.pack_into("<Q", memory, TAIL, head + 8 * chance.randrange(CAPACITY // 8) & LAST)


def test_ring_reader_survives_a_mad_process() -> None:
    """Records change while they are read: sizes that were good when checked are others a moment later."""
    with new_lane() as lane:
        running = [fork(lambda: scribble_for_ever(lane, seed=7))]
        with reaped(running):
            consumer = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once=True)
            read = 0
            while read < 2_000 or lane.status()["handshake_in"]["malformed"] < 2_000:
                records = consumer.read(64)
                assert all(len(record.payload) <= CAPACITY for record in records)
                read += len(records)
                consumer.release()
                os.sched_yield()
            kill(running.pop())
        assert lane.waiting(MEDIA_IN) == 0
        assert write_until_taken(RingProducer(lane.segment, HANDSHAKE_IN), consumer, b"sane again")
