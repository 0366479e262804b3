# cython: language_level=3, annotation_typing=False
"""Stream reset: our request and the peer's, each with its sequence numbers (RFC 6525 3, 4, 5).

Owned by the association. At most one request of ours is under way; streams that want a reset meanwhile wait. A request
of the peer that comes before all the data it speaks of is answered "in progress" and performed when that is there.
Left out: SSN/TSN reset and adding streams, which WebRTC never uses; they are denied.
"""

import struct
from typing import NamedTuple

from transceiverd.sctp.chunks import Parameter, ReConfig
from transceiverd.sctp.errors import Refused
from transceiverd.sctp.serial import unwrap32

OUTGOING_REQUEST = 13
INCOMING_REQUEST = 14
RESPONSE = 16

NOTHING_TO_DO, PERFORMED, DENIED, WRONG_SSN, IN_PROGRESS_ALREADY, BAD_SEQUENCE, IN_PROGRESS = range(7)

STREAMS_PER_REQUEST = 128  # 2 bytes each in a request that must fit a packet
MASK = 0xFFFFFFFF


class Request(NamedTuple):
    """An outgoing SSN reset request. `streams` empty: all streams."""

    number: int
    last_tsn: int
    streams: tuple[int, ...]


def parse_outgoing(value: bytes) -> tuple[int, int, tuple[int, ...]]:
    """Request number, last TSN and streams of an Outgoing SSN Reset Request (RFC 6525 4.1)."""
    if len(value) < 12 or len(value) % 2:
        raise Refused("reset-short")
    number, _, last_tsn = struct.unpack_from("!LLL", value)
    return number, last_tsn, struct.unpack_from(f"!{(len(value) - 12) // 2}H", value, 12)


def parse_incoming(value: bytes) -> tuple[int, tuple[int, ...]]:
    """Request number and streams of an Incoming SSN Reset Request (4.2)."""
    if len(value) < 4 or len(value) % 2:
        raise Refused("reset-short")
    return int.from_bytes(value[:4], "big"), struct.unpack_from(f"!{(len(value) - 4) // 2}H", value, 4)


def parse_response(value: bytes) -> tuple[int, int]:
    """Response number and result (4.4)."""
    if len(value) < 8:
        raise Refused("reset-short")
    number, result = struct.unpack_from("!LL", value)
    return number, result


def response(number: int, result: int) -> bytes:
    """A RE-CONFIG chunk that answers request `number`."""
    return ReConfig(((RESPONSE, struct.pack("!LL", number & MASK, result)),)).serialize()


class StreamReset:
    """`waiting`: streams of ours that want a reset; `expected`: number of the peer's next request."""

    __slots__ = ("deadline", "deferred", "expected", "failures", "last_result", "next_number", "request", "waiting")

    def __init__(self, local_tsn: int, peer_tsn: int) -> None:
        self.next_number = local_tsn
        self.expected = peer_tsn
        self.waiting: list[int] = []
        self.request: Request | None = None
        self.deferred: Request | None = None
        self.last_result = PERFORMED
        self.deadline = 0  # of the retransmission of `request`; 0: none
        self.failures = 0

    def want(self, stream_id: int) -> None:
        """The stream shall be reset when a request can be made."""
        if not self.wants(stream_id):
            self.waiting.append(stream_id)

    def wants(self, stream_id: int) -> bool:
        """Whether a reset of the stream is wanted or under way."""
        return stream_id in self.waiting or (self.request is not None and stream_id in self.request.streams)

    def begin(self, streams: list[int], last_tsn: int, deadline: int) -> bytes:
        """Make the request for `streams`, which have sent everything; the RE-CONFIG chunk to send."""
        chosen = streams[:STREAMS_PER_REQUEST]
        self.waiting = [stream_id for stream_id in self.waiting if stream_id not in chosen]
        self.request = Request(self.next_number, last_tsn, tuple(chosen))
        self.next_number += 1
        self.failures = 0
        self.deadline = deadline
        return self.chunk()

    def chunk(self) -> bytes:
        """The request under way, as a RE-CONFIG chunk."""
        request = self.request
        assert request is not None
        numbers = (request.number & MASK, (self.expected - 1) & MASK, request.last_tsn & MASK)
        value = struct.pack(f"!LLL{len(request.streams)}H", *numbers, *request.streams)
        return ReConfig(((OUTGOING_REQUEST, value),)).serialize()

    def on_response(self, value: bytes, deadline: int) -> tuple[int, ...]:
        """The peer answered: the streams of ours that are reset now (also when denied: there is no other way)."""
        number, result = parse_response(value)
        if self.request is None or number != self.request.number & MASK:
            raise Refused("reset-response")
        if result == IN_PROGRESS:
            self.deadline = deadline  # 5.2.7 H2: ask again later
            self.failures = 0
            return ()
        streams = self.request.streams
        self.request = None
        self.deadline = 0
        return streams

    def overtaken(self, stream_id: int) -> tuple[int, ...]:
        """The peer uses a stream anew that only the request under way can have given it: all of that was performed, and
        its answer is late or lost. The streams of ours that are reset now."""
        request = self.request
        if request is None or stream_id not in request.streams:
            return ()
        self.request = None
        self.deadline = 0
        return request.streams

    def on_request(self, value: bytes, cumulative: int) -> tuple[bytes, tuple[int, ...] | None]:
        """The peer's outgoing request: our answer, and the streams to reset now (empty: all) or None."""
        number, last_tsn, streams = parse_outgoing(value)
        number = unwrap32(number, self.expected)
        if number == self.expected - 1:
            return response(number, self.last_result), None
        if number != self.expected:
            return response(number, BAD_SEQUENCE), None
        request = Request(number, unwrap32(last_tsn, cumulative), streams)
        if request.last_tsn > cumulative:
            self.deferred = request
            return response(number, IN_PROGRESS), None
        return self.perform(request), streams

    def deny(self, value: bytes) -> bytes:
        """The answer to a request for something that we do not do."""
        return self.answer(value, DENIED)

    def answer_incoming(self, value: bytes) -> bytes:
        """The answer to an incoming reset request: it is done, our own request says the rest (5.2.3)."""
        return self.answer(value, PERFORMED)

    def answer(self, value: bytes, result: int) -> bytes:
        """`result` for a request that is new, the old result for one that came again."""
        if len(value) < 4:
            raise Refused("reset-short")
        number = unwrap32(int.from_bytes(value[:4], "big"), self.expected)
        if number == self.expected - 1:
            return response(number, self.last_result)
        if number != self.expected:
            return response(number, BAD_SEQUENCE)
        self.expected += 1
        self.last_result = result
        return response(number, result)

    def perform(self, request: Request) -> bytes:
        """The peer's request is carried out: the answer."""
        self.deferred = None
        self.expected = request.number + 1
        self.last_result = PERFORMED
        return response(request.number, PERFORMED)


def parameters_of(chunk: ReConfig) -> tuple[Parameter, ...]:
    """At most two parameters make a RE-CONFIG (3.1); more are refused."""
    if not 1 <= len(chunk.parameters) <= 2:
        raise Refused("reset-parameters")
    return chunk.parameters
