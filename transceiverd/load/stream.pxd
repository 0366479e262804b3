# cython: language_level=3
"""One client's audio stream: packets with a number and a send time inside, and the check of those that come back."""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    BUCKETS = 2304               # as in histogram.py
    SEEN_WORDS = 32
    WINDOW_BITS = 64 * 32        # numbers back that a duplicate is known by: 40 s of a voice stream
    RTP_HEADER = 12              # bytes
    STAMP_SIZE = 21              # bytes of payload: Opus TOC, number, send time, nonce
    PACKET_MAX = 1600            # bytes: any datagram of an Ethernet path

cdef struct histogram:
    uint64_t highest
    uint64_t counts[BUCKETS]

# What all streams of a packet path count together.
cdef struct stream_books:
    uint64_t sent
    uint64_t received            # fresh, ours, authentic
    uint64_t duplicates
    uint64_t reordered           # came after one with a higher number
    uint64_t foreign             # authentic, but not what this client sent
    uint64_t unauthentic         # libsrtp refused it
    uint64_t reports             # SRTCP packets, authentic
    uint64_t unprotectable       # libsrtp refused to protect
    uint64_t skipped             # packets that were never made, because we were more than a second late
    uint64_t early               # media before our keys
    histogram round_trip
    histogram spacing            # of what comes back: time from one packet of a stream to the next
    histogram sent_spacing       # of what we sent: how even we were ourselves
    histogram spacing_change     # by how much the way there and back changed the time between two neighbours

cdef struct stream:
    void *outbound               # srtp_t; NULL: no keys yet
    void *inbound
    uint32_t ssrc
    uint32_t nonce               # in every payload: tells our packets from another call's
    uint32_t timestamp
    uint16_t sequence
    uint8_t payload_type
    uint64_t sent                # packets; the number of the next one
    uint64_t received
    uint64_t duplicates
    uint64_t reordered
    uint64_t next_number         # highest number that came back, and one
    uint64_t first_received      # CLOCK_REALTIME, ns
    uint64_t last_received
    uint64_t last_sent           # send time of the newest sent
    uint64_t last_echo_sent      # send time that stood in the newest received
    uint64_t gap_max             # longest time between two that came back
    uint64_t seen[SEEN_WORDS]

cdef void histogram_record(histogram *h, int64_t value) noexcept nogil
cdef int stream_next(stream *s, stream_books *books, uint8_t *packet, int payload_size, uint64_t now) noexcept nogil
cdef void stream_take(stream *s, stream_books *books, uint8_t *packet, int size, uint64_t received_at) noexcept nogil
cdef dict describe_stream(const stream *s)
cdef dict describe_books(const stream_books *b)
cdef dict describe_histograms(const stream_books *b)
