# cython: language_level=3
"""The command ring and the event ring between a transceiver's control and media threads (DESIGN 1).

The same rings and doorbells as the lanes' (shm/ring.pxd, shm/doorbell.pxd), in private memory: both threads live and
die together. Control sends commands and polls events under the GIL; the media thread is the other end without it. Each
command that was taken is answered by exactly one event (the lane count by none), and the media thread takes none while
the event ring has no room.

The contexts travel by address. Their Python owners are port.py's; what it must keep alive, and how long, stands there.
"""
import os

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport close

from shm.doorbell cimport doorbell_arm, doorbell_clear, doorbell_disarm, doorbell_ring
from shm.layout cimport doorbell_word, record, ring_header
from shm.ring cimport (
    record_payload,
    ring_claim,
    ring_commit,
    ring_format,
    ring_next,
    ring_open_consumer,
    ring_open_producer,
    ring_pending,
    ring_publish,
    ring_release,
)

from transceiverd.media.outcomes cimport EVENTS_FULL
from transceiverd.media.srtp cimport SrtpContext
from transceiverd.media.state cimport count

COMMANDS_SIZE = 1 << 16  # bytes, about 320 commands; port.py keeps what does not fit
EVENTS_SIZE = 1 << 18    # bytes, about 2,000 events

cdef enum:
    HEADERS_SIZE = 2 * (384 + 128)

INSTALL = COMMAND_INSTALL
REMOVE = COMMAND_REMOVE
REBUILD = COMMAND_REBUILD
LANES = COMMAND_LANES
SRTP_PROVEN = EVENT_SRTP_PROVEN
BYE_RECEIVED = EVENT_BYE_RECEIVED
INSTALLED = EVENT_INSTALLED
REMOVED = EVENT_REMOVED
REBUILT = EVENT_REBUILT
INSTALL_REFUSED = EVENT_INSTALL_REFUSED
REBUILD_REFUSED = EVENT_REBUILD_REFUSED


cdef record *_claim_event(
    media_thread *m, int kind, uint32_t slot, uint16_t generation, const flow_key *key, uint32_t size
) noexcept nogil:
    cdef record *x = ring_claim(&m.events, size)
    if x == NULL:
        count(m, EVENTS_FULL, 1)
        return NULL
    x.type = <uint8_t>kind
    x.slot = slot
    x.generation = generation
    if key != NULL:
        x.key = key[0]
    return x


cdef bint _commit_event(media_thread *m) noexcept nogil:
    ring_commit(&m.events)
    m.events_dirty = True
    return True


cdef bint send_event(media_thread *m, int kind, uint32_t slot, uint16_t generation, const flow_key *key) noexcept nogil:
    return _claim_event(m, kind, slot, generation, key, 0) != NULL and _commit_event(m)


cdef bint send_removed(
    media_thread *m, uint32_t slot, uint16_t generation, const flow_key *key, const uint8_t *bye, uint32_t size
) noexcept nogil:
    cdef record *x = _claim_event(m, EVENT_REMOVED, slot, generation, key if size else NULL, size)
    if x == NULL:
        return False
    memcpy(record_payload(x), bye, size)
    return _commit_event(m)


cdef class Channel:
    """Both rings, and control's ends of them."""

    def __cinit__(self):
        self.event_fd = self.command_fd = -1
        cdef uint64_t size = HEADERS_SIZE + <uint64_t>COMMANDS_SIZE + <uint64_t>EVENTS_SIZE
        self.memory = <char *>calloc(1, size)
        if self.memory == NULL:
            raise MemoryError
        ring_format(self._header(0), HEADERS_SIZE, COMMANDS_SIZE)
        ring_format(self._header(1), HEADERS_SIZE + <uint64_t>COMMANDS_SIZE, EVENTS_SIZE)
        self.command_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        ring_open_producer(&self.commands, self.memory, size, self._header(0))
        ring_open_consumer(&self.events, self.memory, size, self._header(1), True)
        self._bell(&self.commands_bell, 0, self.command_fd)
        self._bell(&self.events_bell, 1, self.event_fd)
        doorbell_arm(&self.events_bell)

    def __dealloc__(self):
        free(self.memory)
        for fd in (self.event_fd, self.command_fd):
            if fd >= 0:
                close(fd)  # not os.close: at the interpreter's end there is no `os` any more

    cdef ring_header *_header(self, int which) noexcept:
        return <ring_header *>(self.memory + which * 512)

    cdef void _bell(self, doorbell *bell, int which, int fd) noexcept:
        bell.word = <doorbell_word *>(self.memory + which * 512 + 384)
        bell.fd = fd

    cdef int open_media(self, media_thread *m) except -1:
        cdef uint64_t size = HEADERS_SIZE + <uint64_t>COMMANDS_SIZE + <uint64_t>EVENTS_SIZE
        ring_open_consumer(&m.commands, self.memory, size, self._header(0), True)
        ring_open_producer(&m.events, self.memory, size, self._header(1))
        m.commands_bell = self.commands_bell
        m.events_bell = self.events_bell
        return 0

    def send(self, kind, slot, generation, SrtpContext inbound=None, SrtpContext outbound=None, bye=False):
        """Put one command and ring. False: the ring is full, say it again later."""
        cdef record *x = ring_claim(&self.commands, sizeof(command))
        cdef command payload
        if x == NULL:
            return False
        memset(&payload, 0, sizeof(payload))
        payload.bye = bool(bye)
        if inbound is not None and outbound is not None:
            payload.inbound = inbound.context
            payload.outbound = outbound.context
            payload.rtcp_index = outbound.rtcp_index
            payload.profile = outbound.profile
            payload.stream_count = len(inbound.streams)
            for place, ssrc in enumerate(inbound.streams):
                payload.streams[<int>place] = ssrc
        x.type = kind
        x.slot = slot
        x.generation = generation
        memcpy(record_payload(x), &payload, sizeof(payload))
        ring_commit(&self.commands)
        ring_publish(&self.commands)
        doorbell_ring(&self.commands_bell)
        return True

    def poll(self, max=256):
        """At most `max` events: (kind, slot, generation, key, payload); arms the doorbell when there are no more."""
        cdef record *x
        events = []
        doorbell_disarm(&self.events_bell)
        while len(events) < max:
            x = ring_next(&self.events)
            if x == NULL:
                break
            key = PyBytes_FromStringAndSize(<char *>&x.key, sizeof(x.key))
            payload = PyBytes_FromStringAndSize(<char *>self.events.payload, self.events.payload_size)
            events.append((x.type, x.slot, x.generation, key, payload))
        ring_release(&self.events)
        doorbell_clear(&self.events_bell)
        doorbell_arm(&self.events_bell)
        if ring_pending(&self.events):
            os.eventfd_write(self.event_fd, 1)  # more than `max`, or one that came before we armed
        return events
