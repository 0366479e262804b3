# cython: language_level=3
"""Installing, removing and rebuilding calls, as control commands through the ring of channel.pyx.

Each command but COMMAND_LANES is answered by one event, and until that event control keeps the contexts alive:
INSTALLED and REBUILT say that media uses the new ones (and, rebuilt, no longer the old), REMOVED that it uses none and
will not touch the slot again (DESIGN 2.5), the refusals that it did not take them.

A call's BYE is sealed here and travels with REMOVED: rings have no order among each other (DESIGN 2.3), and in a media
ring it would find its flow withdrawn by control. Control sends it before the withdrawal, in the same ring.

A rebuild replaces both libsrtp contexts by ones made from `struct session` alone, between two packets. It is refused
when a stream was taken up since control looked (control then makes them anew), or when the SRTCP index has moved beyond
what the new context was brought to.
"""
from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from shm.layout cimport flow_key, record
from shm.ring cimport ring_has_room, ring_next, ring_pending, ring_release
from shm.session cimport session_generation

from transceiverd.media.channel cimport (
    COMMAND_INSTALL,
    COMMAND_LANES,
    COMMAND_REBUILD,
    COMMAND_REMOVE,
    EVENT_INSTALL_REFUSED,
    EVENT_INSTALLED,
    EVENT_REBUILD_REFUSED,
    EVENT_REBUILT,
    command,
    send_event,
    send_removed,
)
from transceiverd.media.early cimport early_discard
from transceiverd.media.outcomes cimport BYES_SENT, COMMANDS_REFUSED, INSTALLED, REBUILT, REMOVED, REPORTS_DROPPED
from transceiverd.media.receive cimport receive_early
from transceiverd.media.reports cimport report_schedule, report_seal_bye
from transceiverd.media.srtp cimport tag_size
from transceiverd.media.state cimport LANES_MAX, STREAMS, call, count, session_of
from transceiverd.media.timers cimport timer_clear

cdef enum:
    COMMANDS_A_TURN = 64   # packets come first; a burst of set-ups is spread over turns
    # Bytes: more than the events that one command can lead to at once (its answer, with a BYE of ours of at most 268;
    # a BYE and four proven addresses among the early packets of an install).
    EVENT_ROOM = 2048


cdef void _use_contexts(call *c, const command *wanted) noexcept nogil:
    c.inbound = wanted.inbound
    c.outbound = wanted.outbound
    c.rtcp_index = wanted.rtcp_index
    c.tag = tag_size(wanted.profile)
    c.tag_last = wanted.profile == 0x0001


cdef bint _fits(call *c, const command *wanted) noexcept nogil:
    """No index of ours may lie before those of the new contexts, or it could be used twice."""
    return (
        wanted.inbound != NULL
        and wanted.outbound != NULL
        and tag_size(wanted.profile) != 0
        and wanted.rtcp_index + 1 >= c.session.media.rtcp_index_next
    )


cdef bint _install(media_thread *m, uint32_t slot, uint16_t generation, const command *wanted) noexcept nogil:
    cdef call *c
    if slot >= m.slots or m.calls[slot] != NULL or m.lane_count == 0:
        return False
    if session_generation(session_of(m, slot)) != generation:
        return False
    c = <call *>calloc(1, sizeof(call))
    if c == NULL:
        return False
    c.session = session_of(m, slot)
    c.slot = slot
    c.generation = generation
    c.heap_place = c.latest = c.addresses.nominated = -1
    c.addresses.sequence = 1  # odd: no copy yet
    if not _fits(c, wanted):
        free(c)
        return False
    _use_contexts(c, wanted)
    m.calls[slot] = c
    c.session.media.installed = 1
    report_schedule(m, c)
    count(m, INSTALLED, 1)
    return True


cdef bint _has_stream(const command *wanted, uint32_t ssrc) noexcept nogil:
    cdef int place
    for place in range(wanted.stream_count):
        if wanted.streams[place] == ssrc:
            return True
    return False


cdef bint _rebuild(media_thread *m, uint32_t slot, uint16_t generation, const command *wanted) noexcept nogil:
    cdef call *c = m.calls[slot] if slot < m.slots else NULL
    cdef int place
    if c == NULL or c.generation != generation or not _fits(c, wanted):
        return False
    for place in range(STREAMS):
        if c.session.streams[place].in_use and not _has_stream(wanted, c.session.streams[place].ssrc):
            return False
    _use_contexts(c, wanted)
    count(m, REBUILT, 1)
    return True


cdef void _forget(media_thread *m, call *c) noexcept nogil:
    timer_clear(m, c)
    c.session.media.installed = 0
    m.calls[c.slot] = NULL
    memset(c, 0, sizeof(call))
    free(c)


cdef void _remove(media_thread *m, uint32_t slot, uint16_t generation, bint bye) noexcept nogil:
    """Removing what was never installed is answered too: control need not know how far media had come."""
    cdef call *c = m.calls[slot] if slot < m.slots else NULL
    cdef flow_key target  # a copy: the call's own goes with it
    cdef uint32_t size = 0
    early_discard(m, slot)
    if c != NULL and c.generation == generation:
        if bye:
            size = report_seal_bye(m, c, &target)
            count(m, REPORTS_DROPPED, 0 if size else 1)
        _forget(m, c)
        count(m, REMOVED, 1)
    if send_removed(m, slot, generation, &target, m.report, size):
        count(m, BYES_SENT, 1 if size else 0)


cdef void _use_lanes(media_thread *m, uint32_t lanes) noexcept nogil:
    if m.lane_count < lanes <= LANES_MAX:
        m.lane_count = lanes


cdef void _answer(media_thread *m, const record *x, bint done, int accepted, int refused) noexcept nogil:
    count(m, COMMANDS_REFUSED, 0 if done else 1)
    send_event(m, accepted if done else refused, x.slot, x.generation, NULL)


cdef void _carry_out(media_thread *m, const record *x, const command *wanted) noexcept nogil:
    cdef bint done
    if x.type == COMMAND_LANES:
        _use_lanes(m, x.slot)
    elif x.type == COMMAND_REMOVE:
        _remove(m, x.slot, x.generation, wanted.bye)
    elif x.type == COMMAND_INSTALL:
        done = _install(m, x.slot, x.generation, wanted)
        _answer(m, x, done, EVENT_INSTALLED, EVENT_INSTALL_REFUSED)
        if done:
            receive_early(m, m.calls[x.slot])
    elif x.type == COMMAND_REBUILD:
        _answer(m, x, _rebuild(m, x.slot, x.generation, wanted), EVENT_REBUILT, EVENT_REBUILD_REFUSED)


cdef bint calls_waiting(media_thread *m) noexcept nogil:
    return ring_pending(&m.commands) and ring_has_room(&m.events, EVENT_ROOM)


cdef uint32_t calls_serve(media_thread *m) noexcept nogil:
    cdef uint32_t served = 0
    cdef record *x
    while served < COMMANDS_A_TURN and ring_has_room(&m.events, EVENT_ROOM):
        x = ring_next(&m.commands)
        if x == NULL:
            break
        _carry_out(m, x, <const command *>m.commands.payload)
        served += 1
    ring_release(&m.commands)
    return served


cdef void calls_free(media_thread *m) noexcept nogil:
    cdef uint32_t slot
    for slot in range(m.slots):
        if m.calls[slot] != NULL:
            _forget(m, m.calls[slot])
