# cython: language_level=3
"""A record from a media ring, from taking it up to its one outcome.

The packet is copied into private memory first: the ring belongs to the worker's process as well, and what libsrtp
parses must not change under it. Then, in this order (RFC 3711 3.3, RFC 7714 8): index from the struct, replay window,
libsrtp's tag, and only then any effect: window, address proven, statistics, echo. What does not authenticate changes
one counter.

Structure and index checks are ours before libsrtp sees a packet; libsrtp is told the rollover counter (srtp.pyx).
"""
from libc.stdint cimport uint16_t, uint64_t
from libc.string cimport memcpy

from shm.layout cimport RINGLINE_RECORD_RTCP, RINGLINE_RECORD_RTP, session, session_payload, session_stream

from transceiverd.media.addresses cimport prove_address
from transceiverd.media.early cimport early_find, early_free, early_keep
from transceiverd.media.echo cimport echo_packet, find_payload
from transceiverd.media.outcomes cimport (
    DROPPED_AUTHENTICATION,
    DROPPED_REPLAYED,
    DROPPED_RTCP_MALFORMED,
    DROPPED_RTP_MALFORMED,
    DROPPED_STALE,
    DROPPED_STREAMS_FULL,
    DROPPED_TOO_OLD,
    DROPPED_TYPE,
    OUTCOME_KEPT,
)
from transceiverd.media.replay cimport (
    REPLAY_FRESH,
    REPLAY_SEEN,
    estimate_index,
    replay_add,
    replay_check,
    replay_verdict,
)
from transceiverd.media.reports cimport reports_read
from transceiverd.media.rtcp cimport RTCP_HEADER_SIZE
from transceiverd.media.rtp cimport payload_start, read_u16, read_u32
from transceiverd.media.srtp cimport (
    RTP_INDEX_BITS,
    SRTCP_INDEX_LAST,
    SRTCP_INDEX_SIZE,
    SRTP_OK,
    SRTP_REPLAY_FAIL,
    SRTP_REPLAY_OLD,
    srtp,
)
from transceiverd.media.state cimport PACKET_MAX, count, early_call, early_packet
from transceiverd.media.streams cimport stream_count, stream_find, stream_has_room, stream_jitter, stream_take


cdef int _replayed(session *s, replay_verdict verdict) noexcept nogil:
    s.media.dropped_replay += 1
    return DROPPED_REPLAYED if verdict == REPLAY_SEEN else DROPPED_TOO_OLD


cdef int _refused(session *s, int status) noexcept nogil:
    """libsrtp said no. Its own replay check never fires before ours; if it did, it would not be the tag."""
    if status == SRTP_REPLAY_FAIL or status == SRTP_REPLAY_OLD:
        return _replayed(s, REPLAY_SEEN)
    s.media.dropped_auth += 1
    return DROPPED_AUTHENTICATION


cdef int _receive_rtp(media_thread *m, call *c, const record *header, uint32_t size, uint32_t lane) noexcept nogil:
    cdef session *s = c.session
    cdef int start = payload_start(m.packet, size)
    cdef session_stream *stream
    cdef const session_payload *payload
    cdef replay_verdict verdict
    cdef uint64_t index
    cdef uint32_t ssrc
    cdef int status, length = <int>size
    if start < 0 or size < <uint32_t>start + c.tag:
        s.media.dropped_malformed += 1
        return DROPPED_RTP_MALFORMED
    ssrc = read_u32(m.packet, 8)
    stream = stream_find(s, ssrc)
    if stream == NULL and not stream_has_room(s):
        return DROPPED_STREAMS_FULL
    index = estimate_index(stream.rtp_highest if stream != NULL else 0, <uint16_t>read_u16(m.packet, 2))
    if index >> RTP_INDEX_BITS:
        return DROPPED_TOO_OLD
    if stream != NULL:
        verdict = replay_check(stream.rtp_highest, stream.rtp_window, index)
        if verdict != REPLAY_FRESH:
            return _replayed(s, verdict)
    srtp.set_stream_roc(c.inbound, ssrc, <uint32_t>(index >> 16))  # an unknown stream has none, and starts at 0
    status = srtp.unprotect(c.inbound, m.packet, &length)
    if status != SRTP_OK:
        return _refused(s, status)
    # ---- authentic
    if stream == NULL:
        stream = stream_take(s, ssrc)
    stream_count(s, stream, index, size)
    replay_add(&stream.rtp_highest, stream.rtp_window, index)
    s.media.last_received_ns = m.now
    prove_address(m, c, header, lane)
    payload = find_payload(c, m.packet[1] & 0x7F)
    if payload != NULL:
        stream_jitter(stream, read_u32(m.packet, 4), header.receive_time_ns, payload.clock_rate)
    return echo_packet(m, c, stream, index, <uint32_t>start, <uint32_t>length)


cdef int _receive_rtcp(media_thread *m, call *c, const record *header, uint32_t size, uint32_t lane) noexcept nogil:
    cdef session *s = c.session
    cdef session_stream *stream
    cdef replay_verdict verdict
    cdef uint32_t ssrc, trailer
    cdef uint64_t index
    cdef int status, length = <int>size
    if size < RTCP_HEADER_SIZE + SRTCP_INDEX_SIZE + c.tag or m.packet[0] >> 6 != 2:
        s.media.dropped_malformed += 1
        return DROPPED_RTCP_MALFORMED
    trailer = read_u32(m.packet, size - SRTCP_INDEX_SIZE - (c.tag if c.tag_last else 0))
    index = trailer & SRTCP_INDEX_LAST
    if not trailer >> 31:
        s.media.dropped_malformed += 1
        return DROPPED_RTCP_MALFORMED  # not encrypted: no profile of ours allows that (RFC 8827 6.5)
    ssrc = read_u32(m.packet, 4)
    stream = stream_find(s, ssrc)
    if stream == NULL and not stream_has_room(s):
        return DROPPED_STREAMS_FULL
    if stream != NULL:
        verdict = replay_check(stream.rtcp_highest, stream.rtcp_window, index)
        if verdict != REPLAY_FRESH:
            return _replayed(s, verdict)
    status = srtp.unprotect_rtcp(c.inbound, m.packet, &length)
    if status != SRTP_OK:
        return _refused(s, status)
    # ---- authentic
    if stream == NULL:
        stream = stream_take(s, ssrc)
    replay_add(&stream.rtcp_highest, stream.rtcp_window, index)
    s.media.last_received_ns = m.now
    prove_address(m, c, header, lane)
    return reports_read(m, c, <uint32_t>length)


cdef int _dispatch(
    media_thread *m, const record *header, const uint8_t *payload, uint32_t size, uint32_t lane
) noexcept nogil:
    cdef call *c
    if header.type != RINGLINE_RECORD_RTP and header.type != RINGLINE_RECORD_RTCP or size > PACKET_MAX:
        return DROPPED_TYPE
    if header.slot >= m.slots or header.incarnation != m.incarnation:
        return DROPPED_STALE
    c = m.calls[header.slot]
    if c == NULL:
        return early_keep(m, header, payload, size, lane)
    if c.generation != header.generation:
        return DROPPED_STALE
    memcpy(m.packet, payload, size)
    if header.type == RINGLINE_RECORD_RTP:
        return _receive_rtp(m, c, header, size, lane)
    return _receive_rtcp(m, c, header, size, lane)


cdef void receive_record(
    media_thread *m, const record *header, const uint8_t *payload, uint32_t size, uint32_t lane
) noexcept nogil:
    cdef int outcome = _dispatch(m, header, payload, size, lane)
    if outcome != OUTCOME_KEPT:
        count(m, outcome, 1)


cdef void receive_early(media_thread *m, call *c) noexcept nogil:
    cdef early_call *block = early_find(m, c.slot, c.generation)
    cdef early_packet *kept
    cdef int place
    if block == NULL:
        return
    for place in range(block.count):
        kept = &block.packets[place]
        receive_record(m, &kept.header, kept.data, kept.size, kept.lane)
    early_free(m, block)
