# cython: language_level=3, boundscheck=False, wraparound=False
"""In: which call a received datagram is for, and its record in that call's lane (DESIGN 1, 2.2, 2.3, 2.4).

Used by the worker's loop for each batch. The verdicts:

    Binding request     the ufrag must verify, and its call be within its bounds (check_gate.pyx). Its origin is the
                        flow's: to the flow's current owner. Else by the redirect table (calls that moved; none can
                        yet, so there is none). Else to the origin's transceiver
    DTLS, RTP, RTCP     by the flow table: to the owner; from an address in dispute to owner and contender
    anything else       dropped

Every datagram ends in exactly one outcome, the returned `counter_place`. Nothing here waits, allocates, or reads more
than headers. Left out: what the transceiver checks (the whole ufrag, MESSAGE-INTEGRITY, all of DTLS, RTP and RTCP).
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from relayd.check_gate cimport GATE_OPEN, gate_pass, gate_verdict
from relayd.headers cimport binding_request_ufrag, packet_kind
from relayd.keyring cimport verify_ufrag
from relayd.lane_ends cimport lane_end
from relayd.outcomes cimport (
    CONTENDED,
    CONTENDED_COPY_LOST,
    DROPPED_CHECKS_OF_FLOW,
    DROPPED_EMPTY,
    DROPPED_HANDSHAKE_RING_FULL,
    DROPPED_MEDIA_RING_FULL,
    DROPPED_NO_DESTINATION,
    DROPPED_NO_FLOW,
    DROPPED_NO_TRANSCEIVER,
    DROPPED_OWNER_GONE,
    DROPPED_SOURCE,
    DROPPED_TRUNCATED,
    DROPPED_UFRAG_CHARACTER,
    DROPPED_UNKNOWN_MACHINE,
    FORWARDED_STUN,
    tally_add,
)
from relayd.receiver cimport datagram, read_datagram, receiver
from shm.atomics cimport add_relaxed_u64
from shm.flows cimport (
    FLOW_NONE,
    FLOW_TO_CONTENDER,
    FLOW_TO_NOBODY,
    FLOW_TO_OWNER,
    flow_index,
    flow_lookup,
    flow_route,
)
from shm.layout cimport (
    RINGLINE_FLAG_CONTENDED,
    RINGLINE_FLAG_CONTENDER,
    RINGLINE_FLAG_FLOW,
    RINGLINE_RECORD_DTLS,
    RINGLINE_RECORD_STUN,
    flow_entry,
    flow_owner,
    record,
)
from shm.ring cimport record_payload, ring, ring_claim, ring_commit, ring_has_room


# Everything about one datagram that its records need.
cdef struct passage:
    datagram packet
    int kind                # RINGLINE_RECORD_STUN, _DTLS, _RTP, _RTCP
    flow_entry *entry       # its flow, or NULL
    int recipients          # FLOW_TO_* of the flow
    uint64_t now


cdef void route_batch(inbound *way, receiver *socket, uint64_t now) noexcept nogil:
    cdef passage p
    cdef int i
    p.now = now
    for i in range(socket.count):
        read_datagram(socket, i, &p.packet)
        tally_add(way.tally, route_datagram(way, &p), 1)


cdef int route_datagram(inbound *way, passage *p) noexcept nogil:
    """The outcome of one datagram."""
    if p.packet.truncated:
        return DROPPED_TRUNCATED
    if not p.packet.has_destination:
        return DROPPED_NO_DESTINATION
    if not p.packet.answerable:
        return DROPPED_SOURCE
    p.kind = packet_kind(p.packet.data, p.packet.size)
    if p.kind < 0:
        return DROPPED_EMPTY - 1 - p.kind
    if p.kind == RINGLINE_RECORD_STUN:
        return route_binding_request(way, p)
    look_up_flow(way, p)
    if p.entry == NULL:
        return DROPPED_NO_FLOW
    if p.recipients == FLOW_TO_NOBODY:
        return DROPPED_OWNER_GONE
    return forward_by_flow(way, p)


cdef void look_up_flow(inbound *way, passage *p) noexcept nogil:
    p.entry = flow_lookup(way.flows, &p.packet.key)
    p.recipients = FLOW_TO_NOBODY
    if p.entry != NULL:
        p.recipients = flow_route(p.entry, p.now, way.lanes.incarnations)


# ------------------------------------------------------------------------------------------------- Binding requests


cdef int route_binding_request(inbound *way, passage *p) noexcept nogil:
    """By its ufrag, whatever address it comes from."""
    cdef uint64_t origin
    cdef gate_verdict gate
    cdef uint64_t flow
    cdef bint to_owner, to_contender
    cdef int verdict
    cdef int offset = binding_request_ufrag(p.packet.data, p.packet.size)
    if offset < 0:
        return DROPPED_EMPTY - 1 - offset
    verdict = verify_ufrag(way.keys, p.packet.data + offset, &origin)
    if verdict < 0:
        return DROPPED_UFRAG_CHARACTER - 1 - verdict
    look_up_flow(way, p)
    to_owner = p.recipients & FLOW_TO_OWNER and p.entry.owner.origin == origin
    to_contender = p.recipients & FLOW_TO_CONTENDER and p.entry.contender.origin == origin
    if way.gate != NULL:
        flow = <uint64_t>flow_index(way.flows, p.entry) + 1 if to_owner or to_contender else 0
        gate = gate_pass(way.gate, origin, flow, p.now)
        if gate != GATE_OPEN:
            return DROPPED_CHECKS_OF_FLOW - 1 + <int>gate
    if to_owner:
        return count_forwarded(p, deliver_to(way, p, &p.entry.owner, 0))
    if to_contender:
        return count_forwarded(p, deliver_to(way, p, &p.entry.contender, RINGLINE_FLAG_CONTENDER))
    # Here the redirect table will be asked: origin -> current owner, for calls that moved (DESIGN 2.2).
    return route_to_origin(way, p, origin)


cdef int route_to_origin(inbound *way, passage *p, uint64_t origin) noexcept nogil:
    """To the transceiver that the ufrag names; the call's slot and generation are the ufrag's own."""
    cdef flow_owner owner
    if (origin >> 48) != way.machine:
        return DROPPED_UNKNOWN_MACHINE
    memset(&owner, 0, sizeof(owner))
    owner.origin = origin
    owner.transceiver = (origin >> 40) & 0xFF
    owner.slot = (origin >> 16) & 0xFFFFFF
    owner.generation = origin & 0xFFFF
    owner.incarnation = way.lanes.incarnations[owner.transceiver]
    if owner.incarnation == 0:
        return DROPPED_NO_TRANSCEIVER
    return count_forwarded(p, deliver_to(way, p, &owner, 0))


# ------------------------------------------------------------------------------------------------- DTLS, RTP, RTCP


cdef int forward_by_flow(inbound *way, passage *p) noexcept nogil:
    """To the owner, to the contender, or from an address in dispute to both: one outcome."""
    cdef bint delivered = False
    if p.recipients == FLOW_TO_OWNER:
        return count_forwarded(p, deliver_to(way, p, &p.entry.owner, 0))
    tally_add(way.tally, CONTENDED, 1)
    if p.recipients & FLOW_TO_OWNER:
        delivered = deliver_to(way, p, &p.entry.owner, 0)
        # Of two copies one may be lost where the other is not.
        if deliver_to(way, p, &p.entry.contender, RINGLINE_FLAG_CONTENDER) != delivered:
            tally_add(way.tally, CONTENDED_COPY_LOST, 1)
            delivered = True
        return count_forwarded(p, delivered)
    return count_forwarded(p, deliver_to(way, p, &p.entry.contender, RINGLINE_FLAG_CONTENDER))


# ------------------------------------------------------------------------------------------------- records


cdef bint is_handshake(int kind) noexcept nogil:
    """Which of a lane's two rings in: STUN and DTLS are kept apart from media (DESIGN 2.10)."""
    return kind == RINGLINE_RECORD_STUN or kind == RINGLINE_RECORD_DTLS


cdef int count_forwarded(passage *p, bint delivered) noexcept nogil:
    """The outcome of a datagram that somebody should get. The kinds stand in the order of the FORWARDED places."""
    if delivered:
        return FORWARDED_STUN + p.kind - RINGLINE_RECORD_STUN
    return DROPPED_HANDSHAKE_RING_FULL if is_handshake(p.kind) else DROPPED_MEDIA_RING_FULL


cdef bint deliver_to(inbound *way, passage *p, const flow_owner *owner, uint16_t flags) noexcept nogil:
    """One record into the owner's lane; False when its ring is full. For DTLS it is so when three quarters are in use:
    a flood from a caller's own address must leave room for everybody's checks, which are few and bounded.

    The owner is alive: its incarnation is its transceiver's current one, and only an attached lane has one.
    """
    cdef lane_end *lane = way.lanes.ends[owner.transceiver]
    cdef bint handshake = is_handshake(p.kind)
    cdef record *made
    if p.kind == RINGLINE_RECORD_DTLS and not ring_has_room(&lane.handshake_in, lane.handshake_in.capacity >> 2):
        add_relaxed_u64(&lane.handshake_in.header.full, 1)
        return False
    made = ring_claim(&lane.handshake_in if handshake else &lane.media_in, p.packet.size)
    if made == NULL:
        return False
    fill_record(way, p, owner, flags, made)
    memcpy(record_payload(made), p.packet.data, p.packet.size)
    if handshake:
        ring_commit(&lane.handshake_in)
        lane.handshake_touched = True
    else:
        ring_commit(&lane.media_in)
        lane.media_touched = True
    return True


cdef void fill_record(inbound *way, passage *p, const flow_owner *owner, uint16_t flags, record *made) noexcept nogil:
    """The claimed record's header; ring_claim left it zero but for its sizes."""
    made.type = <uint8_t>p.kind
    made.worker = way.worker
    made.origin_machine = way.machine
    made.receive_time_ns = p.now
    made.traffic_class = p.packet.traffic_class
    made.key = p.packet.key
    made.slot = owner.slot
    made.generation = owner.generation
    made.incarnation = owner.incarnation
    made.origin = owner.origin
    made.flow_index = FLOW_NONE
    if p.recipients != FLOW_TO_NOBODY:
        made.flow_index = flow_index(way.flows, p.entry)
        made.flow_generation = <uint32_t>p.entry.valid
        flags |= RINGLINE_FLAG_FLOW
    if p.recipients & FLOW_TO_CONTENDER:
        flags |= RINGLINE_FLAG_CONTENDED
    made.flags = flags
