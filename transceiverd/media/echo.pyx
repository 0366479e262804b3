# cython: language_level=3
"""The native echo (DESIGN 5): every packet of the client goes back with our SSRC, sequence number and timestamp each
moved by a constant, so that gaps, order and timing of the client's stream are kept. Marker, payload type and payload
stay; CSRCs, header extensions and padding are taken off.

    our index      = client's index + index_offset            (48 bits, RFC 3711 3.3.1: no rollover is ever guessed)
    our timestamp  = client's timestamp + timestamp_offset    (modulo 2^32)

When the client goes on with another SSRC, the offsets are made anew so that nothing jumps: the next index after the
highest sent, the timestamp advanced by the local time passed. A mapping begins at `echo_floor`; what would fall below
it is late for an earlier mapping and is dropped, so that no index is ever used twice: within one mapping the client's
indexes are unique (replay window), and mappings do not overlap.

Order of stores: `rtp_index_next` covers the index before libsrtp sees the packet and before the record is committed
(DESIGN 2.13). A packet is protected in our private scratch and only then copied into the ring: the worker's process
could read or change what lies there, and shall see no plaintext.
"""
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from shm.atomics cimport fence_compiler
from shm.layout cimport (
    RINGLINE_SESSION_CLOSING,
    RINGLINE_SESSION_SILENT,
    flow_key,
    record,
    session,
    session_media,
)
from shm.ring cimport record_payload, ring_abort, ring_claim, ring_commit
from shm.session cimport session_state

from transceiverd.media.addresses cimport send_target
from transceiverd.media.outcomes cimport (
    ABSORBED,
    DROPPED_CONSENT,
    DROPPED_NO_ADDRESS,
    DROPPED_PAYLOAD_TYPE,
    DROPPED_PROTECT,
    DROPPED_RING_FULL,
    DROPPED_RTP_MALFORMED,
    DROPPED_STALE_MAPPING,
    ECHOED,
    REMAPPED,
)
from transceiverd.media.replay cimport REPLAY_WINDOW
from transceiverd.media.rtp cimport RTP_HEADER_SIZE, payload_end, read_u32
from transceiverd.media.send cimport fill_record
from transceiverd.media.srtp cimport RTP_INDEX_BITS, SRTP_OK, srtp
from transceiverd.media.state cimport APPLICATION_ECHO, count, lane_end, random_below, to_units
from transceiverd.media.streams cimport STREAM_ECHOED
from transceiverd.media.timers cimport timer_set

cdef enum:
    # A stream that was left for another may come back once the other has been silent for so long, ns: longer than any
    # reordering, far shorter than a pause that a listener would call a dead line.
    RETURN_AFTER_NS = 500_000_000
    FRAMES_A_SECOND_MAX = 400   # Opus' shortest frame is 2.5 ms (RFC 7587): no two frames of ours share a timestamp
    FIRST_REPORT_NS = 250_000_000  # first SR between one and three of these after the first packet


cdef const session_payload *find_payload(call *c, int payload_type) noexcept nogil:
    cdef int place
    for place in range(8):
        if c.session.payloads[place].in_use and c.session.payloads[place].payload_type == payload_type:
            return &c.session.payloads[place]
    return NULL


cdef bint _may_take_over(media_thread *m, const session_media *media, const session_stream *stream) noexcept nogil:
    """A new SSRC takes the echo at once; one that was left is late until the present one has fallen silent."""
    if media.echo_ssrc == 0 or stream.in_use != STREAM_ECHOED:
        return True
    return m.now - media.last_sent_ns >= RETURN_AFTER_NS


cdef void _map(
    media_thread *m, session_media *media, session_stream *stream, uint64_t index, uint32_t timestamp, uint32_t rate
) noexcept nogil:
    """New offsets for `stream`, beginning with the packet that has this index and timestamp."""
    cdef uint64_t elapsed
    cdef uint32_t ours
    if media.rtp_index_next == 0:
        # RFC 3550 5.1: random first number; below 2^15, so that a lost first packet does not hide a rollover
        # (RFC 3711 3.3.1). Above a window, so that packets reordered before the first one have a place.
        media.rtp_index_next = REPLAY_WINDOW + random_below(m, 0x8000 - REPLAY_WINDOW)
        media.echo_floor = media.rtp_index_next - REPLAY_WINDOW
        ours = <uint32_t>random_below(m, <uint64_t>1 << 32)
    else:
        media.echo_floor = media.rtp_index_next
        elapsed = to_units(m.now - media.last_sent_ns, rate)
        ours = media.last_timestamp + <uint32_t>max(elapsed, <uint64_t>(rate // FRAMES_A_SECOND_MAX))
        count(m, REMAPPED, 1)
    # Killed in between, the offset may stand beside the older SSRC: what it gives is then new, or below the floor.
    fence_compiler()
    media.index_offset = <int64_t>media.rtp_index_next - <int64_t>index
    media.timestamp_offset = ours - timestamp
    fence_compiler()
    media.echo_ssrc = stream.ssrc
    stream.in_use = STREAM_ECHOED


cdef void _write_header(
    uint8_t *packet, const uint8_t *original, uint64_t index, uint32_t timestamp, uint32_t ssrc
) noexcept nogil:
    """Our fixed header; `original` may overlap it, and only its marker and payload type are used."""
    packet[1] = original[1]
    packet[0] = 0x80
    packet[2] = (index >> 8) & 0xFF
    packet[3] = index & 0xFF
    packet[4] = timestamp >> 24
    packet[5] = (timestamp >> 16) & 0xFF
    packet[6] = (timestamp >> 8) & 0xFF
    packet[7] = timestamp & 0xFF
    packet[8] = ssrc >> 24
    packet[9] = (ssrc >> 16) & 0xFF
    packet[10] = (ssrc >> 8) & 0xFF
    packet[11] = ssrc & 0xFF


cdef int _transmit(
    media_thread *m, call *c, const flow_key *target, uint8_t *packet, uint32_t size, uint64_t index
) noexcept nogil:
    """Protect `packet` under `index` and commit it to the ring of the lane that the call last came through."""
    cdef session_media *media = &c.session.media
    cdef lane_end *lane = &m.lanes[c.lane]
    cdef record *x = ring_claim(&lane.outgoing, size + c.tag)
    cdef int length = <int>size
    if x == NULL:
        media.dropped_full += 1
        return DROPPED_RING_FULL
    if index >= media.rtp_index_next:
        media.rtp_index_next = index + 1
    srtp.set_stream_roc(c.outbound, c.session.local_ssrc, <uint32_t>(index >> 16))
    if srtp.protect(c.outbound, packet, &length) != SRTP_OK or length != <int>(size + c.tag):
        ring_abort(&lane.outgoing)
        return DROPPED_PROTECT
    fill_record(m, c, x, target, lane.worker_index)
    memcpy(record_payload(x), packet, length)
    ring_commit(&lane.outgoing)
    lane.dirty = True
    return ECHOED


cdef void _book(
    media_thread *m, call *c, uint64_t index, uint32_t timestamp, uint32_t octets, const session_payload *payload
) noexcept nogil:
    """What a sender report says of us, and what the next mapping starts from."""
    cdef session_media *media = &c.session.media
    if media.packets_sent == 0:
        media.report_due_ns = m.now + FIRST_REPORT_NS + random_below(m, 2 * FIRST_REPORT_NS)
        timer_set(m, c, media.report_due_ns)
    media.packets_sent += 1
    media.octets_sent += octets
    media.last_payload_type = payload.payload_type
    if index + 1 == media.rtp_index_next:  # the newest, not a late one
        media.last_timestamp = timestamp
        media.clock_rate = payload.clock_rate
        media.last_sent_ns = m.now


cdef int echo_packet(
    media_thread *m, call *c, session_stream *stream, uint64_t index, uint32_t start, uint32_t size
) noexcept nogil:
    cdef session *s = c.session
    cdef session_media *media = &s.media
    cdef const session_payload *payload = find_payload(c, m.packet[1] & 0x7F)
    cdef const flow_key *target
    cdef int end = payload_end(m.packet, size, start)
    cdef uint32_t timestamp = read_u32(m.packet, 4)
    cdef uint8_t *packet = m.packet + start - RTP_HEADER_SIZE
    cdef int64_t ours
    cdef int state = session_state(s), outcome
    if end < 0:
        media.dropped_malformed += 1
        return DROPPED_RTP_MALFORMED
    if s.application != APPLICATION_ECHO:
        return ABSORBED
    if payload == NULL:
        return DROPPED_PAYLOAD_TYPE
    if state == RINGLINE_SESSION_SILENT or state == RINGLINE_SESSION_CLOSING:
        return DROPPED_CONSENT
    target = send_target(m, c)
    if target == NULL:
        media.dropped_no_address += 1
        return DROPPED_NO_ADDRESS
    if stream.ssrc != media.echo_ssrc or media.rtp_index_next == 0:
        if not _may_take_over(m, media, stream):
            return DROPPED_STALE_MAPPING
        _map(m, media, stream, index, timestamp, payload.clock_rate)
    ours = <int64_t>index + media.index_offset
    if ours < <int64_t>media.echo_floor:
        return DROPPED_STALE_MAPPING
    if ours >> RTP_INDEX_BITS:
        return DROPPED_PROTECT  # 2^48 packets under one key: never in a call's life, and never beyond
    timestamp += media.timestamp_offset
    _write_header(packet, m.packet, ours, timestamp, s.local_ssrc)
    outcome = _transmit(m, c, target, packet, end - start + RTP_HEADER_SIZE, ours)
    if outcome == ECHOED:
        _book(m, c, ours, timestamp, end - start, payload)
    return outcome
