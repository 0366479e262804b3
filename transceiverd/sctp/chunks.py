# cython: language_level=3, annotation_typing=False
"""The chunks of an SCTP packet as values, and how each is written.

Owns the types that `packet.parse_packet` gives and the engine sends. Implements the formats of RFC 9260 3.3, RFC 3758
3.2 (FORWARD-TSN), RFC 8260 2.1, 2.3.1 (I-DATA, I-FORWARD-TSN) and RFC 6525 3 (RE-CONFIG). Compiled with `chunks.pxd`;
runs uncompiled too. Left out: what no WebRTC peer sends (AUTH, ASCONF, ECN chunks), which is `Unknown`.
"""

import struct
from typing import NamedTuple

DATA = 0
INIT = 1
INIT_ACK = 2
SACK = 3
HEARTBEAT = 4
HEARTBEAT_ACK = 5
ABORT = 6
SHUTDOWN = 7
SHUTDOWN_ACK = 8
ERROR = 9
COOKIE_ECHO = 10
COOKIE_ACK = 11
SHUTDOWN_COMPLETE = 14
I_DATA = 64
RE_CONFIG = 130
FORWARD_TSN = 192
I_FORWARD_TSN = 194

FLAG_END = 1  # DATA: last fragment of its message
FLAG_BEGIN = 2  # DATA: first fragment
FLAG_UNORDERED = 4
FLAG_IMMEDIATE = 8  # DATA: acknowledge at once (RFC 9260 3.3.1)
FLAG_REFLECTED = 1  # ABORT, SHUTDOWN COMPLETE: the tag is the receiver's own peer's (T bit, RFC 9260 3.3.7)

DATA_HEADER_SIZE = 16  # bytes before the user data of a DATA chunk
I_DATA_HEADER_SIZE = 20  # bytes before the user data of an I-DATA chunk

Parameter = tuple[int, bytes]  # type and value of one TLV

_HEADER = struct.Struct("!BBH")
_DATA = struct.Struct("!BBHLHHL")
_I_DATA = struct.Struct("!BBHLHHLL")
_INIT = struct.Struct("!LLHHL")
_SACK = struct.Struct("!BBHLLHH")


def serialize_chunk(kind: int, flags: int, value: bytes) -> bytes:
    """A chunk of any type: header, value, padding to 4 bytes."""
    size = len(value)
    return _HEADER.pack(kind, flags, size + 4) + value + bytes(-size % 4)


def serialize_parameters(parameters: tuple[Parameter, ...]) -> bytes:
    """TLVs one after the other, each padded but the last (RFC 9260 3.2.1)."""
    data = b""
    for kind, value in parameters:
        data += bytes(-len(data) % 4) + struct.pack("!HH", kind, len(value) + 4) + value
    return data


class Data:
    """DATA or, when `interleaved`, I-DATA.

    `sequence` is the stream sequence number (16 bits) or the message identifier (32 bits). Of an I-DATA chunk the first
    fragment carries `ppid` and every other one `fragment`, its number; both are 0 where not carried. What `flags` says
    stands beside it bit by bit.
    """

    __slots__ = ("begins", "ends", "flags", "fragment", "immediate", "interleaved", "payload", "ppid", "sequence",
                 "stream_id", "tsn", "unordered")  # fmt: skip

    def __init__(
        self,
        tsn: int,
        stream_id: int,
        sequence: int,
        ppid: int,
        payload: bytes,
        flags: int = FLAG_BEGIN | FLAG_END,
        fragment: int = 0,
        interleaved: bool = False,
    ) -> None:
        self.tsn = tsn
        self.stream_id = stream_id
        self.sequence = sequence
        self.ppid = ppid
        self.payload = payload
        self.flags = flags
        self.begins = bool(flags & 2)
        self.ends = bool(flags & 1)
        self.unordered = bool(flags & 4)
        self.immediate = bool(flags & 8)
        self.fragment = fragment
        self.interleaved = interleaved

    def fields(self) -> tuple[object, ...]:
        """All that the chunk says, for comparison and for tests."""
        return (
            self.tsn,
            self.stream_id,
            self.sequence,
            self.ppid,
            self.payload,
            self.flags,
            self.fragment,
            self.interleaved,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Data) and self.fields() == other.fields()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Data{self.fields()}"

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        size = len(self.payload)
        if self.interleaved:
            last = self.ppid if self.flags & FLAG_BEGIN else self.fragment
            head = i_data_header(self.flags, size, self.tsn, self.stream_id, self.sequence, last)
        else:
            head = data_header(self.flags, size, self.tsn, self.stream_id, self.sequence, self.ppid)
        return head + self.payload + bytes(-size % 4)


def new_data(
    tsn: int, stream_id: int, sequence: int, ppid: int, payload: bytes, flags: int, fragment: int, interleaved: bool
) -> Data:
    """A `Data` as from its class, but no object is made of any number: one comes with every packet."""
    chunk = Data.__new__(Data)
    chunk.tsn = tsn
    chunk.stream_id = stream_id
    chunk.sequence = sequence
    chunk.ppid = ppid
    chunk.payload = payload
    chunk.flags = flags
    chunk.begins = (flags & 2) != 0
    chunk.ends = (flags & 1) != 0
    chunk.unordered = (flags & 4) != 0
    chunk.immediate = (flags & 8) != 0
    chunk.fragment = fragment
    chunk.interleaved = interleaved
    return chunk


def data_header(flags: int, size: int, tsn: int, stream_id: int, sequence: int, ppid: int) -> bytes:
    """What stands before `size` bytes of user data in a DATA chunk."""
    return _DATA.pack(DATA, flags, size + DATA_HEADER_SIZE, tsn, stream_id, sequence, ppid)


def i_data_header(flags: int, size: int, tsn: int, stream_id: int, identifier: int, last: int) -> bytes:
    """What stands before `size` bytes of user data in an I-DATA chunk; `last` is PPID or fragment number."""
    return _I_DATA.pack(I_DATA, flags, size + I_DATA_HEADER_SIZE, tsn, stream_id, 0, identifier, last)


class Sack:
    """A selective acknowledgement. `gaps` is flat: start, end, start, end, ... as offsets from `cumulative`."""

    __slots__ = ("cumulative", "duplicates", "gaps", "window")

    def __init__(self, cumulative: int, window: int, gaps: tuple[int, ...] = (), duplicates: tuple[int, ...] = ()):
        self.cumulative = cumulative
        self.window = window
        self.gaps = gaps
        self.duplicates = duplicates

    def fields(self) -> tuple[object, ...]:
        """All that the chunk says, for comparison and for tests."""
        return (self.cumulative, self.window, self.gaps, self.duplicates)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sack) and self.fields() == other.fields()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Sack{self.fields()}"

    def serialize(self) -> bytes:
        """The chunk's bytes."""
        blocks, repeats = len(self.gaps) // 2, len(self.duplicates)
        size = 16 + 4 * (blocks + repeats)
        head = _SACK.pack(SACK, 0, size, self.cumulative, self.window, blocks, repeats)
        if size == 16:
            return head
        return head + struct.pack(f"!{2 * blocks}H{repeats}L", *self.gaps, *self.duplicates)


def new_sack(cumulative: int, window: int, gaps: tuple[int, ...], duplicates: tuple[int, ...]) -> Sack:
    """A `Sack` likewise."""
    chunk = Sack.__new__(Sack)
    chunk.cumulative = cumulative
    chunk.window = window
    chunk.gaps = gaps
    chunk.duplicates = duplicates
    return chunk


class Init(NamedTuple):
    """INIT, or with `ack` INIT ACK."""

    tag: int
    window: int
    outbound_streams: int
    inbound_streams: int
    initial_tsn: int
    parameters: tuple[Parameter, ...] = ()
    ack: bool = False

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        value = _INIT.pack(*self[:5]) + serialize_parameters(self.parameters)
        return serialize_chunk(INIT_ACK if self.ack else INIT, 0, value)


class Heartbeat(NamedTuple):
    """HEARTBEAT, or with `ack` HEARTBEAT ACK; `info` is everything behind the chunk header, given back as it came."""

    info: bytes
    ack: bool = False

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        return serialize_chunk(HEARTBEAT_ACK if self.ack else HEARTBEAT, 0, self.info)


class Abort(NamedTuple):
    """ABORT with its error causes."""

    causes: tuple[Parameter, ...] = ()
    reflected: bool = False

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        return serialize_chunk(ABORT, FLAG_REFLECTED * self.reflected, serialize_parameters(self.causes))


class ErrorChunk(NamedTuple):
    """ERROR with its causes."""

    causes: tuple[Parameter, ...] = ()

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        return serialize_chunk(ERROR, 0, serialize_parameters(self.causes))


class Shutdown(NamedTuple):
    """SHUTDOWN with the cumulative TSN acknowledged."""

    cumulative: int

    def serialize(self) -> bytes:
        """The chunk's bytes."""
        return serialize_chunk(SHUTDOWN, 0, self.cumulative.to_bytes(4, "big"))


class Signal(NamedTuple):
    """A chunk that is only its type: SHUTDOWN ACK, COOKIE ACK, SHUTDOWN COMPLETE."""

    kind: int
    reflected: bool = False

    def serialize(self) -> bytes:
        """The chunk's bytes."""
        return serialize_chunk(self.kind, FLAG_REFLECTED * self.reflected, b"")


class CookieEcho(NamedTuple):
    """COOKIE ECHO."""

    cookie: bytes

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        return serialize_chunk(COOKIE_ECHO, 0, self.cookie)


class SkippedStream(NamedTuple):
    """Of one stream, the last message that will not come: stream sequence number or message identifier."""

    stream_id: int
    sequence: int
    unordered: bool = False


class ForwardTsn(NamedTuple):
    """FORWARD-TSN or, when `interleaved`, I-FORWARD-TSN."""

    cumulative: int
    streams: tuple[SkippedStream, ...] = ()
    interleaved: bool = False

    def serialize(self) -> bytes:
        """The chunk's bytes."""
        head = self.cumulative.to_bytes(4, "big")
        if self.interleaved:
            parts = [struct.pack("!HHL", sid, unordered, sequence) for sid, sequence, unordered in self.streams]
            return serialize_chunk(I_FORWARD_TSN, 0, head + b"".join(parts))
        parts = [struct.pack("!HH", skipped.stream_id, skipped.sequence) for skipped in self.streams]
        return serialize_chunk(FORWARD_TSN, 0, head + b"".join(parts))


class ReConfig(NamedTuple):
    """RE-CONFIG: one or two parameters, which `reset.py` reads."""

    parameters: tuple[Parameter, ...]

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        return serialize_chunk(RE_CONFIG, 0, serialize_parameters(self.parameters))


class Unknown(NamedTuple):
    """A chunk of a type that we do not know; the type's two highest bits say what to do (RFC 9260 3.2)."""

    kind: int
    flags: int
    value: bytes

    def serialize(self) -> bytes:
        """The chunk's bytes, padded."""
        return serialize_chunk(self.kind, self.flags, self.value)


Chunk = (
    Data
    | Sack
    | Init
    | Heartbeat
    | Abort
    | ErrorChunk
    | Shutdown
    | Signal
    | CookieEcho
    | ForwardTsn
    | ReConfig
    | Unknown
)
