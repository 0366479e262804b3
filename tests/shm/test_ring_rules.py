"""What each end of a ring promises, one rule a test; the state machine beside this file mixes them."""

import struct
from collections.abc import Iterator

import pytest

from shm.lane import HANDSHAKE_IN, MEDIA_IN, Lane
from shm.ring import NO_FLOW, RingConsumer, RingProducer
from shm.segment import Segment

CAPACITY = 2048
HEADER = 128
RINGS_OFFSET = 512  # of struct lane_header.rings


@pytest.fixture
def lane() -> Iterator[Lane]:
    with Lane.create(0, 0, handshake_in=CAPACITY, media_in=1024, control_out=1024, media_out=1024) as lane:
        yield lane


def words(lane: Lane) -> dict[str, int]:
    return lane.status()["handshake_in"]


def test_ring_record_keeps_every_field(lane: Lane) -> None:
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    key = bytes(range(48))
    fields = {
        "slot": 2**32 - 1,
        "generation": 65_535,
        "origin": 2**64 - 1,
        "incarnation": 2**63,
        "flags": 7,
        "address_state": 2,
        "worker": 513,
        "traffic_class": 3,
        "flow_index": 9,
        "flow_generation": 10,
        "receive_time_ns": 11,
    }
    assert producer.write(18, key, b"payload", **fields)
    producer.publish()
    (record,) = consumer.read(1)
    assert {name: getattr(record, name) for name in fields} == fields
    assert (record.type, record.key, record.payload) == (18, key, b"payload")
    reserved = ("hop_count", "not_before_ns", "drop_after_ns", "connection", "origin_machine", "segment_size")
    assert [getattr(record, name) for name in reserved] == [0] * len(reserved)


def test_ring_record_without_key_and_flow_says_so(lane: Lane) -> None:
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    assert producer.write(1, b"", b"")
    producer.publish()
    (record,) = consumer.read(1)
    assert (record.key, record.payload, record.flow_index) == (bytes(48), b"", NO_FLOW)
    with pytest.raises(ValueError, match="48 bytes, not 47"):
        producer.write(1, bytes(47), b"")


def test_ring_shows_a_batch_at_once_and_only_when_published(lane: Lane) -> None:
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    for number in range(3):
        producer.write(1, b"", bytes([number]))
    assert consumer.pending() == 0
    assert consumer.read(9) == []
    producer.publish()
    assert [record.payload for record in consumer.read(2)] == [b"\0", b"\1"], "a batch is bounded by its reader"
    assert [record.payload for record in consumer.read(2)] == [b"\2"]


def test_ring_full_refuses_counts_and_takes_again_after_release(lane: Lane) -> None:
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    fitting = CAPACITY // (HEADER + 128)
    assert [producer.write(1, b"", bytes(128)) for _ in range(fitting + 2)] == [True] * fitting + [False] * 2
    producer.publish()
    assert words(lane)["full"] == 2
    consumer.read(1)
    assert not producer.write(1, b"", bytes(128)), "read is not released"
    consumer.release()
    assert not producer.write(1, b"", bytes(129)), "8 bytes more than were released"
    assert producer.write(1, b"", bytes(128))


def test_ring_refuses_what_might_never_fit(lane: Lane) -> None:
    """More than half of the ring fits an empty ring at some positions and not at others: refused at all."""
    producer = RingProducer(lane.segment, HANDSHAKE_IN)
    assert not producer.write(1, b"", bytes(CAPACITY // 2 - HEADER + 1))
    assert producer.write(1, b"", bytes(CAPACITY // 2 - HEADER))
    with pytest.raises(ValueError, match="never fit"):
        producer.write(1, b"", bytes(CAPACITY + 1))


def test_ring_reader_skips_a_record_header_that_grew(lane: Lane) -> None:
    """A later minor may append fields to the record header: the payload is where the writer's header ends."""
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    producer.write(1, b"", b"12345678payload")
    data = memoryview(lane.segment)
    struct.pack_into("<H", data, 4096 + 4, HEADER + 8)
    producer.publish()
    assert consumer.read(1)[0].payload == b"payload"


@pytest.mark.parametrize("at_most_once", [False, True])
def test_ring_successor_resumes_by_its_rule(lane: Lane, at_most_once: bool) -> None:
    producer = RingProducer(lane.segment, HANDSHAKE_IN)
    first = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once)
    for number in range(5):
        producer.write(1, b"", bytes([number]))
    producer.publish()
    first.read(2)
    first.release()
    first.read(2)
    second = RingConsumer(lane.segment, HANDSHAKE_IN, at_most_once)
    seen = [record.payload[0] for record in second.read(9)]
    assert seen == ([4] if at_most_once else [2, 3, 4])
    assert words(lane)["lost"] == (2 if at_most_once else 0)


def test_ring_poison_is_skipped_for_good(lane: Lane) -> None:
    """Once, a reader skipped the poison inside a batch and died before it released the batch: `head` was still before
    the poison, `handling` beyond it, and the next reader was given the poison again."""
    producer = RingProducer(lane.segment, HANDSHAKE_IN)
    for number in range(3):
        producer.write(1, b"", bytes([number]))
    producer.publish()
    poison = 1

    def reader_that_dies(most: int) -> list[int]:
        consumer = RingConsumer(lane.segment, HANDSHAKE_IN)
        seen = []
        while len(seen) < most and (records := consumer.read(1)):
            seen.append(records[0].payload[0])
            if seen[-1] == poison:
                break
        return seen

    assert reader_that_dies(3) == [0, poison]
    assert reader_that_dies(3) == [0, poison]
    assert reader_that_dies(3) == [0], "the batch ends before the poison"
    survivor = RingConsumer(lane.segment, HANDSHAKE_IN)
    assert [record.payload[0] for record in survivor.read(9)] == [0]
    survivor.release()
    assert [record.payload[0] for record in survivor.read(9)] == [2]
    assert words(lane)["lost"] == 1
    last = RingConsumer(lane.segment, HANDSHAKE_IN)
    assert [record.payload[0] for record in last.read(9)] == [2], "the poison does not come back"


def test_ring_successor_of_a_producer_forgets_what_was_not_published(lane: Lane) -> None:
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    producer.write(1, b"", b"shown")
    producer.publish()
    producer.write(1, b"", b"never shown")
    successor = RingProducer(lane.segment, HANDSHAKE_IN)
    successor.write(1, b"", b"next")
    successor.publish()
    assert [record.payload for record in consumer.read(9)] == [b"shown", b"next"]


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (0, 0),
        (0, 1000),
        (0, 512),
        (0, 1 << 40),
        (0, 1 << 63),
        (8, 4097),
        (8, 1 << 20),
        (8, (1 << 64) - 1024),
    ],
)
def test_ring_whose_place_makes_no_sense_is_refused(lane: Lane, offset: int, value: int) -> None:
    """Capacity and place are read once, at open, against the bytes that are really mapped."""
    struct.pack_into("<Q", memoryview(lane.segment), RINGS_OFFSET + offset, value)
    for end in (RingProducer, RingConsumer):
        with pytest.raises(ValueError, match="capacity or place makes no sense"):
            end(lane.segment, HANDSHAKE_IN)


def test_ring_exists_only_in_a_lane(lane: Lane) -> None:
    with pytest.raises(ValueError, match="not 4"):
        RingProducer(lane.segment, 4)
    with Segment.create(2, 65_536) as flows, pytest.raises(ValueError, match="rings are in lanes"):
        RingConsumer(flows, MEDIA_IN)


def test_ring_end_survives_the_closing_of_its_segment() -> None:
    lane = Lane.create(0, 0, handshake_in=CAPACITY, media_in=1024, control_out=1024, media_out=1024)
    producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
    lane.close()
    producer.write(1, b"", b"still mapped")
    producer.publish()
    assert consumer.read(1)[0].payload == b"still mapped"
