# cython: language_level=3, annotation_typing=False
"""What each chunk of a packet sets in motion (RFC 9260 5-9), and what T3 and the reset timer do.

Functions on the association. A chunk that is refused does not spoil its packet: it is counted and the next one is
taken. What completes at the end of the packet is then delivered.
"""

from typing import TYPE_CHECKING

from shm.errors import MalformedPacket
from transceiverd.engine import Timeout
from transceiverd.sctp import channels, chunks, handshake, heartbeat, teardown
from transceiverd.sctp import reset as stream_reset
from transceiverd.sctp.chunks import (
    Abort,
    Chunk,
    CookieEcho,
    Data,
    ErrorChunk,
    ForwardTsn,
    Heartbeat,
    Init,
    ReConfig,
    Sack,
    Shutdown,
    Signal,
    Unknown,
)
from transceiverd.sctp.errors import INVALID_STREAM, STALE_COOKIE, UNRECOGNIZED_CHUNK, Refused
from transceiverd.sctp.packet import Packet
from transceiverd.sctp.reception import DELAYED
from transceiverd.sctp.states import State

if TYPE_CHECKING:
    from transceiverd.sctp.association import Association

_ESTABLISHED = State.ESTABLISHED  # an enum's members are slow to look up
REFLECTABLE = (Abort, Signal)  # chunks that may carry the T bit
REPORT_BYTES_MAX = 128  # of an unknown chunk, given back in an ERROR


def take(association: "Association", packet: Packet, now: int) -> None:
    """One well-formed packet."""
    if packet.destination_port != association.local_port or packet.source_port != association.remote_port:
        raise Refused("port-wrong")
    first = packet.chunks[0]
    if isinstance(first, Init) and not first.ack:
        if packet.tag or len(packet.chunks) != 1:
            raise Refused("init-not-alone")
        handshake.on_init(association, first, now)
        return
    if not isinstance(first, Data) and not isinstance(first, Sack):
        require_tag(association, packet.tag, first)
    elif packet.tag != association.local_tag or not packet.tag:
        raise Refused("tag-wrong")
    had_data = False
    for chunk in packet.chunks:
        try:
            had_data = take_chunk(association, chunk, packet.tag, now) or had_data
        except (Refused, MalformedPacket) as refusal:
            association.drops[refusal.reason] += 1
            had_data = had_data or isinstance(chunk, Data)
        if association.done or (isinstance(chunk, Unknown) and not chunk.kind & 0x80):  # stop at this one (3.2)
            break
    settle(association, had_data, now)


def require_tag(association: "Association", tag: int, first: Chunk) -> None:
    """Verification tags (8.5, 8.5.1). A COOKIE ECHO's is judged with its cookie."""
    if isinstance(first, CookieEcho):
        return
    reflected = isinstance(first, REFLECTABLE) and first.reflected
    if tag != (association.peer_tag if reflected else association.local_tag) or not tag:
        raise Refused("tag-wrong")


def take_chunk(association: "Association", chunk: Chunk, tag: int, now: int) -> bool:
    """One chunk; whether it was DATA or moved the cumulative TSN."""
    if isinstance(chunk, Data):
        on_data(association, chunk)
        return True
    if isinstance(chunk, Sack):
        if not association.carries_in and association.state < State.COOKIE_ECHOED:
            raise Refused("sack-unexpected")
        association.transmission.on_sack(chunk, now)
        return False
    if isinstance(chunk, ForwardTsn):
        if not association.carries_in:
            raise Refused("forward-unexpected")
        association.reception_now().skip(chunk)
        return True
    on_control(association, chunk, tag, now)
    return False


def on_data(association: "Association", chunk: Data) -> None:
    """DATA or I-DATA."""
    if not association.carries_in:
        raise Refused("data-unexpected")
    try:
        association.reception_now().take(chunk)
    except Refused as refusal:
        if refusal.reason == "streams-many":
            report(association, INVALID_STREAM, chunk.stream_id.to_bytes(2, "big") + b"\0\0")
        raise


def on_control(association: "Association", chunk: Chunk, tag: int, now: int) -> None:
    """Any chunk that is not about user data."""
    match chunk:
        case Init():
            if not chunk.ack:
                raise Refused("init-not-alone")
            handshake.on_init_ack(association, chunk, now)
        case CookieEcho():
            handshake.on_cookie_echo(association, chunk, tag, now)
        case Heartbeat():
            heartbeat.on_chunk(association, chunk, now)
        case Abort():
            association.finish("peer aborted")
        case Shutdown():
            teardown.on_shutdown(association, chunk, now)
        case Signal():
            on_signal(association, chunk, now)
        case ErrorChunk():
            on_error(association, chunk)
        case ReConfig():
            on_re_config(association, chunk, now)
        case Unknown():
            on_unknown(association, chunk)


def on_signal(association: "Association", chunk: Signal, now: int) -> None:
    """A chunk without contents."""
    if chunk.kind == chunks.COOKIE_ACK:
        handshake.on_cookie_ack(association, now)
    elif chunk.kind == chunks.SHUTDOWN_ACK:
        teardown.on_shutdown_ack(association)
    else:
        teardown.on_shutdown_complete(association)


def on_error(association: "Association", chunk: ErrorChunk) -> None:
    """The peer reports; only a stale cookie ends anything (3.3.10)."""
    association.drops["peer-error"] += 1
    if any(cause == STALE_COOKIE for cause, _ in chunk.causes):
        handshake.on_stale_cookie(association)


def on_unknown(association: "Association", chunk: Unknown) -> None:
    """The type's two highest bits: stop or go on, report or not (3.2)."""
    association.drops["chunk-unknown"] += 1
    if chunk.kind & 0x40:
        report(association, UNRECOGNIZED_CHUNK, chunk.serialize()[:REPORT_BYTES_MAX])


def report(association: "Association", cause: int, value: bytes) -> None:
    """An ERROR chunk."""
    association.send_control(ErrorChunk(((cause, value),)).serialize())


def on_re_config(association: "Association", chunk: ReConfig, now: int) -> None:
    """Stream reset, both ways (RFC 6525 5.2)."""
    reset = association.reset
    if reset is None or association.state < State.ESTABLISHED:
        raise Refused("reset-unexpected")
    for kind, value in stream_reset.parameters_of(chunk):
        if kind == stream_reset.RESPONSE:
            streams = reset.on_response(value, now + association.rto.value)
            association.transmission.errors = 0
            channels.on_outbound_reset(association, streams)
        elif kind == stream_reset.OUTGOING_REQUEST:
            answer, asked = reset.on_request(value, association.reception_now().tracker.cumulative)
            association.send_control(answer)
            if asked is not None:
                channels.on_inbound_reset(association, asked)
        elif kind == stream_reset.INCOMING_REQUEST:
            on_incoming_request(association, value)
        else:
            association.send_control(reset.deny(value))


def on_incoming_request(association: "Association", value: bytes) -> None:
    """The peer wants our direction of some streams reset (RFC 6525 5.2.3): close their channels."""
    _, streams = stream_reset.parse_incoming(value)
    reset = association.reset
    assert reset is not None
    association.send_control(reset.answer_incoming(value))
    for stream_id in streams:
        channel = association.channels.get(stream_id)
        if channel is not None:
            channels.close(association, channel)


def settle(association: "Association", had_data: bool, now: int) -> None:
    """The packet is taken: acknowledge, deliver, and go on with what waited for its data."""
    reception, reset = association.reception, association.reset
    if reception is None or reset is None or association.done:
        return
    reception.end_packet(had_data, now)
    messages = reception.reassembly.messages
    if messages:
        reception.reassembly.messages = []
        for stream_id, ppid, data in messages:
            deliver(association, stream_id, ppid, data)
    deferred = reset.deferred
    if deferred is not None and deferred.last_tsn <= reception.tracker.cumulative:
        association.send_control(reset.perform(deferred))
        channels.on_inbound_reset(association, deferred.streams)
    if association.state is not _ESTABLISHED:
        teardown.advance(association, now)


def deliver(association: "Association", stream_id: int, ppid: int, data: bytes) -> None:
    """One message, or a counted drop."""
    try:
        channels.on_message(association, stream_id, ppid, data)
    except (Refused, MalformedPacket) as refusal:
        association.drops[refusal.reason] += 1


def request_resets(association: "Association", now: int) -> None:
    """Ask for the reset of streams that have sent everything, unless a request is under way."""
    reset = association.reset
    if reset is None or reset.request is not None or association.state is not State.ESTABLISHED:
        return
    streams = association.transmission.queue.streams
    ready = [sid for sid in reset.waiting if sid not in streams or not streams[sid].queue]
    if not ready:
        return
    if not association.features.reset:
        reset.waiting = [stream_id for stream_id in reset.waiting if stream_id not in ready]
        channels.on_outbound_reset(association, tuple(ready))
        return
    chunk = reset.begin(ready, association.transmission.outstanding.next_tsn - 1, now + association.rto.value)
    association.control.append(chunk)


def on_timeout(association: "Association", now: int) -> None:
    """T3-rtx and the reset timer."""
    transmission, reset = association.transmission, association.reset
    alive = True
    if transmission.t3 and now >= transmission.t3:
        alive = transmission.on_timeout(now)
    if reset is not None and reset.deadline and now >= reset.deadline:
        reset.failures += 1
        alive = alive and reset.failures <= association.config.retransmits_max
        association.rto.back_off()
        reset.deadline = now + association.rto.value
        association.send_control(reset.chunk())
    if not alive:
        association.give_up("retransmissions exhausted")


def next_timeout(association: "Association") -> Timeout | None:
    """The earliest deadline of what runs, and its name. Asked after every packet, so without a list of them all."""
    reset, reception = association.reset, association.reception
    at, reason = association.heartbeat_at, "heartbeat"
    if association.transmission.t3 and not 0 < at <= association.transmission.t3:
        at, reason = association.transmission.t3, "t3-rtx"
    if reception is not None and reception.sack_wanted == DELAYED and not 0 < at <= reception.sack_deadline:
        at, reason = reception.sack_deadline, "sack"
    if association.t1 and not 0 < at <= association.t1:
        at, reason = association.t1, "t1-init"
    if association.t2 and not 0 < at <= association.t2:
        at, reason = association.t2, "t2-shutdown"
    if reset is not None and reset.deadline and not 0 < at <= reset.deadline:
        at, reason = reset.deadline, "stream-reset"
    return Timeout(at, reason) if at else None
