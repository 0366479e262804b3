# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""The loops of `python -m bench.rings`, each as the worker or the media thread runs it. Compiled for a run only.

Times are CLOCK_MONOTONIC, one read before and one after a loop; what `across` and `arrivals` share lies in a lane.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from relayd.headers cimport binding_request_ufrag, packet_kind
from relayd.keyring cimport Keyring, verify_ufrag
from shm.doorbell cimport doorbell, doorbell_arm, doorbell_clear, doorbell_disarm, doorbell_ring
from shm.flows cimport FlowTable, flow_hash, flow_lookup, flow_publish, flow_route
from shm.lane cimport Lane
from shm.layout cimport (
    RINGLINE_ADDRESS_PROVEN,
    RINGLINE_RECORD_PUBLISH,
    RINGLINE_RECORD_SEND,
    RINGLINE_RING_MEDIA_IN,
    flow_entry,
    flow_key,
    record,
)
from shm.ring cimport (
    record_payload,
    ring,
    ring_claim,
    ring_commit,
    ring_next,
    ring_pending,
    ring_publish,
    ring_release,
    ring_take,
)

cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *fds, unsigned long count, int timeout)
    short POLLIN

cdef enum:
    MEDIA_BELL = 1
    ALARM_MS = 20


cdef uint64_t now() noexcept nogil:
    cdef timespec at
    clock_gettime(CLOCK_MONOTONIC, &at)
    return <uint64_t>at.tv_sec * 1_000_000_000 + <uint64_t>at.tv_nsec


cdef int produce(ring *r, int batch, uint32_t size, uint64_t at) noexcept nogil:
    """Up to a batch, then shown; gives how many there was room for."""
    cdef int i, made = 0
    cdef record *x
    for i in range(batch):
        x = ring_claim(r, size)
        if x == NULL:
            break
        x.type = RINGLINE_RECORD_SEND
        x.receive_time_ns = at
        memset(record_payload(x), 0xA5, size)
        ring_commit(r)
        made += 1
    ring_publish(r)
    return made


cdef int consume(ring *r, int batch) noexcept nogil:
    """Up to a batch, every payload touched."""
    cdef int found = 0
    cdef uint8_t seen = 0
    while found < batch and ring_next(r) != NULL:
        seen |= r.payload[0]
        found += 1
    if found:
        ring_take(r)
        ring_release(r)
    return found if seen or not found else -1


def same_core(Lane lane, int batch, uint32_t size, int count):
    """ns of a message that one thread puts in and takes out."""
    cdef ring into, out
    cdef int done = 0
    cdef uint64_t start
    lane.open_producer(RINGLINE_RING_MEDIA_IN, &into)
    lane.open_consumer(RINGLINE_RING_MEDIA_IN, &out, True)
    with nogil:
        start = now()
        while done < count:
            done += produce(&into, batch, size, 0)
            while consume(&out, batch):
                pass
        start = now() - start
    return <double>start / done


def fill(Lane lane, int batch, uint32_t size, int count):
    """The producer of `across`: as fast as there is room; gives ns of a message."""
    cdef ring into
    cdef int done = 0
    cdef uint64_t start
    lane.open_producer(RINGLINE_RING_MEDIA_IN, &into)
    with nogil:
        start = now()
        while done < count:
            done += produce(&into, min(batch, count - done), size, 0)
        while ring_pending(&into):
            pass
        start = now() - start
    return <double>start / count


def empty(Lane lane, int batch, int count):
    """The consumer of `across`, another process: never sleeps."""
    cdef ring out
    cdef int done = 0
    lane.open_consumer(RINGLINE_RING_MEDIA_IN, &out, True)
    with nogil:
        while done < count:
            done += consume(&out, batch)


def tick(Lane lane, uint32_t size, int count, uint64_t gap_ns):
    """One message every `gap_ns`, stamped, the bell rung: the sender of `arrivals`."""
    cdef ring into
    cdef doorbell bell
    cdef int i
    cdef uint64_t at = now()
    lane.open_producer(RINGLINE_RING_MEDIA_IN, &into)
    lane.open_doorbell(MEDIA_BELL, &bell)
    with nogil:
        for i in range(count):
            at += gap_ns
            while now() < at:
                pass
            produce(&into, 1, size, now())
            doorbell_ring(&bell)


def arrivals(Lane lane, int count, bint spin):
    """How long each message was under way, ns: looking all the time, or asleep on the doorbell as the threads are."""
    cdef ring out
    cdef doorbell bell
    cdef pollfd end
    cdef record *x
    cdef uint64_t at, took
    found = []
    lane.open_consumer(RINGLINE_RING_MEDIA_IN, &out, True)
    lane.open_doorbell(MEDIA_BELL, &bell)
    end.fd = bell.fd
    end.events = POLLIN
    while len(found) < count:
        with nogil:
            x = ring_next(&out)
            while x == NULL:
                if not spin:
                    doorbell_arm(&bell)
                    if not ring_pending(&out):
                        end.revents = 0
                        poll(&end, 1, ALARM_MS)
                        if end.revents:
                            doorbell_clear(&bell)
                    doorbell_disarm(&bell)
                x = ring_next(&out)
            at = now()
            took = at - x.receive_time_ns
            ring_take(&out)
            ring_release(&out)
        found.append(took)
    return found


cdef void key_of(flow_key *key, uint32_t number) noexcept nogil:
    memset(key, 0, sizeof(flow_key))
    key.client_address[10] = key.client_address[11] = 0xFF
    key.client_address[12] = 127
    key.client_address[13] = number >> 16
    key.client_address[14] = (number >> 8) & 0xFF
    key.client_address[15] = number & 0xFF
    key.client_port, key.local_port = 40000, 3478
    key.transport = 1


def publish(FlowTable table, uint32_t flows, uint64_t incarnation):
    """ns of a publish record applied to a table that fills; all flows once."""
    cdef record x
    cdef uint32_t i
    cdef uint64_t start, current[256]
    memset(&x, 0, sizeof(x))
    memset(current, 0, sizeof(current))
    current[0] = x.incarnation = incarnation
    x.type, x.address_state = RINGLINE_RECORD_PUBLISH, RINGLINE_ADDRESS_PROVEN
    with nogil:
        start = now()
        for i in range(flows):
            key_of(&x.key, i)
            x.slot, x.origin, x.generation = i, <uint64_t>i << 16 | 1, 1
            flow_publish(&table.table, &x, 0, 1, current)
        start = now() - start
    return <double>start / flows


def look_up(FlowTable table, uint32_t flows, uint64_t incarnation, uint32_t from_number, int count):
    """ns of a look-up with its routing, in an order that no cache foresees; and the share found."""
    cdef flow_key key
    cdef flow_entry *entry
    cdef uint64_t start, current[256]
    cdef uint32_t place = 1
    cdef int i, found = 0
    memset(current, 0, sizeof(current))
    current[0] = incarnation
    with nogil:
        start = now()
        for i in range(count):
            place = place * 1664525 + 1013904223
            key_of(&key, from_number + (place >> 8) % flows)
            entry = flow_lookup(&table.table, &key)
            if entry != NULL and flow_route(entry, 1, current):
                found += 1
        start = now() - start
    return <double>start / count, found / count


def verify(Keyring keys, bytes ufrag, int count):
    """ns of a ufrag's tag verified."""
    cdef const uint8_t *text = ufrag
    cdef uint64_t origin = 0, start
    cdef int i, bad = 0
    with nogil:
        start = now()
        for i in range(count):
            bad += verify_ufrag(&keys.native, text, &origin) != 0
        start = now() - start
    assert not bad
    return <double>start / count


def parse(bytes packet, int count):
    """ns of a Binding request's headers as the worker reads them; gives the ufrag's place too."""
    cdef const uint8_t *data = packet
    cdef Py_ssize_t size = len(packet)
    cdef uint64_t start
    cdef int i, sum_of_places = 0, place = binding_request_ufrag(data, size)
    with nogil:
        start = now()
        for i in range(count):
            if packet_kind(data, size) == 1:
                sum_of_places += binding_request_ufrag(data, size)
        start = now() - start
    assert place > 0 and sum_of_places == <int>(count * place)
    return <double>start / count, place
