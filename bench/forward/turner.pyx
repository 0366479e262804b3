# cython: language_level=3
"""The minimal turner: every record of a lane's media ring goes straight back. What a transceiver costs without SRTP."""
from libc.string cimport memcpy

from shm.doorbell cimport doorbell, doorbell_arm, doorbell_clear, doorbell_disarm, doorbell_ring
from shm.lane cimport Lane
from shm.layout cimport RINGLINE_RECORD_SEND, RINGLINE_RING_MEDIA_IN, RINGLINE_RING_MEDIA_OUT, record
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
    BATCH = 64


cdef int turn(ring *incoming, ring *outgoing) noexcept nogil:
    """One batch, as the media thread does it: taken, turned, given back."""
    cdef record *batch[BATCH]
    cdef unsigned char *payloads[BATCH]
    cdef unsigned int sizes[BATCH]
    cdef int count = 0, i
    cdef record *x
    while count < BATCH:
        batch[count] = ring_next(incoming)
        if batch[count] == NULL:
            break
        payloads[count] = incoming.payload
        sizes[count] = incoming.payload_size
        count += 1
    if count == 0:
        return 0
    ring_take(incoming)
    for i in range(count):
        x = ring_claim(outgoing, sizes[i])
        if x == NULL:
            continue
        x.type = RINGLINE_RECORD_SEND
        x.worker = batch[i].worker
        x.flow_index = 0xFFFFFFFF
        x.slot = batch[i].slot
        x.generation = batch[i].generation
        x.incarnation = batch[i].incarnation
        x.origin = batch[i].origin
        x.origin_machine = batch[i].origin_machine
        x.key = batch[i].key
        memcpy(record_payload(x), payloads[i], sizes[i])
        ring_commit(outgoing)
    ring_release(incoming)
    ring_publish(outgoing)
    return count


def run(Lane lane):
    """For ever."""
    cdef ring incoming, outgoing
    cdef doorbell own, worker
    cdef pollfd end
    lane.open_consumer(RINGLINE_RING_MEDIA_IN, &incoming, True)
    lane.open_producer(RINGLINE_RING_MEDIA_OUT, &outgoing)
    lane.open_doorbell(1, &own)
    lane.open_doorbell(2, &worker)
    end.fd = own.fd
    end.events = POLLIN
    with nogil:
        while True:
            if turn(&incoming, &outgoing):
                doorbell_ring(&worker)
                continue
            doorbell_arm(&own)
            if not ring_pending(&incoming):
                end.revents = 0
                poll(&end, 1, 20)
                if end.revents:
                    doorbell_clear(&own)
            doorbell_disarm(&own)
