"""For any record what is written is what is read; for any bytes over it a record, or one more counted as malformed.

The ring against a deque, mad peers and deaths at every store are in tests/shm; this is about what one record says.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import examples
from fuzz.strategies.ring import FIELDS, KEYS, PAYLOADS, TYPES
from shm.lane import HANDSHAKE_IN, Lane
from shm.ring import RingConsumer, RingProducer

CAPACITY = 1024
DATA = 4096  # of the first ring, in its segment
HEADER = 512


def new_lane() -> Lane:
    """Small rings: records wrap."""
    return Lane.create(0, 0, handshake_in=CAPACITY, media_in=CAPACITY, control_out=CAPACITY, media_out=CAPACITY)


@examples(80)
@given(records=st.lists(st.tuples(TYPES, KEYS, PAYLOADS, FIELDS), min_size=1, max_size=12))
def test_ring_record_reads_as_written(records: list[tuple[int, bytes, bytes, dict[str, int]]]) -> None:
    with new_lane() as lane:
        producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
        for kind, key, payload, fields in records:
            assert producer.write(kind, key, payload, **fields)
            producer.publish()
            (found,) = consumer.read(8)
            assert (found.type, found.key, found.payload) == (kind, key, payload)
            assert {name: getattr(found, name) for name in fields} == fields
            consumer.release()


@examples(80)
@given(
    record=st.tuples(TYPES, KEYS, PAYLOADS, FIELDS),
    places=st.dictionaries(st.integers(0, 400), st.integers(0, 255), min_size=1, max_size=6),
)
def test_ring_record_scribbled_over(record: tuple[int, bytes, bytes, dict[str, int]], places: dict[int, int]) -> None:
    kind, key, payload, fields = record
    with new_lane() as lane, memoryview(lane.segment) as memory:
        producer, consumer = RingProducer(lane.segment, HANDSHAKE_IN), RingConsumer(lane.segment, HANDSHAKE_IN)
        assert producer.write(kind, key, payload, **fields)
        producer.publish()
        for place, value in places.items():
            memory[DATA + place] = value
        found: list[Any] = consumer.read(8)
        consumer.release()
        assert len(found) <= 1 or sum(len(each.payload) for each in found) < CAPACITY
        malformed = int.from_bytes(memory[HEADER + 296 : HEADER + 304], "little")  # struct ring_header.malformed
        assert found or malformed or all(place in places for place in (0, 6)) or memory[DATA + 6] == 0
