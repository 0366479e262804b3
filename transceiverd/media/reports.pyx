# cython: language_level=3
"""RTCP: what the client reports, and what we report (RFC 3550 section 6).

In: SR (for LSR), report blocks about our SSRC (loss, jitter, round trip, 6.4.1), BYE. A BYE is an event and nothing
else: only the association itself can end a call (FACTS 1). Nothing is ever echoed.

Out: SR while we send, else RR, each with a report block for every client stream heard since the last report, and SDES
with our CNAME. When a call is removed the last one ends in BYE and goes to control, not to a worker (calls.pyx).
RFC 3550 6.3 is simplified: a call has two members and RTCP takes a few bytes a second, so the interval is the fixed
minimum of 5 s times a random factor of 0.5 to 1.5, without reconsideration and without scaling by members and
bandwidth. The first SR follows the first packet within a second (echo.pyx), so that a client can relate our timestamps
to time early.
"""
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.string cimport memcpy

from shm.layout cimport (
    RINGLINE_SESSION_SILENT,
    flow_key,
    record,
    session,
    session_media,
    session_stream,
)
from shm.ring cimport record_payload, ring_abort, ring_claim, ring_commit, ring_shrink
from shm.session cimport session_state

from transceiverd.media.addresses cimport send_target
from transceiverd.media.channel cimport EVENT_BYE_RECEIVED, send_event
from transceiverd.media.outcomes cimport (
    DROPPED_RTCP_MALFORMED,
    REPORTS_DROPPED,
    REPORTS_SENT,
    RTCP_PROCESSED,
)
from transceiverd.media.rtcp cimport (
    GOODBYE,
    RECEIVER_REPORT,
    REPORT_BLOCK_SIZE,
    SENDER_REPORT,
    SOURCE_DESCRIPTION,
    check_compound,
    packet_end,
)
from transceiverd.media.rtp cimport read_u16, read_u32
from transceiverd.media.send cimport fill_record
from transceiverd.media.srtp cimport SRTCP_INDEX_LAST, SRTCP_INDEX_SIZE, SRTP_OK, srtp
from transceiverd.media.state cimport SECOND, STREAMS, count, lane_end, random_below, to_units
from transceiverd.media.streams cimport stream_find
from transceiverd.media.timers cimport timer_set

cdef enum:
    ROUND_TRIP_MAX_S = 60     # a longer one is a client's arithmetic error or a stale LSR
    ROUND_TRIP_ERROR = -6554  # 1/65536 s: a client's clock may run off by so much within a report, not by more
    LOST_MAX = 0x7FFFFF       # cumulative loss is 24 bits, signed
    # SR, a block for each stream, SDES, BYE, tag and index.
    REPORT_SIZE_MAX = 28 + 8 * 24 + 20 + 8 + 16 + 4


# ----------------------------------------------------------------------------------------------------------------- time


cdef inline uint64_t _ntp(media_thread *m, uint64_t now) noexcept nogil:
    """NTP timestamp, 32.32 (RFC 3550 section 4)."""
    cdef uint64_t time = now + m.ntp_offset_ns
    return (time // SECOND) << 32 | ((time % SECOND) << 32) // SECOND


cdef inline uint32_t _middle(uint64_t ntp) noexcept nogil:
    return <uint32_t>(ntp >> 16)


# ------------------------------------------------------------------------------------------------------------------- in


cdef void _read_block(media_thread *m, session_media *media, const uint8_t *block) noexcept nogil:
    """A report block about our SSRC (6.4.1)."""
    cdef uint32_t lost = read_u32(block, 4) & 0xFFFFFF
    cdef uint32_t last_sender_report = read_u32(block, 16)
    cdef int32_t trip
    media.remote_fraction_lost = block[4]
    media.remote_cumulative_lost = <int32_t>(lost << 8) >> 8
    media.remote_jitter = read_u32(block, 12)
    if last_sender_report == 0:
        return  # it has no SR of ours yet
    trip = <int32_t>(_middle(_ntp(m, m.now)) - last_sender_report - read_u32(block, 20))
    if ROUND_TRIP_ERROR < trip < ROUND_TRIP_MAX_S << 16:
        media.round_trip_us = <uint32_t>(<uint64_t>max(trip, 0) * 1_000_000 >> 16)
        media.round_trip_us = max(media.round_trip_us, <uint32_t>1)  # 0 says unknown


cdef void _read_report(media_thread *m, call *c, const uint8_t *packet, int at, int blocks) noexcept nogil:
    cdef int i
    for i in range(blocks):
        if read_u32(packet, at) == c.session.local_ssrc:
            _read_block(m, &c.session.media, packet + at)
        at += REPORT_BLOCK_SIZE


cdef void _read_sender(media_thread *m, call *c, const uint8_t *packet, int at) noexcept nogil:
    cdef session_stream *stream = stream_find(c.session, read_u32(packet, at + 4))
    if stream != NULL:
        stream.sr_ntp_middle = read_u16(packet, at + 10) << 16 | read_u16(packet, at + 12)
        stream.sr_received_ns = m.now


cdef void _read_goodbye(media_thread *m, call *c) noexcept nogil:
    if c.session.media.bye_received == 0 and send_event(m, EVENT_BYE_RECEIVED, c.slot, c.generation, NULL):
        c.session.media.bye_received = 1


cdef int reports_read(media_thread *m, call *c, uint32_t size) noexcept nogil:
    cdef int at = 0
    if check_compound(m.packet, size) < 0:
        c.session.media.dropped_malformed += 1
        return DROPPED_RTCP_MALFORMED
    while at < <int>size:
        if m.packet[at + 1] == SENDER_REPORT:
            _read_sender(m, c, m.packet, at)
            _read_report(m, c, m.packet, at + 28, m.packet[at] & 0x1F)
        elif m.packet[at + 1] == RECEIVER_REPORT:
            _read_report(m, c, m.packet, at + 8, m.packet[at] & 0x1F)
        elif m.packet[at + 1] == GOODBYE:
            _read_goodbye(m, c)
        at = packet_end(m.packet, size, at)
    return RTCP_PROCESSED


# ------------------------------------------------------------------------------------------------------------------ out


cdef inline uint32_t _put(uint8_t *packet, uint32_t at, uint32_t value) noexcept nogil:
    packet[at] = value >> 24
    packet[at + 1] = (value >> 16) & 0xFF
    packet[at + 2] = (value >> 8) & 0xFF
    packet[at + 3] = value & 0xFF
    return at + 4


cdef inline uint32_t _put_header(uint8_t *packet, uint32_t at, int kind, int items, uint32_t words) noexcept nogil:
    return _put(packet, at, <uint32_t>0x80000000 | <uint32_t>items << 24 | <uint32_t>kind << 16 | words)


cdef uint32_t _put_block(media_thread *m, uint8_t *packet, uint32_t at, session_stream *stream) noexcept nogil:
    """Loss as in RFC 3550 A.3, from indexes instead of 16-bit numbers; the interval's figures start anew."""
    cdef uint64_t expected = stream.rtp_highest - stream.base_index
    cdef uint64_t expected_now = expected - stream.expected_prior
    cdef uint64_t received_now = stream.packets - stream.received_prior
    cdef uint64_t lost = expected - stream.packets if expected > stream.packets else 0
    cdef uint64_t fraction = 0
    cdef uint32_t delay = 0
    if expected_now > received_now:
        fraction = ((expected_now - received_now) << 8) // expected_now
    if stream.sr_received_ns:
        delay = <uint32_t>to_units(m.now - stream.sr_received_ns, 65536)
    stream.expected_prior = expected
    stream.received_prior = stream.packets
    at = _put(packet, at, stream.ssrc)
    at = _put(packet, at, <uint32_t>(min(fraction, <uint64_t>255) << 24 | min(lost, <uint64_t>LOST_MAX)))
    at = _put(packet, at, <uint32_t>(stream.rtp_highest - 1))
    at = _put(packet, at, stream.jitter_q4 >> 4)
    at = _put(packet, at, stream.sr_ntp_middle)
    return _put(packet, at, delay)


cdef uint32_t _put_blocks(media_thread *m, session *s, uint8_t *packet, uint32_t at, int *blocks) noexcept nogil:
    cdef int place
    blocks[0] = 0
    for place in range(STREAMS):
        if s.streams[place].in_use and s.streams[place].packets > s.streams[place].received_prior:
            at = _put_block(m, packet, at, &s.streams[place])
            blocks[0] += 1
    return at


cdef uint32_t _put_sender(media_thread *m, session *s, uint8_t *packet) noexcept nogil:
    """Sender information behind a place for the header (6.4.1); RTP time goes on with local time."""
    cdef session_media *media = &s.media
    cdef uint64_t ntp = _ntp(m, m.now)
    cdef uint32_t at = _put(packet, 4, s.local_ssrc)
    at = _put(packet, at, <uint32_t>(ntp >> 32))
    at = _put(packet, at, <uint32_t>ntp)
    at = _put(packet, at, media.last_timestamp + <uint32_t>to_units(m.now - media.last_sent_ns, media.clock_rate))
    at = _put(packet, at, <uint32_t>media.packets_sent)
    return _put(packet, at, <uint32_t>media.octets_sent)


cdef uint32_t _put_description(session *s, uint8_t *packet, uint32_t at) noexcept nogil:
    """SDES: our SSRC, CNAME of 8 hexadecimal digits, and the null octets that end the list."""
    cdef int digit
    cdef int value
    at = _put_header(packet, at, SOURCE_DESCRIPTION, 1, 4)
    at = _put(packet, at, s.local_ssrc)
    packet[at] = 1  # CNAME
    packet[at + 1] = 8
    for digit in range(8):
        value = (s.rtcp_cname >> (28 - 4 * digit)) & 15
        packet[at + 2 + digit] = value + (48 if value < 10 else 87)
    packet[at + 10] = 0
    packet[at + 11] = 0
    return at + 12


cdef uint32_t _compose(media_thread *m, call *c, bint bye) noexcept nogil:
    """The compound in `m.report`; bytes. SR if we sent since the report before the last one (6.4), else RR."""
    cdef session *s = c.session
    cdef uint8_t *packet = m.report
    cdef bint sender = s.media.packets_sent and m.now - s.media.last_sent_ns < 2 * m.report_interval_ns
    cdef uint32_t at = _put_sender(m, s, packet) if sender else _put(packet, 4, s.local_ssrc)
    cdef int blocks
    at = _put_blocks(m, s, packet, at, &blocks)
    _put_header(packet, 0, SENDER_REPORT if sender else RECEIVER_REPORT, blocks, at // 4 - 1)
    at = _put_description(s, packet, at)
    if bye:
        at = _put_header(packet, at, GOODBYE, 1, 1)
        at = _put(packet, at, s.local_ssrc)
    return at


cdef bint _protect(call *c, uint8_t *packet, uint32_t size, uint64_t index) noexcept nogil:
    """SRTCP in place; True only if libsrtp used the index that the struct has been told of."""
    cdef int length = <int>size
    cdef uint32_t whole = size + c.tag + SRTCP_INDEX_SIZE
    if srtp.protect_rtcp(c.outbound, packet, &length) != SRTP_OK or length != <int>whole:
        return False
    return read_u32(packet, whole - SRTCP_INDEX_SIZE - (c.tag if c.tag_last else 0)) & SRTCP_INDEX_LAST == index


cdef uint32_t _seal(media_thread *m, call *c, bint bye) noexcept nogil:
    """A compound in `m.report`, sealed: bytes, 0 for none. The SRTCP index is stored before libsrtp uses it and before
    anybody can have the packet (DESIGN 2.13).
    """
    cdef uint64_t index = c.rtcp_index + 1
    cdef uint32_t size
    if index > SRTCP_INDEX_LAST or index < c.session.media.rtcp_index_next:
        return 0
    size = _compose(m, c, bye)
    c.session.media.rtcp_index_next = index + 1
    c.rtcp_index = index
    if not _protect(c, m.report, size, index):
        return 0
    return size + c.tag + SRTCP_INDEX_SIZE


cdef bint _transmit(media_thread *m, call *c) noexcept nogil:
    cdef lane_end *lane = &m.lanes[c.lane]
    cdef const flow_key *target = send_target(m, c)
    cdef uint32_t size
    cdef record *x
    if target == NULL:
        return False
    x = ring_claim(&lane.outgoing, REPORT_SIZE_MAX)
    if x == NULL:
        c.session.media.dropped_full += 1
        return False
    size = _seal(m, c, False)
    if size == 0:
        ring_abort(&lane.outgoing)
        return False
    fill_record(m, c, x, target, lane.worker_index)
    memcpy(record_payload(x), m.report, size)
    ring_shrink(&lane.outgoing, size)
    ring_commit(&lane.outgoing)
    lane.dirty = True
    return True


cdef void report_schedule(media_thread *m, call *c) noexcept nogil:
    c.session.media.report_due_ns = m.now + m.report_interval_ns // 2 + random_below(m, m.report_interval_ns)
    timer_set(m, c, c.session.media.report_due_ns)


cdef void report_send(media_thread *m, call *c) noexcept nogil:
    if session_state(c.session) != RINGLINE_SESSION_SILENT and _transmit(m, c):
        count(m, REPORTS_SENT, 1)
    else:
        count(m, REPORTS_DROPPED, 1)
    report_schedule(m, c)


cdef uint32_t report_seal_bye(media_thread *m, call *c, flow_key *target) noexcept nogil:
    cdef const flow_key *proven = send_target(m, c)
    cdef uint32_t size = 0
    if proven != NULL and session_state(c.session) != RINGLINE_SESSION_SILENT:
        target[0] = proven[0]
        size = _seal(m, c, True)
    return size
