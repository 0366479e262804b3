# cython: language_level=3
"""The flow table (DESIGN 2.3, 2.4): which call an address belongs to, as worker k knows it.

Operations: look up a flow by its key; publish (create, refresh, contend, replace); withdraw. Goals: one writer without
a lock; a look-up touches at most two buckets; a writer killed between any two stores leaves every entry absent or
whole. Plan: fixed buckets of RINGLINE_FLOW_BUCKET entries, two candidates for each key by SipHash-1-3 under a random
key, a new flow goes into the emptier one; no relocation, so that an entry's address and index never change while it
lives; `valid` last. README.md argues each store.

Called by relay worker k (the writer) and, read only, by status. All functions here run without the GIL, never allocate.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from shm.layout cimport (
    RINGLINE_ADDRESS_PROVEN,
    flow_entry,
    flow_key,
    flow_owner,
    flow_table_header,
    record,
)
from shm.segment cimport Segment


cdef enum flow_outcome:
    # What a publish did. Up to FLOW_CONTENDER_DROPPED it took effect, and a publish-and-send may be sent.
    FLOW_APPLIED = 0            # a new entry, or the same call now held by another process
    FLOW_REFRESHED = 1          # the owner published again; its address state may have risen
    FLOW_REPLACED_DEAD = 2      # the entry of a dead owner was taken over (of this address, or the place of another)
    FLOW_CONTENDING = 3         # a live call of another origin owns the address: the publisher is its contender
    FLOW_CONTENDER_WON = 4      # the publisher proved itself and took the flow from a live call
    FLOW_CONTENDER_DROPPED = 5  # the owner proved itself; its contender is gone
    FLOW_REFUSED_CONTENDED = 6  # the owner lives and there is another contender already
    FLOW_REFUSED_FULL = 7       # every place of the bucket belongs to a live call
    FLOW_STALE = 8              # the record's incarnation is not its transceiver's current one
    FLOW_REFUSED_MALFORMED = 9  # the record's address state is none that can be published

cdef enum flow_recipient:
    # Who gets a DTLS, SRTP or SRTCP packet of a flow; a bit mask.
    FLOW_TO_NOBODY = 0
    FLOW_TO_OWNER = 1
    FLOW_TO_CONTENDER = 2

cdef enum:
    FLOW_NONE = 0xffffffff  # record.flow_index when the table has no such flow

cdef extern from *:
    """
    /* Nanoseconds a contender has to authenticate a packet, counted from when it became one (DESIGN 2.4: 10 s). */
    #define FLOW_CONTENDER_LIFETIME_NS 10000000000ULL
    """
    const uint64_t FLOW_CONTENDER_LIFETIME_NS

cdef enum:
    # One second: twice the interval at which browsers check a pair whose DTLS is not done (Chromium: 480 ms).
    FLOW_HANDSHAKE_GRACE_NS = 1000000000

cdef struct flow_table:
    flow_table_header *header
    flow_entry *entries  # buckets * RINGLINE_FLOW_BUCKET of them
    uint64_t mask        # buckets - 1


# Opens the table in a mapped segment of `size` bytes. `writer` (the worker, before its first packet) also repairs what
# a predecessor left half done and counts the entries in use. Returns 0, or -1 when the header makes no sense.
cdef int flow_table_open(flow_table *table, char *base, uint64_t size, bint writer) noexcept nogil

# SipHash-1-3 of the 48 bytes of `key`.
cdef uint64_t flow_hash(const uint64_t *hash_key, const flow_key *key) noexcept nogil

# The entry of this key, or NULL. Its owner may be dead: ask flow_route or flow_owner_live.
cdef flow_entry *flow_lookup(flow_table *table, const flow_key *key) noexcept nogil

# flow_recipient mask. `current_incarnations[t]` is transceiver t's incarnation, 0 when none is attached; the pointer
# NULL means that every owner counts as alive (status, tests).
cdef int flow_route(const flow_entry *entry, uint64_t now, const uint64_t *current_incarnations) noexcept nogil

cdef bint flow_owner_live(const flow_owner *owner, const uint64_t *current_incarnations) noexcept nogil

# Applies a publish record of `transceiver` (the lane's, not what the record says). Applying twice is harmless.
cdef flow_outcome flow_publish(flow_table *table, const record *published, uint8_t transceiver, uint64_t now,
                               const uint64_t *current_incarnations) noexcept nogil

# Withdraws the record's call from the flow if it is owner or contender there, by origin and incarnation. A contender
# of a withdrawn owner becomes owner at once. Returns whether anything changed. Applying twice is harmless.
cdef bint flow_withdraw(flow_table *table, const record *withdrawn) noexcept nogil

cdef inline bint flow_took_effect(flow_outcome outcome) noexcept nogil:
    """Whether the Binding response of a publish-and-send record may leave (DESIGN 2.3)."""
    return outcome <= FLOW_CONTENDER_DROPPED

cdef inline uint32_t flow_index(const flow_table *table, const flow_entry *entry) noexcept nogil:
    """What goes into record.flow_index; flow_generation is the low half of entry.valid."""
    return <uint32_t>(entry - table.entries)

cdef inline int flow_handshakers(const flow_entry *entry, int recipients, uint64_t now) noexcept nogil:
    """Who of `recipients` (flow_route's answer) may send handshake datagrams to the address; for its writer. While the
    owner is not proven, only one of them: a client cannot tell two handshakes apart. The owner, as long as its last
    check is younger than FLOW_HANDSHAKE_GRACE_NS: so a spoofed check does not hold up a client in its handshake, which
    checks several times a second. Else the one whose check is the later: a page loaded again is served as soon as the
    old page was quiet for that time.

    The contender's time is when it became one and is never refreshed, so repeating a spoofed check wins nothing once
    the owner's next check is here.
    """
    if recipients != (FLOW_TO_OWNER | FLOW_TO_CONTENDER) or entry.owner.state == RINGLINE_ADDRESS_PROVEN:
        return recipients
    if entry.owner.since_ns + FLOW_HANDSHAKE_GRACE_NS > now:
        return FLOW_TO_OWNER
    return FLOW_TO_OWNER if entry.owner.since_ns > entry.contender.since_ns else FLOW_TO_CONTENDER


cdef class FlowTable:
    cdef readonly Segment segment
    cdef flow_table table     # for cimport: the worker's loop passes &flow_table.table
    cdef uint64_t current[256]
    cdef bint judged          # whether `current` was set; else every owner counts as alive

    cdef const uint64_t *_current(self) noexcept
