# cython: language_level=3
"""The two ends of a ring for Python: control threads and tests. The ring itself is `ring.pxd`.

`RingProducer.write` copies one record in, `publish` shows what was written; the caller then rings the doorbell, once.
`RingConsumer.read` gives a bounded batch of copies, `release` gives the space back when they are handled: a reader that
dies before gets at-least-once records again, and never sees at-most-once ones again.
"""
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shm.atomics cimport fault_point
from shm.layout cimport RINGLINE_RINGS, RINGLINE_SEGMENT_LANE, flow_key, lane_header, record
from shm.ring cimport (
    record_payload,
    ring,
    ring_claim,
    ring_commit,
    ring_next,
    ring_open_consumer,
    ring_open_producer,
    ring_pending,
    ring_publish,
    ring_release,
    ring_take,
)
from shm.segment cimport Segment

NO_FLOW = 0xFFFFFFFF


cdef class Record:
    """A copy of one record; fields as in struct record."""

    cdef readonly uint8_t type
    cdef readonly uint8_t hop_count
    cdef readonly uint16_t flags
    cdef readonly uint16_t worker
    cdef readonly uint32_t flow_index
    cdef readonly uint32_t flow_generation
    cdef readonly uint32_t slot
    cdef readonly uint16_t generation
    cdef readonly uint64_t incarnation
    cdef readonly uint64_t origin
    cdef readonly uint64_t receive_time_ns
    cdef readonly uint64_t not_before_ns
    cdef readonly uint64_t drop_after_ns
    cdef readonly uint64_t connection
    cdef readonly uint16_t origin_machine
    cdef readonly uint16_t segment_size
    cdef readonly uint8_t traffic_class
    cdef readonly uint8_t address_state
    cdef readonly bytes key
    cdef readonly bytes payload

    def __repr__(self):
        return (
            f"Record(type={self.type}, slot={self.slot}, generation={self.generation}, origin={self.origin:#x}, "
            f"payload={len(self.payload)} bytes)"
        )


cdef Record copy_record(const record *x, const uint8_t *payload, uint32_t payload_size):
    cdef Record copy = Record.__new__(Record)
    copy.type = x.type
    copy.hop_count = x.hop_count
    copy.flags = x.flags
    copy.worker = x.worker
    copy.flow_index = x.flow_index
    copy.flow_generation = x.flow_generation
    copy.slot = x.slot
    copy.generation = x.generation
    copy.incarnation = x.incarnation
    copy.origin = x.origin
    copy.receive_time_ns = x.receive_time_ns
    copy.not_before_ns = x.not_before_ns
    copy.drop_after_ns = x.drop_after_ns
    copy.connection = x.connection
    copy.origin_machine = x.origin_machine
    copy.segment_size = x.segment_size
    copy.traffic_class = x.traffic_class
    copy.address_state = x.address_state
    copy.key = PyBytes_FromStringAndSize(<const char *>&x.key, sizeof(flow_key))
    copy.payload = PyBytes_FromStringAndSize(<const char *>payload, payload_size)
    return copy


cdef int check_lane(Segment segment, int which) except -1:
    if segment.kind != RINGLINE_SEGMENT_LANE or segment.size < sizeof(lane_header):
        raise ValueError("rings are in lanes; this segment is something else")
    if not 0 <= which < RINGLINE_RINGS:
        raise ValueError(f"a lane has the rings 0 to {RINGLINE_RINGS - 1}, not {which}")
    segment.hold()
    return 0


cdef class RingProducer:
    """The one producer of ring `which` of a lane's segment. A successor goes on where its predecessor published."""

    cdef ring _ring
    cdef Segment _segment

    def __init__(self, Segment segment not None, int which):
        check_lane(segment, which)
        self._segment = segment
        if ring_open_producer(&self._ring, segment.base, segment.size, &(<lane_header *>segment.base).rings[which]) < 0:
            raise ValueError(f"ring {which}: capacity or place makes no sense")

    def __dealloc__(self):
        if self._segment is not None:
            self._segment.let_go()

    def write(
        self, uint8_t type, const uint8_t[::1] key not None, const uint8_t[::1] payload not None, *,
        uint32_t slot=0, uint16_t generation=0, uint64_t origin=0, uint64_t incarnation=0, uint16_t flags=0,
        uint8_t address_state=0, uint16_t worker=0, uint8_t traffic_class=0, uint32_t flow_index=NO_FLOW,
        uint32_t flow_generation=0, uint64_t receive_time_ns=0,
    ):
        """Add one record; `key` is 48 bytes or none. False: the ring is full (counted), nothing was written."""
        cdef record *x
        if key.shape[0] not in (0, sizeof(flow_key)):
            raise ValueError(f"a flow key has {sizeof(flow_key)} bytes, not {key.shape[0]}")
        if <uint64_t>payload.shape[0] > self._ring.capacity:
            payload_too_long = f"{payload.shape[0]} bytes never fit a ring of {self._ring.capacity}"
            raise ValueError(payload_too_long)
        x = ring_claim(&self._ring, <uint32_t>payload.shape[0])
        if x == NULL:
            return False
        fault_point()
        x.type = type
        x.flags = flags
        x.worker = worker
        x.flow_index = flow_index
        x.flow_generation = flow_generation
        x.slot = slot
        x.generation = generation
        x.incarnation = incarnation
        x.origin = origin
        x.receive_time_ns = receive_time_ns
        x.traffic_class = traffic_class
        x.address_state = address_state
        if key.shape[0]:
            memcpy(&x.key, &key[0], sizeof(flow_key))
        if payload.shape[0]:
            memcpy(record_payload(x), &payload[0], payload.shape[0])
        ring_commit(&self._ring)
        return True

    @property
    def handle(self):
        """Where the native handle is, for code that cimports this package and keeps this object alive meanwhile."""
        return <size_t>&self._ring

    def publish(self):
        """Show all that was written since the last time, at once. Ring the doorbell afterwards."""
        ring_publish(&self._ring)


cdef class RingConsumer:
    """The one consumer of ring `which` of a lane's segment.

    `at_most_once`: what a predecessor had read is given up (counted in `lost`); else it is read again from `head`.
    """

    cdef ring _ring
    cdef Segment _segment

    def __init__(self, Segment segment not None, int which, bint at_most_once=False):
        cdef lane_header *header
        check_lane(segment, which)
        self._segment = segment
        header = <lane_header *>segment.base
        if ring_open_consumer(&self._ring, segment.base, segment.size, &header.rings[which], at_most_once) < 0:
            raise ValueError(f"ring {which}: capacity or place makes no sense")

    def __dealloc__(self):
        if self._segment is not None:
            self._segment.let_go()

    def read(self, int max):
        """Up to `max` records, oldest first. At most once: they count as handled from now on."""
        cdef list records = []
        cdef record *x
        while len(records) < max:
            x = ring_next(&self._ring)
            if x == NULL:
                break
            records.append(copy_record(x, self._ring.payload, self._ring.payload_size))
        if self._ring.at_most_once:
            ring_take(&self._ring)
        return records

    @property
    def handle(self):
        """As RingProducer.handle."""
        return <size_t>&self._ring

    def copy(self, size_t header, size_t payload, uint32_t payload_size):
        """The record that native code had from `ring_next` of `handle`, and what it found there as payload."""
        return copy_record(<const record *>header, <const uint8_t *>payload, payload_size)

    def release(self):
        """All that was read is handled: give its space back to the producer."""
        ring_release(&self._ring)

    def pending(self):
        """Bytes waiting; the look after arming a doorbell."""
        return ring_pending(&self._ring)
