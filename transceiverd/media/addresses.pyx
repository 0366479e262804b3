# cython: language_level=3
"""Where a call's media comes from and goes to (DESIGN 2.4, FACTS 1).

Control writes `session.addresses` under a seqlock (shm/session_addresses.pxd); the media thread keeps a copy and looks
at one word a packet to see whether it is still good. It never waits for control: meanwhile the old copy serves.

An address is proven for media when a fresh SRTP or SRTCP packet came from it (`media.srtp_proven`, ours) or a DTLS
record did (`dtls_proven`, control's). Sending goes to the nominated one if it is proven, else to where the last
authentic packet came from, else to the proven one checked last. A check alone earns nothing here.

A client that has left its nominated address says so by its packets first. Chromium sends on its new path 3 s before it
nominates it, and a client whose NAT gave it another port nominates nothing: it does not know. So once a proven address
is heard from `LEFT_AFTER_NS` after the nominated one was, it is the one to send to, until the nominated one is heard
from again or another is nominated.
"""
from libc.string cimport memcmp

from shm.layout cimport RINGLINE_FLAG_CONTENDED, session_address
from shm.session_addresses cimport session_addresses_changed, session_read_addresses

from transceiverd.media.channel cimport EVENT_SRTP_PROVEN, send_event
from transceiverd.media.outcomes cimport ADDRESSES_PROVEN
from transceiverd.media.state cimport ADDRESSES, count

cdef enum:
    # While an address is in dispute every authentic packet could say so; one event in so many ns is enough to win it.
    CONTENDED_INTERVAL_NS = 20_000_000
    # Longer than packets of two paths can overtake each other by, short for an ear. With DTX a client is silent for
    # longer, but on both paths.
    LEFT_AFTER_NS = 250_000_000


cdef inline void _refresh(media_thread *m, call *c) noexcept nogil:
    cdef int place
    cdef uint32_t id
    if not session_addresses_changed(c.session, &c.addresses):
        return
    session_read_addresses(c.session, &c.addresses)
    place = c.addresses.nominated
    id = c.addresses.addresses[place].id if 0 <= place < ADDRESSES else 0
    if id != c.nominated_id:
        c.nominated_id = id
        if id:
            c.heard_ns[place] = m.now  # its client has just asked for it


cdef inline bint _is_proven(call *c, int place) noexcept nogil:
    cdef const session_address *address = &c.addresses.addresses[place]
    return address.id != 0 and (address.dtls_proven or c.session.media.srtp_proven[place] == address.id)


cdef inline int _place_of(call *c, const flow_key *key) noexcept nogil:
    cdef const session_address *address
    cdef int place
    for place in range(ADDRESSES):
        address = &c.addresses.addresses[place]
        if address.id != 0 and memcmp(&address.key, key, sizeof(flow_key)) == 0:
            return place
    return -1


cdef inline const flow_key *_checked_last(call *c) noexcept nogil:
    """Of the proven addresses; NULL: there is none."""
    cdef const session_address *best = NULL
    cdef int place
    for place in range(ADDRESSES):
        if _is_proven(c, place) and (best == NULL or c.addresses.addresses[place].checked_ns > best.checked_ns):
            best = &c.addresses.addresses[place]
    return &best.key if best != NULL else NULL


cdef void prove_address(media_thread *m, call *c, const record *header, uint32_t lane) noexcept nogil:
    cdef int place
    cdef uint32_t id
    cdef bint disputed
    _refresh(m, c)
    c.lane = lane
    place = _place_of(c, &header.key)
    if place < 0:
        return  # control has dropped it from the call: nothing to prove
    id = c.addresses.addresses[place].id
    c.session.media.srtp_proven[place] = id
    c.latest = place
    c.latest_id = id
    c.heard_ns[place] = m.now
    disputed = header.flags & RINGLINE_FLAG_CONTENDED and m.now - c.contended_ns >= CONTENDED_INTERVAL_NS
    if (c.announced[place] != id or disputed) and send_event(m, EVENT_SRTP_PROVEN, c.slot, c.generation, &header.key):
        c.announced[place] = id
        c.contended_ns = m.now
        count(m, ADDRESSES_PROVEN, 1)


cdef inline bint _is_left(call *c, int nominated) noexcept nogil:
    """Whether the client is heard from elsewhere, and from its nominated address no more."""
    return c.latest != nominated and c.heard_ns[c.latest] >= c.heard_ns[nominated] + LEFT_AFTER_NS


cdef const flow_key *send_target(media_thread *m, call *c) noexcept nogil:
    cdef int nominated
    cdef bint latest
    _refresh(m, c)
    nominated = c.addresses.nominated
    latest = c.latest >= 0 and c.addresses.addresses[c.latest].id == c.latest_id
    if 0 <= nominated < ADDRESSES and _is_proven(c, nominated) and not (latest and _is_left(c, nominated)):
        return &c.addresses.addresses[nominated].key
    if latest:
        return &c.addresses.addresses[c.latest].key
    return _checked_last(c)
