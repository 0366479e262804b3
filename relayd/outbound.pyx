# cython: language_level=3, boundscheck=False, wraparound=False
"""Out: what transceivers ask of this worker: publish and withdraw flows, send datagrams (DESIGN 2.3, 2.4, 2.6, 2.10).

Used by the worker's loop once a turn. Each record ends in exactly one outcome, an OUT_ place.

Control rings are read at least once: a record is applied in its order, and the ring is released only after the batch's
datagrams went to the kernel. Media rings are read at most once: `ring_take` stands before sendmmsg.

Control and media share a batch: control takes at most half of it, media the rest, so neither starves the other; the
lane that comes first changes every turn, so no lane starves another. What a full batch leaves waits for the next turn.

Who may send where is looked up for every datagram, since it is the one place that all packets to strangers would have
to pass (the look-up costs some 50 ns beside 9 us of sendmmsg):

    PUBLISH_AND_SEND    the publish itself: sent only if it took effect
    SEND, control       the address is this call's, as owner or as contender: a contender must be able to shake hands;
                        while neither proved itself only the one of the later check, lest two handshakes mix
    SEND, media         the address is this call's as owner: a contender that authenticated something has published so
    SEND of a Binding error response of at most ERROR_SIZE_MAX bytes, control: anywhere. DESIGN 2.4 allows one, rate-
                        limited, to a check whose ufrag verified and whose integrity did not; so no flow can exist

Records are copied before they are judged: their writer could change them meanwhile. Left out: pacing, GSO, deadlines
(records that ask for them are refused), TCP.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from relayd.lane_ends cimport lane_end
from relayd.outcomes cimport (
    OUT_PUBLISH_REFUSED,
    OUT_PUBLISHED,
    OUT_REFUSED_ADDRESS,
    OUT_REFUSED_INCARNATION,
    OUT_REFUSED_OWNER,
    OUT_REFUSED_SIZE,
    OUT_REFUSED_TIMING,
    OUT_REFUSED_TYPE,
    OUT_SENT_CONTROL,
    OUT_SENT_MEDIA,
    OUT_WITHDRAW_IGNORED,
    OUT_WITHDRAWN,
    PUBLISH_APPLIED,
    tally_add,
)
from relayd.transmitter cimport add_datagram, is_mapped, transmitter
from shm.atomics cimport fence_compiler, load_acquire_u64
from shm.flows cimport (
    FLOW_TO_CONTENDER,
    FLOW_TO_OWNER,
    flow_handshakers,
    flow_lookup,
    flow_outcome,
    flow_publish,
    flow_route,
    flow_took_effect,
    flow_withdraw,
)
from shm.layout cimport (
    RINGLINE_RECORD_PUBLISH,
    RINGLINE_RECORD_PUBLISH_AND_SEND,
    RINGLINE_RECORD_SEND,
    RINGLINE_RECORD_WITHDRAW,
    RINGLINE_TRANSPORT_UDP,
    flow_entry,
    flow_owner,
    record,
)
from shm.ring cimport ring, ring_next, ring_release, ring_take

cdef enum:
    QUEUED = -1             # not an outcome yet: the transmitter will count it
    ERROR_SIZE_MAX = 128    # a 420 with a few UNKNOWN-ATTRIBUTES, integrity and fingerprint is about 90 bytes
    PAYLOAD_MAX = 65507     # bytes of UDP over IPv4: 65,535 - 20 - 8


# One record in work.
cdef struct request:
    record header           # copied out of the ring
    const uint8_t *payload  # in the ring
    uint32_t size           # of the payload
    lane_end *lane
    uint64_t now


# ------------------------------------------------------------------------------------------------- a batch


cdef unsigned int take_batch(outbound *way, uint64_t now) noexcept nogil:
    cdef unsigned int taken
    # Each transmitter holds a whole batch, so whatever is taken finds room.
    taken = take_control(way, (way.batch + way.odd) // 2, now)
    way.odd ^= 1
    taken += take_media(way, way.batch - taken, now)
    if way.lanes.count:
        way.lanes.first = (way.lanes.first + 1) % way.lanes.count
    return taken


cdef inline lane_end *lane_in_turn(outbound *way, unsigned int i) noexcept nogil:
    return way.lanes.active[(way.lanes.first + i) % way.lanes.count]


cdef unsigned int take_control(outbound *way, unsigned int budget, uint64_t now) noexcept nogil:
    cdef request asked
    cdef unsigned int i, taken = 0
    cdef int outcome
    for i in range(way.lanes.count):
        asked.lane = lane_in_turn(way, i)
        asked.now = now
        while taken < budget and next_request(&asked.lane.control_out, &asked):
            taken += 1
            outcome = apply_control(way, &asked)
            if outcome != QUEUED:
                tally_add(way.tally, outcome, 1)
    return taken


cdef unsigned int take_media(outbound *way, unsigned int budget, uint64_t now) noexcept nogil:
    cdef request asked
    cdef unsigned int i, before, taken = 0
    cdef int outcome
    for i in range(way.lanes.count):
        asked.lane = lane_in_turn(way, i)
        asked.now = now
        before = taken
        while taken < budget and next_request(&asked.lane.media_out, &asked):
            taken += 1
            outcome = apply_media(way, &asked)
            if outcome != QUEUED:
                tally_add(way.tally, outcome, 1)
        if taken != before:
            ring_take(&asked.lane.media_out)
    return taken


cdef bint next_request(ring *source, request *asked) noexcept nogil:
    """The next record of a ring, its header copied; False when there is none."""
    cdef record *x = ring_next(source)
    if x == NULL:
        return False
    asked.lane.drained = True
    memcpy(&asked.header, x, sizeof(record))
    fence_compiler()  # from here on the copy is what counts: the compiler must not go back to the ring
    asked.payload = source.payload
    asked.size = source.payload_size
    return True


cdef void release_drained(outbound *way) noexcept nogil:
    cdef unsigned int i
    for i in range(way.lanes.count):
        if way.lanes.active[i].drained:
            way.lanes.active[i].drained = False
            ring_release(&way.lanes.active[i].control_out)
            ring_release(&way.lanes.active[i].media_out)


# ------------------------------------------------------------------------------------------------- a record


cdef bint is_current(outbound *way, const request *asked) noexcept nogil:
    """Whether the process that wrote the record is still its transceiver; a ring outlives its writers.

    A process may have been started since this turn began, so a mismatch is looked at again.
    """
    cdef uint64_t *current = &way.lanes.incarnations[asked.lane.transceiver]
    if asked.header.incarnation != current[0]:
        # PARTNER: the release store in Segment.incarnation, before the process started that wrote this record.
        current[0] = load_acquire_u64(asked.lane.incarnation_word)
    return current[0] != 0 and asked.header.incarnation == current[0]


cdef int apply_control(outbound *way, const request *asked) noexcept nogil:
    """The outcome of a record of a control ring, or QUEUED."""
    if not is_current(way, asked):
        return OUT_REFUSED_INCARNATION
    if asked.header.type == RINGLINE_RECORD_SEND:
        return send(way, asked, FLOW_TO_OWNER | FLOW_TO_CONTENDER, OUT_SENT_CONTROL)
    if asked.header.type == RINGLINE_RECORD_PUBLISH_AND_SEND:
        return publish_and_send(way, asked)
    if asked.header.type == RINGLINE_RECORD_PUBLISH:
        return OUT_PUBLISHED if publish(way, asked) else OUT_PUBLISH_REFUSED
    if asked.header.type == RINGLINE_RECORD_WITHDRAW:
        return OUT_WITHDRAWN if flow_withdraw(way.flows, &asked.header) else OUT_WITHDRAW_IGNORED
    return OUT_REFUSED_TYPE


cdef int apply_media(outbound *way, const request *asked) noexcept nogil:
    """The outcome of a record of a media ring, or QUEUED."""
    if not is_current(way, asked):
        return OUT_REFUSED_INCARNATION
    if asked.header.type != RINGLINE_RECORD_SEND:
        return OUT_REFUSED_TYPE
    return send(way, asked, FLOW_TO_OWNER, OUT_SENT_MEDIA)


cdef bint publish(outbound *way, const request *asked) noexcept nogil:
    """Whether it took effect."""
    cdef flow_outcome outcome = flow_publish(
        way.flows, &asked.header, asked.lane.transceiver, asked.now, way.lanes.incarnations
    )
    # The PUBLISH_ places stand in the order of enum flow_outcome.
    tally_add(way.tally, PUBLISH_APPLIED + <int>outcome, 1)
    return flow_took_effect(outcome)


cdef int publish_and_send(outbound *way, const request *asked) noexcept nogil:
    """A record that cannot be sent is refused whole: the publish would be for an answer that never leaves."""
    cdef transmitter *socket
    cdef int refusal = check_sendable(way, asked, &socket)
    if refusal != QUEUED:
        return refusal
    if not publish(way, asked):
        return OUT_PUBLISH_REFUSED
    return gather(socket, asked, OUT_SENT_CONTROL)


cdef int send(outbound *way, const request *asked, int claims, int outcome) noexcept nogil:
    """Gather the datagram if its address is the record's call's by one of `claims` (a FLOW_TO_ mask)."""
    cdef transmitter *socket
    cdef int refusal = check_sendable(way, asked, &socket)
    if refusal != QUEUED:
        return refusal
    if not (claim_to_send(way, asked, claims) & claims):
        if outcome != OUT_SENT_CONTROL or not is_binding_error(asked):
            return OUT_REFUSED_OWNER
    return gather(socket, asked, outcome)


cdef int gather(transmitter *socket, const request *asked, int outcome) noexcept nogil:
    add_datagram(socket, &asked.header.key, asked.payload, asked.size, asked.header.traffic_class, <uint8_t>outcome)
    return QUEUED


# ------------------------------------------------------------------------------------------------- refusals


cdef int check_sendable(outbound *way, const request *asked, transmitter **socket) noexcept nogil:
    """QUEUED, and the socket that the datagram leaves by; or why it cannot leave."""
    cdef const record *x = &asked.header
    cdef bint v6 = not is_mapped(x.key.client_address)
    if x.not_before_ns != 0 or x.drop_after_ns != 0 or x.segment_size != 0:
        return OUT_REFUSED_TIMING
    if asked.size == 0 or asked.size > PAYLOAD_MAX:
        return OUT_REFUSED_SIZE
    if x.key.transport != RINGLINE_TRANSPORT_UDP or x.connection != 0 or x.key.client_port == 0:
        return OUT_REFUSED_ADDRESS
    socket[0] = way.v6 if v6 else way.v4
    if is_mapped(x.key.local_address) == v6 or socket[0].fd < 0 or x.key.local_port != socket[0].local_port:
        return OUT_REFUSED_ADDRESS
    return QUEUED


cdef int claim_to_send(outbound *way, const request *asked, int claims) noexcept nogil:
    """FLOW_TO_OWNER or FLOW_TO_CONTENDER: by what the record's call may send to its address, 0 when it may not."""
    cdef flow_entry *entry = flow_lookup(way.flows, &asked.header.key)
    cdef int alive
    if entry == NULL:
        return 0
    alive = flow_route(entry, asked.now, way.lanes.incarnations)
    if claims & FLOW_TO_CONTENDER:  # a control ring's: what it sends may be a handshake's
        alive = flow_handshakers(entry, alive, asked.now)
    if alive & FLOW_TO_OWNER and is_claim_of(&entry.owner, asked):
        return FLOW_TO_OWNER
    if alive & FLOW_TO_CONTENDER and is_claim_of(&entry.contender, asked):
        return FLOW_TO_CONTENDER
    return 0


cdef bint is_claim_of(const flow_owner *owner, const request *asked) noexcept nogil:
    """The same call, in the same process, behind the lane that the record came by."""
    return (owner.origin == asked.header.origin
            and owner.incarnation == asked.header.incarnation
            and owner.transceiver == asked.lane.transceiver)


cdef bint is_binding_error(const request *asked) noexcept nogil:
    """A Binding error response (RFC 8489 section 5: method 1, class 3) short enough to be no weapon."""
    return (20 <= asked.size <= ERROR_SIZE_MAX and asked.payload[0] == 0x01 and asked.payload[1] == 0x11)
