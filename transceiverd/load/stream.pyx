# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""One client's audio stream: what it sends, and the verdict on each packet that comes back.

A leaf of `packets.pyx`, without the GIL. A payload is as large as an Opus frame and begins like one (TOC byte: 20 ms,
mono); then come the packet's number (64 bits), its send time (CLOCK_REALTIME, since the kernel stamps arrivals with
it) and the call's nonce. An echo keeps payloads as they are, so number and time come back.

Loss is not counted here: it is what was sent and neither came back nor can still come (`packets.pyx`).
"""
from libc.string cimport memcpy, memset

from transceiverd.media.rtp cimport payload_start
from transceiverd.media.srtp cimport SRTP_OK, SRTP_REPLAY_FAIL, SRTP_REPLAY_OLD, srtp

cdef enum:
    SUB_BUCKET_BITS = 6
    OPUS_TOC = 0xF8              # RFC 6716 3.1: CELT, fullband, 20 ms, mono, one frame
    FRAME_UNITS = 960            # 20 ms of 48 kHz, RFC 7587 4.1
    FILLER = 0xA5

cdef extern from *:
    int __builtin_clzll(unsigned long long value) nogil


cdef void histogram_record(histogram *h, int64_t value) noexcept nogil:
    cdef int octave, bucket
    if value < 0:
        value = 0
    octave = 0 if value < (1 << SUB_BUCKET_BITS) else 63 - __builtin_clzll(value) - SUB_BUCKET_BITS
    bucket = (octave << SUB_BUCKET_BITS) + <int>(value >> octave)
    h.counts[bucket if bucket < BUCKETS else BUCKETS - 1] += 1
    if <uint64_t>value > h.highest:
        h.highest = value


cdef void _write_u16(uint8_t *at, uint32_t value) noexcept nogil:
    at[0] = (value >> 8) & 0xFF
    at[1] = value & 0xFF


cdef void _write_u32(uint8_t *at, uint32_t value) noexcept nogil:
    _write_u16(at, value >> 16)
    _write_u16(at + 2, value & 0xFFFF)


cdef int stream_next(stream *s, stream_books *books, uint8_t *packet, int payload_size, uint64_t now) noexcept nogil:
    """Write the next packet, protected; gives its size, or -1 when libsrtp refuses."""
    cdef int size = RTP_HEADER + payload_size
    cdef uint8_t *payload = packet + RTP_HEADER
    packet[0] = 0x80
    packet[1] = s.payload_type | (0x80 if s.sent == 0 else 0)  # RFC 3551 4.1: the marker begins a talkspurt
    _write_u16(packet + 2, s.sequence)
    _write_u32(packet + 4, s.timestamp)
    _write_u32(packet + 8, s.ssrc)
    payload[0] = OPUS_TOC
    memcpy(payload + 1, &s.sent, 8)
    memcpy(payload + 9, &now, 8)
    memcpy(payload + 17, &s.nonce, 4)
    memset(payload + STAMP_SIZE, FILLER, payload_size - STAMP_SIZE)
    if srtp.protect(s.outbound, packet, &size) != SRTP_OK:
        books.unprotectable += 1
        return -1
    s.sequence += 1
    s.timestamp += FRAME_UNITS
    if s.last_sent:
        histogram_record(&books.sent_spacing, <int64_t>(now - s.last_sent))
    s.last_sent = now
    s.sent += 1
    books.sent += 1
    return size


cdef bint _is_fresh(stream *s, uint64_t number) noexcept nogil:
    """Whether `number` comes for the first time; remembers it."""
    cdef uint64_t at, bit = <uint64_t>1 << (number & 63)
    cdef uint64_t *word = &s.seen[(number % WINDOW_BITS) // 64]
    if number >= s.next_number:
        for at in range(s.next_number, min(number, s.next_number + WINDOW_BITS)):
            s.seen[(at % WINDOW_BITS) // 64] &= ~(<uint64_t>1 << (at & 63))
        word[0] |= bit
        return True
    if number + WINDOW_BITS < s.next_number or word[0] & bit:
        return False
    word[0] |= bit
    return True


cdef void stream_take(stream *s, stream_books *books, uint8_t *packet, int size, uint64_t received_at) noexcept nogil:
    """One SRTP or SRTCP packet, worked on in place."""
    cdef int status
    if s.inbound == NULL:
        books.early += 1
        return
    if size > 8 and 192 <= packet[1] <= 223:
        status = srtp.unprotect_rtcp(s.inbound, packet, &size)
        if status == SRTP_OK:
            books.reports += 1
        else:
            books.unauthentic += 1
        return
    status = srtp.unprotect(s.inbound, packet, &size)
    if status == SRTP_OK:
        _take_payload(s, books, packet, size, received_at)
    elif status == SRTP_REPLAY_FAIL or status == SRTP_REPLAY_OLD:
        s.duplicates += 1
        books.duplicates += 1
    else:
        books.unauthentic += 1


cdef void _take_payload(stream *s, stream_books *books, uint8_t *packet, int size, uint64_t received_at) noexcept nogil:
    cdef int start = payload_start(packet, size)
    cdef uint64_t number = 0, sent_at = 0
    cdef uint32_t nonce = 0
    if start > 0 and size >= start + STAMP_SIZE:
        memcpy(&number, packet + start + 1, 8)
        memcpy(&sent_at, packet + start + 9, 8)
        memcpy(&nonce, packet + start + 17, 4)
    if nonce != s.nonce or number >= s.sent:
        books.foreign += 1
        return
    if not _is_fresh(s, number):  # the same content under another index: a fault that libsrtp cannot see
        s.duplicates += 1
        books.duplicates += 1
        return
    s.received += 1
    books.received += 1
    histogram_record(&books.round_trip, <int64_t>(received_at - sent_at))
    _book_spacing(s, books, sent_at, received_at)
    if number < s.next_number:
        s.reordered += 1
        books.reordered += 1
        return
    s.next_number = number + 1


cdef void _book_spacing(stream *s, stream_books *books, uint64_t sent_at, uint64_t received_at) noexcept nogil:
    cdef int64_t gap, change
    if s.first_received == 0:
        s.first_received = received_at
    if s.last_received:
        gap = <int64_t>(received_at - s.last_received)
        change = gap - <int64_t>(sent_at - s.last_echo_sent)
        histogram_record(&books.spacing, gap)
        histogram_record(&books.spacing_change, change if change > 0 else -change)
        if gap > 0 and <uint64_t>gap > s.gap_max:
            s.gap_max = gap
    s.last_received = received_at
    s.last_echo_sent = sent_at


cdef dict describe_stream(const stream *s):
    """One call's counters; times in ns."""
    return {
        "sent": s.sent, "received": s.received, "duplicates": s.duplicates, "reordered": s.reordered,
        "first_received": s.first_received, "last_received": s.last_received, "gap_max": s.gap_max,
    }


cdef dict describe_books(const stream_books *b):
    """The counters of all calls."""
    return {
        "sent": b.sent, "received": b.received, "duplicates": b.duplicates, "reordered": b.reordered,
        "foreign": b.foreign, "unauthentic": b.unauthentic, "reports": b.reports, "early": b.early,
        "unprotectable": b.unprotectable, "skipped": b.skipped,
    }


cdef dict describe_histograms(const stream_books *b):
    """Counts by bucket and the highest value of each, for `Histogram`."""
    return {
        "round_trip": _copy(&b.round_trip),
        "spacing": _copy(&b.spacing),
        "sent_spacing": _copy(&b.sent_spacing),
        "spacing_change": _copy(&b.spacing_change),
    }


cdef tuple _copy(const histogram *h):
    return [h.counts[i] for i in range(BUCKETS)], h.highest
