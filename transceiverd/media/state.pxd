# cython: language_level=3
"""The media thread's private memory: what is not in the session segment and need not outlive the process.

`media_thread` is passed to every leaf of this folder; `call` exists once for each installed slot and is made and freed
by the media thread alone. Anything that decides over indexes, mapping or statistics stands in `struct session`
instead.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from shm.counters cimport counter_add, counters
from shm.doorbell cimport doorbell
from shm.layout cimport (
    RINGLINE_SESSION_STRIDE,
    RINGLINE_SESSIONS_OFFSET,
    record,
    session,
)
from shm.ring cimport ring
from shm.session_addresses cimport session_addresses

cdef enum:
    ADDRESSES = 4                # of a call, as in layout.h
    STREAMS = 8                  # client SSRCs of a call, as in layout.h
    LANES_MAX = 256              # relay workers at most (relayd/config.py)
    PACKET_MAX = 2048            # bytes; more than any datagram that a path carries to us unfragmented
    PACKET_TAIL = 64             # bytes behind a packet for tag and SRTCP index
    EARLY_PACKETS = 8            # kept for a call before its keys come (DESIGN 2.5)
    APPLICATION_ECHO = 1         # session.application
    SECOND = 1_000_000_000       # ns

# What a record and its bytes look like while they wait for their call's keys.
cdef struct early_packet:
    record header
    uint32_t lane
    uint32_t size
    uint8_t data[1500]           # an Ethernet's MTU: what is longer is dropped, as over the bound

cdef struct early_call:
    uint32_t slot
    uint16_t generation
    uint16_t count               # packets kept; 0: the block is free
    uint64_t since_ns            # the first was put aside
    early_packet packets[8]

cdef struct call:
    session *session
    void *inbound                # srtp_t
    void *outbound               # srtp_t
    uint32_t slot
    uint16_t generation
    uint16_t tag                 # bytes that protection adds to RTP
    bint tag_last                # SRTCP: index before the tag (CM), else tag before the index (GCM)
    uint32_t lane                # replies and reports leave by it: where the last authentic packet came in
    uint64_t rtcp_index          # highest SRTCP index that `outbound` has used
    uint64_t contended_ns        # the last event for an address in dispute
    int32_t heap_place           # in the timer heap; -1: none
    int32_t latest               # place of the address that the last authentic packet came from; -1: none
    uint32_t latest_id
    uint32_t nominated_id        # id of the address that was nominated when we last looked; 0: none
    uint64_t heard_ns[4]         # by place: the last authentic packet from there, or its nomination
    session_addresses addresses  # our copy; its sequence is odd as long as there was none
    uint32_t announced[4]        # address ids for which control was told

# One end of a lane: the two media rings and the doorbells on either side.
cdef struct lane_end:
    ring incoming
    ring outgoing
    doorbell own                 # armed by us
    doorbell worker              # rung by us
    uint16_t worker_index
    bint dirty                   # committed since the last publish
    uint64_t served              # records taken; placement.pyx compares
    uint64_t served_before       # at its last look

cdef struct timer_entry:
    uint64_t due_ns
    uint32_t slot

cdef struct media_thread:
    uint64_t now                 # of this turn
    char *sessions               # base of the session segment
    counters *counters
    uint64_t incarnation
    uint64_t ntp_offset_ns       # NTP time - monotonic time
    uint64_t report_interval_ns
    uint64_t early_time_ns
    uint64_t random              # xorshift64; spreads reports and first numbers, protects nothing
    uint32_t slots
    uint32_t lane_count
    uint32_t next_lane           # where the next turn starts: no lane is always first
    uint32_t early_blocks
    uint32_t early_used
    uint32_t batch
    lane_end *lanes              # LANES_MAX places
    call **calls                 # by slot; NULL: not installed
    early_call *early
    timer_entry *heap
    uint32_t heap_size
    ring commands                # consumer
    doorbell commands_bell       # armed by us
    ring events                  # producer
    doorbell events_bell         # rung by us
    bint events_dirty
    uint8_t *packet              # PACKET_MAX + PACKET_TAIL, aligned: a packet while it is worked on
    uint8_t *report              # likewise, for what we send ourselves


cdef inline void count(media_thread *m, int place, uint64_t n) noexcept nogil:
    counter_add(m.counters, <uint64_t>place, n)


cdef inline session *session_of(media_thread *m, uint32_t slot) noexcept nogil:
    """The caller has checked the slot against `slots`."""
    return <session *>(m.sessions + RINGLINE_SESSIONS_OFFSET + <uint64_t>slot * RINGLINE_SESSION_STRIDE)


cdef inline uint64_t to_units(uint64_t elapsed_ns, uint32_t clock_rate) noexcept nogil:
    """Nanoseconds in units of an RTP clock; whole seconds apart, so that years do not overflow."""
    return elapsed_ns // SECOND * clock_rate + elapsed_ns % SECOND * clock_rate // SECOND


cdef inline uint64_t random_below(media_thread *m, uint64_t bound) noexcept nogil:
    m.random ^= m.random << 13
    m.random ^= m.random >> 7
    m.random ^= m.random << 17
    return m.random % bound
