/* The layout of everything that two Ringline processes share, version RINGLINE_LAYOUT_MAJOR.MINOR.
 *
 * Owned by shm/. C and Cython include this file; shm/layout.py states the same offsets for Python, and a test holds the
 * two equal. All integers are little-endian as the machine has them (both daemons run on one machine); network order
 * appears only where a field says so. A segment starts with struct segment_header. "Writer" names the one thread that
 * may store to a field after the segment was handed out; everybody else only reads.
 *
 * Compatibility: MINOR goes up when a reserved field gets a meaning that an old reader may ignore; MAJOR when anything
 * moves. A daemon speaks its own major and the one before (DESIGN 2.11).
 */
#ifndef RINGLINE_SHM_LAYOUT_H
#define RINGLINE_SHM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define RINGLINE_LAYOUT_MAJOR 1
#define RINGLINE_LAYOUT_MINOR 1
#define RINGLINE_MAGIC 0x454e494c474e4952ULL /* "RINGLINE" read as a little-endian integer */

/* Two cache lines: the adjacent-line prefetcher of x86 pulls pairs, so 64 bytes apart still ping-pongs. */
#define RINGLINE_LINE 128

enum ringline_segment_kind {
    RINGLINE_SEGMENT_LANE = 1,
    RINGLINE_SEGMENT_FLOWS = 2,
    RINGLINE_SEGMENT_SESSIONS = 3,
    RINGLINE_SEGMENT_COUNTERS = 4
};

struct segment_header {
    uint64_t magic;
    uint16_t major;
    uint16_t minor;
    uint16_t kind;         /* enum ringline_segment_kind */
    uint16_t header_size;  /* bytes of this struct as its maker knew it */
    uint64_t size;         /* bytes of the whole segment */
    uint64_t incarnation;  /* of the process that writes here now; set by its supervisor before it starts */
    uint64_t heartbeat;    /* turns of the writer's loop; raised at least once a second while alive */
    uint64_t heartbeat_ns; /* CLOCK_MONOTONIC of the last raise */
    uint32_t index;        /* worker k, or transceiver t for what belongs to a transceiver */
    uint32_t peer_index;   /* lanes: worker k (index is then transceiver t) */
    uint8_t reserved[72];
};
_Static_assert(sizeof(struct segment_header) == RINGLINE_LINE, "segment_header");

/* ------------------------------------------------------------------ flow key (DESIGN 3) */

enum ringline_transport { RINGLINE_TRANSPORT_UDP = 1, RINGLINE_TRANSPORT_TCP = 2 };

/* Canonical: IPv4 as ::ffff:a.b.c.d, padding zero, so that two keys are equal when their 48 bytes are. */
struct flow_key {
    uint8_t client_address[16];
    uint8_t local_address[16]; /* the address the client wrote to (IP_PKTINFO), never the wildcard */
    uint16_t client_port;      /* host order */
    uint16_t local_port;       /* host order */
    uint32_t scope;            /* interface index, for IPv6 link-local addresses only; else 0 */
    uint8_t transport;         /* enum ringline_transport */
    uint8_t reserved[7];       /* zero */
};
_Static_assert(sizeof(struct flow_key) == 48, "flow_key");

/* ------------------------------------------------------------------ rings and lanes */

/* Single producer, single consumer, records of variable length. Positions are bytes since the ring was made and never
 * wrap (2^64); the place in `data` is position & (capacity - 1). */
struct ring_header {
    /* constant after creation */
    uint64_t capacity;    /* bytes of data, a power of two */
    uint64_t data_offset; /* bytes from the start of the segment */
    uint8_t pad0[112];
    /* producer's line */
    uint64_t tail;          /* all records before it are complete; release / acquire */
    uint64_t full;          /* claims refused because the ring was full */
    uint64_t records_in;    /* records published */
    uint8_t pad1[104];
    /* consumer's line */
    uint64_t head;          /* all bytes before it may be overwritten; release / acquire */
    uint64_t taken;         /* at-most-once readers: records before it were taken up; a successor starts here */
    uint64_t handling;      /* at-least-once readers: position + 1 of the record in work, 0: none yet ... */
    uint64_t attempts;      /* ... and how many processes had died on it when it was last tried (poison: shm/README.md) */
    uint64_t records_out;   /* records consumed */
    uint64_t malformed;     /* records or indexes refused because they make no sense */
    uint64_t lost;          /* records given up by a successor: taken, but not known to be handled */
    uint8_t pad2[72];
};
_Static_assert(sizeof(struct ring_header) == 3 * RINGLINE_LINE, "ring_header");
_Static_assert(offsetof(struct ring_header, tail) == RINGLINE_LINE, "ring_header.tail");
_Static_assert(offsetof(struct ring_header, head) == 2 * RINGLINE_LINE, "ring_header.head");

struct doorbell_word {
    uint32_t armed; /* 1: the consumer sleeps or is about to; only the consumer writes it */
    uint32_t home;  /* 1 + the CPU that the consumer is pinned to, 0: none, or not said; the consumer; since 1.1 */
    uint8_t pad[RINGLINE_LINE - 8];
};
_Static_assert(sizeof(struct doorbell_word) == RINGLINE_LINE, "doorbell_word");

enum ringline_ring {
    RINGLINE_RING_HANDSHAKE_IN = 0, /* worker -> transceiver control: STUN, DTLS */
    RINGLINE_RING_MEDIA_IN = 1,     /* worker -> transceiver media: RTP, RTCP */
    RINGLINE_RING_CONTROL_OUT = 2,  /* transceiver control -> worker: publish, withdraw, answers, flights */
    RINGLINE_RING_MEDIA_OUT = 3,    /* transceiver media -> worker: RTP, RTCP */
    RINGLINE_RINGS = 4
};

struct lane_header {
    struct segment_header segment; /* segment.incarnation: the transceiver's; written by transceiverd's supervisor */
    struct doorbell_word control;  /* armed by the transceiver's control thread */
    struct doorbell_word media;    /* armed by the transceiver's media thread */
    struct doorbell_word worker;   /* armed by the relay worker */
    struct ring_header rings[RINGLINE_RINGS];
};
_Static_assert(sizeof(struct lane_header) == 4 * RINGLINE_LINE + 4 * 3 * RINGLINE_LINE, "lane_header");

enum ringline_record_type {
    RINGLINE_RECORD_PADDING = 0, /* fills up to the end of the ring; skipped by the reader */
    RINGLINE_RECORD_STUN = 1,
    RINGLINE_RECORD_DTLS = 2,
    RINGLINE_RECORD_RTP = 3,
    RINGLINE_RECORD_RTCP = 4,
    RINGLINE_RECORD_PUBLISH = 16,
    RINGLINE_RECORD_WITHDRAW = 17,
    RINGLINE_RECORD_PUBLISH_AND_SEND = 18, /* a Binding response; sent only if the publish took effect */
    RINGLINE_RECORD_SEND = 19,
    RINGLINE_RECORD_COMMAND = 32, /* and above: between the threads of one transceiver */
};

enum ringline_record_flags {
    RINGLINE_FLAG_FLOW = 1,      /* the flow table had this address when the packet came */
    RINGLINE_FLAG_CONTENDED = 2, /* the address is in dispute: publish it as proven once a packet authenticates */
    RINGLINE_FLAG_CONTENDER = 4, /* this copy goes to the contender, not to the current owner */
};

/* An origin (DESIGN 2.2): what a call's ufrag names, machine | transceiver | slot | generation, most significant first. */
#define RINGLINE_ORIGIN(machine, transceiver, slot, generation)                                                        \
    (((uint64_t)(machine) << 48) | ((uint64_t)(transceiver) << 40) | ((uint64_t)(slot) << 16) | (uint64_t)(generation))

/* Every record, both directions. The next record starts at the next multiple of 8 after `size`. A reader takes the
 * payload at `header_size`, which may grow. */
struct record {
    uint32_t size;            /* header and payload, bytes, before rounding up to 8 */
    uint16_t header_size;     /* bytes of this struct as its writer knew it */
    uint8_t type;             /* enum ringline_record_type */
    uint8_t hop_count;        /* relays passed before this one; 0 until machines forward */
    uint16_t flags;           /* enum ringline_record_flags */
    uint16_t worker;          /* the worker that received the packet, or shall send it */
    uint32_t flow_index;      /* entry in that worker's flow table; 0xffffffff when none */
    uint32_t flow_generation; /* of that entry, so that a stale index is seen */
    uint32_t slot;            /* the current owner's slot */
    uint64_t incarnation;     /* the current owner's */
    uint64_t origin;          /* RINGLINE_ORIGIN */
    uint64_t receive_time_ns; /* CLOCK_MONOTONIC, read once a batch */
    uint64_t not_before_ns;   /* out: 0; another value is refused while pacing is not built */
    uint64_t drop_after_ns;   /* out: 0; another value is refused while pacing is not built */
    struct flow_key key;      /* in: where it came from; out: where it goes and the address it leaves from */
    uint64_t connection;      /* TCP connection handle; 0 for UDP */
    uint16_t generation;      /* the current owner's */
    uint16_t origin_machine;  /* machine whose relay received the packet from the client */
    uint16_t segment_size;    /* out: 0; another value is refused while GSO is not built */
    uint8_t traffic_class;    /* ECN in the low two bits, DSCP above */
    uint8_t address_state;    /* publish: enum ringline_address_state */
};
_Static_assert(sizeof(struct record) == RINGLINE_LINE, "record");
_Static_assert(offsetof(struct record, key) == 64, "record.key");

/* ------------------------------------------------------------------ flow table (writer: worker k) */

enum ringline_address_state {
    RINGLINE_ADDRESS_CHECKED = 1, /* a Binding request from it passed MESSAGE-INTEGRITY */
    RINGLINE_ADDRESS_PROVEN = 2,  /* a fresh DTLS or SRTP packet under this call's keys came from it */
};

struct flow_owner {
    uint64_t origin;
    uint64_t incarnation;
    uint32_t slot;
    uint16_t generation;
    uint8_t transceiver; /* the current owner's id */
    uint8_t state;       /* enum ringline_address_state; 0: none */
    uint64_t since_ns;   /* when it became owner or contender; of an owner that is only checked, its last check */
};
_Static_assert(sizeof(struct flow_owner) == 32, "flow_owner");

struct flow_entry {
    uint64_t valid; /* 0: absent; else the flow generation, never 0. Written last (release), cleared first. */
    uint64_t hash;
    struct flow_key key;
    struct flow_owner owner;
    struct flow_owner contender; /* contender.state == 0: none; dropped after 10 s */
};
_Static_assert(sizeof(struct flow_entry) == RINGLINE_LINE, "flow_entry");

/* Entries a bucket. A key has two candidate buckets (hash & mask, hash >> 32 & mask) and goes into the emptier one: at half
 * load none of 10^6 new flows found both full (with one bucket it would be 1 in 20). */
#define RINGLINE_FLOW_BUCKET 8

struct flow_table_header {
    struct segment_header segment;
    uint64_t hash_key[2];  /* random; strangers must not choose collisions */
    uint64_t buckets;      /* a power of two */
    uint64_t generation;   /* last flow generation given out */
    uint64_t occupied;     /* entries in use, for status */
    uint8_t reserved[88];
    /* struct flow_entry entries[buckets * RINGLINE_FLOW_BUCKET] follows at 4096 */
};
_Static_assert(sizeof(struct flow_table_header) == 2 * RINGLINE_LINE, "flow_table_header");
#define RINGLINE_FLOW_ENTRIES_OFFSET 4096

/* ------------------------------------------------------------------ counters (writer: one thread) */

#define RINGLINE_COUNTER_NAME 56
struct counter {
    char name[RINGLINE_COUNTER_NAME]; /* NUL-padded; so that any release's reader can print them */
    uint64_t value;
};
_Static_assert(sizeof(struct counter) == 64, "counter");

struct counters_header {
    struct segment_header segment;
    uint64_t count;         /* counters in use */
    uint64_t batch_in_hand; /* packets the thread may have taken and not yet booked; read by its successor */
    uint8_t reserved[112];
    /* struct counter counters[count] follows */
};
_Static_assert(sizeof(struct counters_header) == 2 * RINGLINE_LINE, "counters_header");

/* ------------------------------------------------------------------ session segment (one a transceiver) */

#define RINGLINE_SESSION_VERSION 1
#define RINGLINE_SESSION_STRIDE 16384 /* struct 4096 + two blobs of 6144 */
#define RINGLINE_SESSION_BLOB 6144
#define RINGLINE_ADDRESSES 4
#define RINGLINE_STREAMS 8

enum ringline_session_state {
    RINGLINE_SESSION_FREE = 0,
    RINGLINE_SESSION_NEW = 1,        /* answered, never checked */
    RINGLINE_SESSION_CHECKED = 2,    /* a check was accepted, DTLS not yet done */
    RINGLINE_SESSION_CONNECTED = 3,  /* DTLS done, media may flow */
    RINGLINE_SESSION_SILENT = 4,     /* consent ran out: sending stopped, kept for a while */
    RINGLINE_SESSION_CLOSING = 5     /* media is asked to stop; slot not yet free */
};

/* Writer: control. A candidate pair of the call, in RFC 8445's words, seen from a lite agent. */
struct session_address {
    struct flow_key key;
    uint32_t id;           /* never reused within a call; 0: the place is empty */
    uint8_t dtls_proven;
    uint8_t nominated;
    uint16_t reserved;
    uint64_t checked_ns;   /* last accepted check */
    uint64_t bytes_received; /* from the unproven address: bounds what may be sent to it (3 x) */
    uint64_t bytes_sent;
    uint64_t reserved1[2];
};
_Static_assert(sizeof(struct session_address) == 96, "session_address");

/* Writer: control. The record layer of DTLS 1.2 (RFC 6347 4.1) and what 1.3 (RFC 9147) adds. */
struct session_dtls {
    uint16_t version;       /* 0: no keys yet; 0xfefd: 1.2; 0xfefc: 1.3 */
    uint16_t cipher_suite;  /* IANA number */
    uint8_t role;           /* 1 client, 2 server */
    uint8_t closed;         /* close_notify or a fatal alert was sent or authenticated */
    uint16_t write_epoch;
    uint16_t read_epoch;
    uint8_t reserved[6];
    uint64_t write_sequence; /* next to use in write_epoch; advanced before the record is queued */
    uint64_t read_highest;   /* highest authenticated sequence number + 1; 0: none */
    uint64_t read_window;    /* bit i: read_highest - 1 - i was seen */
    uint8_t write_key[32];
    uint8_t read_key[32];
    uint8_t write_iv[12];
    uint8_t read_iv[12];
    uint8_t reserved1[128];  /* DTLS 1.3: sequence number keys, traffic secrets */
};
_Static_assert(sizeof(struct session_dtls) == 256, "session_dtls");

/* Writer: control, once, before media is told of the call. */
struct session_srtp_keys {
    uint16_t profile;     /* IANA DTLS-SRTP protection profile: 0x0007 GCM-128, 0x0008 GCM-256, 0x0001 CM-80; 0: none */
    uint8_t reserved[6];
    uint8_t local_key[32];
    uint8_t local_salt[16];
    uint8_t remote_key[32];
    uint8_t remote_salt[16];
    uint8_t reserved1[24];
};
_Static_assert(sizeof(struct session_srtp_keys) == 128, "session_srtp_keys");

/* Writer: media. One stream the client sends. Indexes are RFC 3711's i = 2^16 * ROC + SEQ; stored + 1, 0: none. */
struct session_stream {
    uint32_t ssrc;
    uint32_t in_use;
    uint64_t rtp_highest;
    uint64_t rtp_window[2];  /* bit j of the 128: index rtp_highest - 1 - j was seen */
    uint64_t rtcp_highest;   /* SRTCP index + 1 */
    uint64_t rtcp_window[2];
    uint64_t packets;
    uint64_t bytes;
    uint64_t base_index;     /* first index seen, RFC 3550 A.3 */
    uint32_t jitter_q4;      /* RFC 3550 A.8, timestamp units * 16 */
    uint32_t transit;
    uint64_t expected_prior;
    uint64_t received_prior;
    uint32_t sr_ntp_middle;  /* LSR: middle 32 bits of the last sender report */
    uint32_t reserved;
    uint64_t sr_received_ns;
    uint64_t reserved1;
};
_Static_assert(sizeof(struct session_stream) == 128, "session_stream");

/* Writer: media. What we send, how the echo maps onto it, and what the client reports of it. */
struct session_media {
    uint32_t installed;        /* 1: media holds libsrtp contexts for this generation */
    uint32_t reserved0;
    uint64_t rtp_index_next;   /* every RTP index below it may have been used under local_key */
    uint64_t rtcp_index_next;  /* likewise SRTCP */
    uint32_t echo_ssrc;        /* the client's stream that is echoed now; 0: none */
    uint32_t timestamp_offset;
    int64_t index_offset;      /* our index = the client's index + index_offset */
    uint64_t echo_floor;       /* indexes below it belong to an earlier mapping and are not sent */
    uint32_t last_timestamp;   /* of the last packet echoed, in our timestamps */
    uint32_t clock_rate;       /* Hz of the echoed payload type */
    uint64_t last_sent_ns;
    uint64_t packets_sent;
    uint64_t octets_sent;      /* payload octets, as a sender report counts */
    uint64_t packets_received;
    uint64_t bytes_received;
    uint64_t dropped_auth;
    uint64_t dropped_replay;
    uint64_t dropped_malformed;
    uint64_t dropped_early;    /* SRTP before its keys, over the bound */
    uint64_t dropped_no_address;
    uint64_t dropped_full;     /* the ring to the worker was full */
    uint64_t gaps_up;          /* packets missing from what the client sent */
    uint32_t remote_fraction_lost; /* the client's last receiver report about local_ssrc */
    int32_t remote_cumulative_lost;
    uint32_t remote_jitter;
    uint32_t round_trip_us;    /* 0: not known */
    uint32_t bye_received;
    uint32_t last_payload_type;
    uint64_t report_due_ns;
    uint64_t last_received_ns; /* last packet that authenticated */
    uint32_t srtp_proven[RINGLINE_ADDRESSES]; /* address ids that an authenticated packet came from */
    uint64_t reserved[6];
};
_Static_assert(sizeof(struct session_media) == 256, "session_media");

/* A payload type that the answer accepted. */
struct session_payload {
    uint8_t in_use;
    uint8_t payload_type; /* 0-127 */
    uint16_t reserved;
    uint32_t clock_rate;  /* Hz */
};
_Static_assert(sizeof(struct session_payload) == 8, "session_payload");

struct session {
    /* Writer: control */
    uint32_t version;     /* RINGLINE_SESSION_VERSION */
    uint16_t generation;  /* random when the segment is made, raised whenever the slot is given out */
    uint8_t state;        /* enum ringline_session_state */
    uint8_t application;  /* 1 echo */
    uint32_t slot;
    uint32_t reserved0;
    uint64_t incarnation;
    uint64_t origin;
    uint64_t created_ns;
    uint64_t last_check_ns;
    uint64_t checked_since_ns;
    uint64_t connected_ns;
    uint64_t closing_ns;
    char call_id[48];     /* NUL-padded */
    uint32_t blob_current; /* which blob is newest: 0 or 1; written after the blob (release) */
    uint32_t rtcp_cname;   /* random; our CNAME is its hex */
    struct session_payload payloads[8];
    uint32_t local_ssrc;   /* of the stream we send, as answered in SDP */
    uint8_t pad0[60];
    /* Writer: control; a seqlock, because media reads several words (odd: being written) */
    uint64_t address_sequence;
    uint32_t address_count;
    int32_t nominated;    /* place in addresses, -1: none */
    uint8_t pad1[112];
    struct session_address addresses[RINGLINE_ADDRESSES];
    struct session_dtls dtls;
    struct session_srtp_keys srtp;
    /* Writer: media */
    struct session_media media;
    struct session_stream streams[RINGLINE_STREAMS];
    uint8_t reserved[4096 - 256 - 128 - 4 * 96 - 256 - 128 - 256 - 8 * 128];
};
_Static_assert(offsetof(struct session, address_sequence) == 256, "session.address_sequence");
_Static_assert(offsetof(struct session, addresses) == 384, "session.addresses");
_Static_assert(offsetof(struct session, media) == 1152, "session.media");
_Static_assert(sizeof(struct session) == 4096, "session");

/* Double-buffered: control writes the blob that is not current, then session.blob_current. */
struct session_blob {
    uint64_t sequence;
    uint32_t length;
    uint32_t checksum; /* CRC-32 of the bytes */
    uint8_t bytes[RINGLINE_SESSION_BLOB - 16];
};
_Static_assert(sizeof(struct session_blob) == RINGLINE_SESSION_BLOB, "session_blob");

struct sessions_header {
    struct segment_header segment;
    uint64_t slots;
    uint64_t active; /* slots in use */
    uint8_t reserved[112];
    /* slots follow at 4096, RINGLINE_SESSION_STRIDE apart */
};
_Static_assert(sizeof(struct sessions_header) == 2 * RINGLINE_LINE, "sessions_header");
#define RINGLINE_SESSIONS_OFFSET 4096

#endif
