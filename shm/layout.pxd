# cython: language_level=3
"""Every struct that two Ringline processes share, for Cython.

Owned by shm/. The meaning of each field, its writer and the assertions on size and offset stand in `layout.h`, which
this file only declares: the C compiler takes types and offsets from there, so nothing here can move a byte.
"""
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "shm/layout.h" nogil:
    const uint16_t RINGLINE_LAYOUT_MAJOR
    const uint16_t RINGLINE_LAYOUT_MINOR
    const uint64_t RINGLINE_MAGIC
    const uint64_t RINGLINE_LINE

    cdef enum:
        RINGLINE_SEGMENT_LANE
        RINGLINE_SEGMENT_FLOWS
        RINGLINE_SEGMENT_SESSIONS
        RINGLINE_SEGMENT_COUNTERS

    cdef struct segment_header:
        uint64_t magic
        uint16_t major
        uint16_t minor
        uint16_t kind          # RINGLINE_SEGMENT_*
        uint16_t header_size
        uint64_t size          # bytes of the whole segment
        uint64_t incarnation   # of the process that writes here now
        uint64_t heartbeat     # turns of the writer's loop
        uint64_t heartbeat_ns  # CLOCK_MONOTONIC of the last turn
        uint32_t index         # worker k, or transceiver t
        uint32_t peer_index    # lanes: worker k

    # ---------------------------------------------------------------- flow key

    cdef enum:
        RINGLINE_TRANSPORT_UDP
        RINGLINE_TRANSPORT_TCP

    cdef struct flow_key:
        uint8_t client_address[16]  # IPv4 as ::ffff:a.b.c.d
        uint8_t local_address[16]   # the address the client wrote to
        uint16_t client_port        # host order
        uint16_t local_port         # host order
        uint32_t scope              # IPv6 link-local only, else 0
        uint8_t transport           # RINGLINE_TRANSPORT_*
        uint8_t reserved[7]         # zero

    # ---------------------------------------------------------------- rings and lanes

    cdef struct ring_header:
        uint64_t capacity     # constant: bytes of data, a power of two
        uint64_t data_offset  # constant: from the start of the segment
        uint64_t tail         # producer: all records before it are complete
        uint64_t full         # producer: claims refused because the ring was full
        uint64_t records_in   # producer: records published
        uint64_t head         # consumer: all bytes before it may be overwritten
        uint64_t taken        # consumer, at most once: records before it were taken up
        uint64_t handling     # consumer, at least once: position of the record in work
        uint64_t attempts     # consumer: processes that died on the record at `handling`
        uint64_t records_out  # consumer: records consumed
        uint64_t malformed    # consumer: records or indexes refused
        uint64_t lost         # consumer: records given up by a successor

    cdef struct doorbell_word:
        uint32_t armed        # 1: the consumer sleeps or is about to; only it writes here
        uint32_t home         # 1 + the CPU that the consumer is pinned to; 0: none, or not said

    cdef enum:
        RINGLINE_RING_HANDSHAKE_IN
        RINGLINE_RING_MEDIA_IN
        RINGLINE_RING_CONTROL_OUT
        RINGLINE_RING_MEDIA_OUT
        RINGLINE_RINGS

    cdef struct lane_header:
        segment_header segment
        doorbell_word control
        doorbell_word media
        doorbell_word worker
        ring_header rings[4]

    cdef enum:
        RINGLINE_RECORD_PADDING
        RINGLINE_RECORD_STUN
        RINGLINE_RECORD_DTLS
        RINGLINE_RECORD_RTP
        RINGLINE_RECORD_RTCP
        RINGLINE_RECORD_PUBLISH
        RINGLINE_RECORD_WITHDRAW
        RINGLINE_RECORD_PUBLISH_AND_SEND
        RINGLINE_RECORD_SEND
        RINGLINE_RECORD_COMMAND

    cdef enum:
        RINGLINE_FLAG_FLOW
        RINGLINE_FLAG_CONTENDED
        RINGLINE_FLAG_CONTENDER

    uint64_t RINGLINE_ORIGIN(uint64_t machine, uint64_t transceiver, uint64_t slot, uint64_t generation)

    cdef struct record:
        uint32_t size             # header and payload
        uint16_t header_size
        uint8_t type              # RINGLINE_RECORD_*
        uint8_t hop_count
        uint16_t flags            # RINGLINE_FLAG_*
        uint16_t worker
        uint32_t flow_index       # 0xffffffff: none
        uint32_t flow_generation
        uint32_t slot             # the current owner's
        uint64_t incarnation      # the current owner's
        uint64_t origin           # RINGLINE_ORIGIN
        uint64_t receive_time_ns
        uint64_t not_before_ns
        uint64_t drop_after_ns
        flow_key key
        uint64_t connection
        uint16_t generation       # the current owner's
        uint16_t origin_machine
        uint16_t segment_size
        uint8_t traffic_class
        uint8_t address_state     # RINGLINE_ADDRESS_*

    # ---------------------------------------------------------------- flow table

    cdef enum:
        RINGLINE_ADDRESS_CHECKED
        RINGLINE_ADDRESS_PROVEN
        RINGLINE_FLOW_BUCKET
        RINGLINE_FLOW_ENTRIES_OFFSET

    cdef struct flow_owner:
        uint64_t origin
        uint64_t incarnation
        uint32_t slot
        uint16_t generation
        uint8_t transceiver
        uint8_t state             # RINGLINE_ADDRESS_*; 0: none
        uint64_t since_ns

    cdef struct flow_entry:
        uint64_t valid            # 0: absent; else the flow generation; written last
        uint64_t hash
        flow_key key
        flow_owner owner
        flow_owner contender      # contender.state == 0: none

    cdef struct flow_table_header:
        segment_header segment
        uint64_t hash_key[2]
        uint64_t buckets          # a power of two
        uint64_t generation       # last flow generation given out
        uint64_t occupied

    # ---------------------------------------------------------------- counters

    cdef enum:
        RINGLINE_COUNTER_NAME

    cdef struct counter:
        char name[56]             # NUL-padded
        uint64_t value

    cdef struct counters_header:
        segment_header segment
        uint64_t count
        uint64_t batch_in_hand    # packets taken and not yet booked

    # ---------------------------------------------------------------- sessions

    cdef enum:
        RINGLINE_SESSION_VERSION
        RINGLINE_SESSION_STRIDE
        RINGLINE_SESSION_BLOB
        RINGLINE_ADDRESSES
        RINGLINE_STREAMS
        RINGLINE_SESSIONS_OFFSET

    cdef enum:
        RINGLINE_SESSION_FREE
        RINGLINE_SESSION_NEW
        RINGLINE_SESSION_CHECKED
        RINGLINE_SESSION_CONNECTED
        RINGLINE_SESSION_SILENT
        RINGLINE_SESSION_CLOSING

    cdef struct session_address:
        flow_key key
        uint32_t id               # 0: the place is empty
        uint8_t dtls_proven
        uint8_t nominated
        uint64_t checked_ns
        uint64_t bytes_received
        uint64_t bytes_sent

    cdef struct session_dtls:
        uint16_t version          # 0: no keys yet
        uint16_t cipher_suite
        uint8_t role              # 1 client, 2 server
        uint8_t closed
        uint16_t write_epoch
        uint16_t read_epoch
        uint64_t write_sequence   # next to use
        uint64_t read_highest     # highest authenticated + 1
        uint64_t read_window
        uint8_t write_key[32]
        uint8_t read_key[32]
        uint8_t write_iv[12]
        uint8_t read_iv[12]

    cdef struct session_srtp_keys:
        uint16_t profile
        uint8_t local_key[32]
        uint8_t local_salt[16]
        uint8_t remote_key[32]
        uint8_t remote_salt[16]

    cdef struct session_stream:
        uint32_t ssrc
        uint32_t in_use
        uint64_t rtp_highest      # index + 1
        uint64_t rtp_window[2]
        uint64_t rtcp_highest     # index + 1
        uint64_t rtcp_window[2]
        uint64_t packets
        uint64_t bytes
        uint64_t base_index
        uint32_t jitter_q4
        uint32_t transit
        uint64_t expected_prior
        uint64_t received_prior
        uint32_t sr_ntp_middle
        uint64_t sr_received_ns

    cdef struct session_media:
        uint32_t installed
        uint64_t rtp_index_next
        uint64_t rtcp_index_next
        uint32_t echo_ssrc
        uint32_t timestamp_offset
        int64_t index_offset
        uint64_t echo_floor
        uint32_t last_timestamp
        uint32_t clock_rate
        uint64_t last_sent_ns
        uint64_t packets_sent
        uint64_t octets_sent
        uint64_t packets_received
        uint64_t bytes_received
        uint64_t dropped_auth
        uint64_t dropped_replay
        uint64_t dropped_malformed
        uint64_t dropped_early
        uint64_t dropped_no_address
        uint64_t dropped_full
        uint64_t gaps_up
        uint32_t remote_fraction_lost
        int32_t remote_cumulative_lost
        uint32_t remote_jitter
        uint32_t round_trip_us
        uint32_t bye_received
        uint32_t last_payload_type
        uint64_t report_due_ns
        uint64_t last_received_ns
        uint32_t srtp_proven[4]

    cdef struct session_payload:
        uint8_t in_use
        uint8_t payload_type
        uint32_t clock_rate

    cdef struct session:
        uint32_t version
        uint16_t generation
        uint8_t state             # RINGLINE_SESSION_*
        uint8_t application
        uint32_t slot
        uint64_t incarnation
        uint64_t origin
        uint64_t created_ns
        uint64_t last_check_ns
        uint64_t checked_since_ns
        uint64_t connected_ns
        uint64_t closing_ns
        char call_id[48]
        uint32_t blob_current
        uint32_t rtcp_cname
        session_payload payloads[8]
        uint32_t local_ssrc
        uint64_t address_sequence
        uint32_t address_count
        int32_t nominated
        session_address addresses[4]
        session_dtls dtls
        session_srtp_keys srtp
        session_media media
        session_stream streams[8]

    cdef struct session_blob:
        uint64_t sequence
        uint32_t length
        uint32_t checksum
        uint8_t bytes[6128]

    cdef struct sessions_header:
        segment_header segment
        uint64_t slots
        uint64_t active
