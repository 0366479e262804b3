# cython: language_level=3
"""The two rings between a transceiver's control thread and its media thread, in private memory."""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from shm.doorbell cimport doorbell
from shm.layout cimport flow_key, ring_header
from shm.ring cimport ring

from transceiverd.media.state cimport media_thread

# Record types, above RINGLINE_RECORD_COMMAND (layout.h).
cdef enum:
    COMMAND_INSTALL = 32
    COMMAND_REMOVE = 33
    COMMAND_REBUILD = 34
    COMMAND_LANES = 35           # `slot` is how many lanes there are now
    EVENT_SRTP_PROVEN = 48
    EVENT_BYE_RECEIVED = 49
    EVENT_INSTALLED = 50
    EVENT_REMOVED = 51           # with a payload: the sealed BYE, and `key` is where it goes
    EVENT_REBUILT = 52
    EVENT_INSTALL_REFUSED = 53   # it does not fit; the contexts were not taken
    EVENT_REBUILD_REFUSED = 54   # likewise; the old ones stay in use

# Payload of a command.
cdef struct command:
    void *inbound                # srtp_t; the control thread keeps its owner alive until media has let go of it
    void *outbound
    uint64_t rtcp_index          # highest SRTCP index that `outbound` has used
    uint16_t profile             # IANA number
    uint8_t bye                  # remove: seal a BYE and hand it over
    uint8_t stream_count
    uint32_t streams[8]          # rebuild: SSRCs for which `inbound` has a stream of its own

# Media side. False: the ring is full. The caller publishes at the end of its turn.
cdef bint send_event(media_thread *m, int kind, uint32_t slot, uint16_t generation, const flow_key *key) noexcept nogil
# Likewise REMOVED, with `size` bytes of a sealed BYE for `key`; 0: without one.
cdef bint send_removed(
    media_thread *m, uint32_t slot, uint16_t generation, const flow_key *key, const uint8_t *bye, uint32_t size
) noexcept nogil


cdef class Channel:
    cdef char *memory
    cdef ring commands           # producer: control
    cdef ring events             # consumer: control
    cdef doorbell commands_bell  # rung by control
    cdef doorbell events_bell    # armed by control
    cdef readonly int event_fd   # readable when there may be events
    cdef readonly int command_fd # the media thread sleeps on it

    cdef ring_header *_header(self, int which) noexcept
    cdef void _bell(self, doorbell *bell, int which, int fd) noexcept
    # Give the media thread its ends. Both threads then use only their own.
    cdef int open_media(self, media_thread *m) except -1
