"""The offsets of layout.h for Python: every struct, every field, every constant that two processes share.

Owns nothing of its own: layout.h fixes the bytes, and tests/shm/test_layout_equality.py compiles it and holds the two
equal, field by field and both ways. Called by tests, status and tools that look into a segment from Python; hot code
uses layout.pxd, where the C compiler knows the offsets. Left out: reserved fields, which nobody may read.
"""

from __future__ import annotations

from typing import NamedTuple

LAYOUT_MAJOR = 1
LAYOUT_MINOR = 1
MAGIC = 0x454E494C474E4952
LINE = 128
"""Bytes kept apart between words of different writers."""

SEGMENT_LANE = 1
SEGMENT_FLOWS = 2
SEGMENT_SESSIONS = 3
SEGMENT_COUNTERS = 4

TRANSPORT_UDP = 1
TRANSPORT_TCP = 2

RING_HANDSHAKE_IN = 0
RING_MEDIA_IN = 1
RING_CONTROL_OUT = 2
RING_MEDIA_OUT = 3
RINGS = 4

RECORD_PADDING = 0
RECORD_STUN = 1
RECORD_DTLS = 2
RECORD_RTP = 3
RECORD_RTCP = 4
RECORD_PUBLISH = 16
RECORD_WITHDRAW = 17
RECORD_PUBLISH_AND_SEND = 18
RECORD_SEND = 19
RECORD_COMMAND = 32

FLAG_FLOW = 1
FLAG_CONTENDED = 2
FLAG_CONTENDER = 4

ADDRESS_CHECKED = 1
ADDRESS_PROVEN = 2
FLOW_BUCKET = 8
FLOW_ENTRIES_OFFSET = 4096

COUNTER_NAME = 56

SESSION_VERSION = 1
SESSION_STRIDE = 16384
SESSION_BLOB = 6144
SESSIONS_OFFSET = 4096
ADDRESSES = 4
STREAMS = 8

SESSION_FREE = 0
SESSION_NEW = 1
SESSION_CHECKED = 2
SESSION_CONNECTED = 3
SESSION_SILENT = 4
SESSION_CLOSING = 5


class Field(NamedTuple):
    """Where one field lies: bytes from the start of its struct, and its bytes in all (an array counts whole)."""

    offset: int
    size: int
    kind: str
    """u8, u16, u32, u64, i32, i64, char, or the name of a struct."""
    elements: int
    """1 when it is no array."""


class Layout(NamedTuple):
    """One struct of layout.h."""

    size: int
    alignment: int
    fields: dict[str, Field]


def origin(machine: int, transceiver: int, slot: int, generation: int) -> int:
    """RINGLINE_ORIGIN: what a call's ufrag names (DESIGN 2.2), as the number that records and flows carry."""
    return machine << 48 | transceiver << 40 | slot << 16 | generation


_INTEGERS = {"u8": 1, "char": 1, "u16": 2, "u32": 4, "i32": 4, "u64": 8, "i64": 8}
STRUCTS: dict[str, Layout] = {}
"""By the struct's name in layout.h."""


def offset(struct: str, field: str) -> int:
    """Bytes from the start of `struct` to `field`; a dotted field goes into nested structs."""
    head, _, rest = field.partition(".")
    start = STRUCTS[struct].fields[head].offset
    return start + offset(_NESTED[struct, head], rest) if rest else start


def size(struct: str) -> int:
    """sizeof(struct)."""
    return STRUCTS[struct].size


_NESTED: dict[tuple[str, str], str] = {}


def _declare(name: str, text: str) -> None:
    """Lays fields out as C does: each at the next multiple of its alignment. `text` holds "type name" or "type name[n]"
    separated by commas; a name that begins with "pad" or "reserved" takes room and is not listed."""
    position, widest, fields = 0, 1, {}
    for declaration in text.replace("\n", " ").split(","):
        kind, _, spelled = declaration.strip().partition(" ")
        if not kind:
            continue
        field, _, count = spelled.rstrip("]").partition("[")
        nested = STRUCTS.get(kind)
        element, alignment = (nested.size, nested.alignment) if nested else (_INTEGERS[kind], _INTEGERS[kind])
        position += -position % alignment
        elements = int(count) if count else 1
        bytes_used = element * elements
        if not field.startswith(("pad", "reserved")):
            fields[field] = Field(position, bytes_used, kind, elements)
            if nested:
                _NESTED[name, field] = kind
        position += bytes_used
        widest = max(widest, alignment)
    STRUCTS[name] = Layout(position + -position % widest, widest, fields)


_declare(
    "segment_header",
    """u64 magic, u16 major, u16 minor, u16 kind, u16 header_size, u64 size, u64 incarnation, u64 heartbeat,
    u64 heartbeat_ns, u32 index, u32 peer_index, u8 reserved[72]""",
)
_declare(
    "flow_key",
    """u8 client_address[16], u8 local_address[16], u16 client_port, u16 local_port, u32 scope, u8 transport,
    u8 reserved[7]""",
)
_declare(
    "ring_header",
    """u64 capacity, u64 data_offset, u8 pad0[112], u64 tail, u64 full, u64 records_in, u8 pad1[104], u64 head,
    u64 taken, u64 handling, u64 attempts, u64 records_out, u64 malformed, u64 lost, u8 pad2[72]""",
)
_declare("doorbell_word", "u32 armed, u32 home, u8 pad[120]")
_declare(
    "lane_header",
    """segment_header segment, doorbell_word control, doorbell_word media, doorbell_word worker,
    ring_header rings[4]""",
)
_declare(
    "record",
    """u32 size, u16 header_size, u8 type, u8 hop_count, u16 flags, u16 worker, u32 flow_index, u32 flow_generation,
    u32 slot, u64 incarnation, u64 origin, u64 receive_time_ns, u64 not_before_ns, u64 drop_after_ns, flow_key key,
    u64 connection, u16 generation, u16 origin_machine, u16 segment_size, u8 traffic_class, u8 address_state""",
)
_declare(
    "flow_owner",
    "u64 origin, u64 incarnation, u32 slot, u16 generation, u8 transceiver, u8 state, u64 since_ns",
)
_declare("flow_entry", "u64 valid, u64 hash, flow_key key, flow_owner owner, flow_owner contender")
_declare(
    "flow_table_header",
    "segment_header segment, u64 hash_key[2], u64 buckets, u64 generation, u64 occupied, u8 reserved[88]",
)
_declare("counter", "char name[56], u64 value")
_declare("counters_header", "segment_header segment, u64 count, u64 batch_in_hand, u8 reserved[112]")
_declare(
    "session_address",
    """flow_key key, u32 id, u8 dtls_proven, u8 nominated, u16 reserved, u64 checked_ns, u64 bytes_received,
    u64 bytes_sent, u64 reserved1[2]""",
)
_declare(
    "session_dtls",
    """u16 version, u16 cipher_suite, u8 role, u8 closed, u16 write_epoch, u16 read_epoch, u8 reserved[6],
    u64 write_sequence, u64 read_highest, u64 read_window, u8 write_key[32], u8 read_key[32], u8 write_iv[12],
    u8 read_iv[12], u8 reserved1[128]""",
)
_declare(
    "session_srtp_keys",
    """u16 profile, u8 reserved[6], u8 local_key[32], u8 local_salt[16], u8 remote_key[32], u8 remote_salt[16],
    u8 reserved1[24]""",
)
_declare(
    "session_stream",
    """u32 ssrc, u32 in_use, u64 rtp_highest, u64 rtp_window[2], u64 rtcp_highest, u64 rtcp_window[2], u64 packets,
    u64 bytes, u64 base_index, u32 jitter_q4, u32 transit, u64 expected_prior, u64 received_prior, u32 sr_ntp_middle,
    u32 reserved, u64 sr_received_ns, u64 reserved1""",
)
_declare(
    "session_media",
    """u32 installed, u32 reserved0, u64 rtp_index_next, u64 rtcp_index_next, u32 echo_ssrc, u32 timestamp_offset,
    i64 index_offset, u64 echo_floor, u32 last_timestamp, u32 clock_rate, u64 last_sent_ns, u64 packets_sent,
    u64 octets_sent, u64 packets_received, u64 bytes_received, u64 dropped_auth, u64 dropped_replay,
    u64 dropped_malformed, u64 dropped_early, u64 dropped_no_address, u64 dropped_full, u64 gaps_up,
    u32 remote_fraction_lost, i32 remote_cumulative_lost, u32 remote_jitter, u32 round_trip_us, u32 bye_received,
    u32 last_payload_type, u64 report_due_ns, u64 last_received_ns, u32 srtp_proven[4], u64 reserved[6]""",
)
_declare("session_payload", "u8 in_use, u8 payload_type, u16 reserved, u32 clock_rate")
_declare(
    "session",
    """u32 version, u16 generation, u8 state, u8 application, u32 slot, u32 reserved0, u64 incarnation, u64 origin,
    u64 created_ns, u64 last_check_ns, u64 checked_since_ns, u64 connected_ns, u64 closing_ns, char call_id[48],
    u32 blob_current, u32 rtcp_cname, session_payload payloads[8], u32 local_ssrc, u8 pad0[60], u64 address_sequence,
    u32 address_count, i32 nominated, u8 pad1[112], session_address addresses[4], session_dtls dtls,
    session_srtp_keys srtp, session_media media, session_stream streams[8], u8 reserved[1664]""",
)
_declare("session_blob", "u64 sequence, u32 length, u32 checksum, u8 bytes[6128]")
_declare("sessions_header", "segment_header segment, u64 slots, u64 active, u8 reserved[112]")
