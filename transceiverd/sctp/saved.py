"""The whole state of an association as bytes, and back (DESIGN 2.13).

Called by `Association.save` and `restore`. What is kept is what both peers must agree on: tags, TSNs, stream sequence
numbers, channels, messages not yet acknowledged or not yet fetched, resets under way. What is left out costs at most
what a lost packet costs: answers that wait to be sent (the peer asks again), round-trip measurements under way, burst
allowance. Deadlines are not kept but started anew, and lifetimes are kept as time left: the clock may be another
machine's.

Whoever saves must save before what was polled since is sent: a TSN must never stand for two things. Size: about 250
bytes, 30 and the label for each channel, and all messages that wait in either direction.
"""

from typing import TYPE_CHECKING, Any

import msgspec

from transceiverd.sctp.channels import Channel, ChannelState
from transceiverd.sctp.dcep import Open
from transceiverd.sctp.events import (
    AssociationEstablished,
    BufferedAmountLow,
    ChannelClosed,
    ChannelOpened,
    Closed,
    MessageReceived,
)
from transceiverd.sctp.initiation import Features
from transceiverd.sctp.outbound import PRIORITY_NORMAL, OutboundMessage, OutboundStream
from transceiverd.sctp.outstanding import ACKED, IN_FLIGHT, LOST, Outstanding, SentChunk
from transceiverd.sctp.reassembly import FRAGMENT_COST, InboundStream, Run
from transceiverd.sctp.reception import AT_ONCE, NOTHING, Reception
from transceiverd.sctp.reset import Request, StreamReset
from transceiverd.sctp.states import State
from transceiverd.sctp.transmission import Transmission

if TYPE_CHECKING:
    from transceiverd.sctp.association import Association

VERSION = 1
EVENTS: tuple[type[Any], ...] = (
    AssociationEstablished,
    ChannelOpened,
    MessageReceived,
    ChannelClosed,
    BufferedAmountLow,
    Closed,
)


class SavedReception(msgspec.Struct, array_like=True):
    """The receiving half. `streams`: id, next in order, runs by key, ready messages."""

    cumulative: int
    gaps: list[int]
    owes_sack: bool
    announced: int
    streams: list[tuple[int, int, list[tuple[int, list[tuple[int, int, bool, bool, int, list[bytes]]]]],
                        list[tuple[int, int, bytes]]]]  # fmt: skip


class SavedTransmission(msgspec.Struct, array_like=True):
    """The sending half. A message names its stream, PPID, data, unordered, limit, time left, sequence, bytes cut,
    fragments, abandoned, waits; a chunk names its message, offset, size, fragment, state, transmissions, ends."""

    cumulative: int
    peer_window: int
    errors: int
    advanced: int
    window: tuple[int, int, int, int]
    messages: list[tuple[int, int, bytes, bool, int, int, int, int, int, bool, bool]]
    chunks: list[tuple[int, int, int, int, int, int, bool]]


class SavedReset(msgspec.Struct, array_like=True):
    """Stream resets."""

    next_number: int
    expected: int
    last_result: int
    waiting: list[int]
    request: tuple[int, int, tuple[int, ...]] | None
    deferred: tuple[int, int, tuple[int, ...]] | None


class SavedChannel(msgspec.Struct, array_like=True):
    """A channel and its stream. `marks`: its flags as bits."""

    stream_id: int
    opening: Open
    state: int
    marks: int
    low_threshold: int
    next_ordered: int
    next_unordered: int


class SavedAssociation(msgspec.Struct, array_like=True):
    """Everything."""

    version: int
    state: int
    local_port: int
    remote_port: int
    parity: int
    remote_max_message_size: int
    local_init: bytes
    remote_init: bytes | None
    has_local_init: bool
    cookie_key: bytes
    cookie_echo: bytes
    peer_tag: int
    peer_streams: int
    features: int
    rto: tuple[int, int, int]
    retries: tuple[int, int]
    transmission: SavedTransmission
    reception: SavedReception | None
    reset: SavedReset | None
    channels: list[SavedChannel]
    events: list[tuple[int, tuple[Any, ...]]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(SavedAssociation)


def save(association: "Association") -> bytes:
    """The state now."""
    rto = association.rto
    return _encoder.encode(
        SavedAssociation(
            VERSION,
            association.state,
            association.local_port,
            association.remote_port,
            association.parity,
            association.remote_max_message_size,
            association.local_init.serialize(),
            None if association.remote_init is None else association.remote_init.serialize(),
            association.has_local_init,
            association.cookie_key,
            association.cookie_echo,
            association.peer_tag,
            association.peer_streams,
            association.features.pack(),
            (rto.value, rto.round_trip, rto.variation),
            (association.t1_count, association.t2_count),
            _save_transmission(association.transmission, association.now),
            None if association.reception is None else _save_reception(association.reception),
            None if association.reset is None else _save_reset(association.reset),
            [_save_channel(association, channel) for channel in association.channels.values()],
            [(EVENTS.index(type(event)), tuple(event)) for event in association.events],
        )
    )


BASE_COST = 512  # bytes: everything but channels and messages, with every number at its longest
CHANNEL_COST = 64  # bytes: a channel, its stream both ways, and an event about it


def cost(association: "Association") -> int:
    """A bound of what `save` gives, without making it."""
    found = BASE_COST + association.transmission.buffered + 32 * association.transmission.outstanding.count()
    reception = association.reception
    if reception is not None:
        streams = len(reception.reassembly.streams) + len(association.events)
        found += (
            reception.reassembly.held + reception.unfetched + CHANNEL_COST * streams + 10 * len(reception.tracker.gaps)
        )
    return found + sum(CHANNEL_COST + 4 * channel.text_size() for channel in association.channels.values())


def load(data: bytes) -> SavedAssociation:
    """Read what `save` wrote; ValueError if it is not that."""
    try:
        saved = _decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError("not a saved association") from error
    if saved.version != VERSION:
        raise ValueError(f"saved association of version {saved.version}, this release reads {VERSION}")
    return saved


def apply(saved: SavedAssociation, association: "Association", now: int) -> None:
    """Bring a fresh association into the saved state."""
    association.enter(State(saved.state))
    association.cookie_key = saved.cookie_key
    association.cookie_echo = saved.cookie_echo
    association.peer_tag = saved.peer_tag
    association.peer_streams = saved.peer_streams
    association.features = Features.unpack(saved.features)
    association.t1_count, association.t2_count = saved.retries
    rto = association.rto
    rto.value, rto.round_trip, rto.variation = saved.rto
    if saved.reception is not None and saved.reset is not None:
        association.prepare(saved.reception.cumulative + 1, saved.transmission.peer_window)
        _apply_reception(saved.reception, association.reception_now())
        association.reset = _apply_reset(saved.reset, now + rto.value)
    for channel in saved.channels:
        _apply_channel(channel, association)
    _apply_transmission(saved.transmission, association.transmission, now)
    association.events = [EVENTS[kind](*fields) for kind, fields in saved.events]
    for event in association.events:
        if isinstance(event, MessageReceived):
            association.reception_now().unfetched += len(event.data) + FRAGMENT_COST
    association.rearm(now)


# ---------------------------------------------------------------------- the receiving half


def _save_reception(reception: Reception) -> SavedReception:
    streams = []
    for stream_id, stream in reception.reassembly.streams.items():
        runs = [
            (key, [(run.first, run.last, run.begins, run.ends, run.ppid, run.parts) for run in found])
            for key, found in (stream.runs or {}).items()
        ]
        ready = [(sequence, ppid, data) for sequence, (ppid, data) in (stream.ready or {}).items()]
        streams.append((stream_id, stream.next, runs, ready))
    tracker = reception.tracker
    owes = reception.sack_wanted != NOTHING
    return SavedReception(tracker.cumulative, tracker.gaps, owes, reception.announced, streams)


def _apply_reception(saved: SavedReception, reception: Reception) -> None:
    reception.tracker.gaps = saved.gaps
    reception.announced = saved.announced
    reception.packets = 0
    reception.sack_wanted = AT_ONCE if saved.owes_sack else NOTHING
    reassembly = reception.reassembly
    for stream_id, next_sequence, runs, ready in saved.streams:
        stream = reassembly.streams[stream_id] = InboundStream()
        stream.next = next_sequence
        stream.runs = {key: [Run.restore(*fields) for fields in found] for key, found in runs} or None
        stream.ready = {sequence: (ppid, data) for sequence, ppid, data in ready} or None
        reassembly.held += sum(run.cost() for found in (stream.runs or {}).values() for run in found)
        reassembly.held += sum(len(data) + FRAGMENT_COST for _, _, data in ready)


# ---------------------------------------------------------------------- the sending half


def _save_transmission(transmission: Transmission, now: int) -> SavedTransmission:
    outstanding, window = transmission.outstanding, transmission.window
    chunks = outstanding.chunks[outstanding.head :]
    waiting = [message for stream in transmission.queue.active for message in stream.queue]
    messages = list({id(message): message for message in [*(chunk.message for chunk in chunks), *waiting]}.values())
    place = {id(message): index for index, message in enumerate(messages)}
    waits = {id(message) for message in waiting}
    return SavedTransmission(
        outstanding.cumulative,
        transmission.peer_window,
        transmission.errors,
        transmission.advanced,
        (window.size, window.threshold, window.acknowledged, window.recovery_exit),
        [_save_message(message, now, id(message) in waits) for message in messages],
        [
            (place[id(chunk.message)], chunk.offset, chunk.size, chunk.fragment, chunk.state, chunk.transmissions,
             chunk.ends)
            for chunk in chunks
        ],
    )  # fmt: skip


def _save_message(
    message: OutboundMessage, now: int, waits: bool
) -> tuple[int, int, bytes, bool, int, int, int, int, int, bool, bool]:
    left = max(message.expires_at - now, 1) if message.expires_at else 0
    return (
        message.stream_id,
        message.ppid,
        message.data,
        message.unordered,
        message.max_retransmits,
        left,
        message.sequence,
        message.sent,
        message.fragments,
        message.abandoned,
        waits,
    )


def _apply_transmission(saved: SavedTransmission, transmission: Transmission, now: int) -> None:
    transmission.errors = saved.errors
    transmission.advanced = saved.advanced
    window = transmission.window
    window.size, window.threshold, window.acknowledged, window.recovery_exit = saved.window
    transmission.outstanding = outstanding = Outstanding(saved.cumulative + 1)
    messages = [_apply_message(fields, transmission, now) for fields in saved.messages]
    for index, offset, size, fragment, state, transmissions, ends in saved.chunks:
        chunk = SentChunk(outstanding.next_tsn, messages[index], offset, size, fragment)
        chunk.state, chunk.transmissions, chunk.ends, chunk.sent_at = state, transmissions, ends, now
        _restore_chunk(outstanding, chunk)
    transmission.t3 = now + transmission.rto.value if outstanding.count() else 0
    transmission.forward_due = transmission.advanced > outstanding.cumulative


def _restore_chunk(outstanding: Outstanding, chunk: SentChunk) -> None:
    outstanding.next_tsn += 1
    outstanding.chunks.append(chunk)
    outstanding.flight += chunk.cost() if chunk.state == IN_FLIGHT else 0
    outstanding.lost += chunk.state == LOST
    outstanding.gap_acked += chunk.state == ACKED


def _apply_message(fields: tuple[Any, ...], transmission: Transmission, now: int) -> OutboundMessage:
    stream_id, ppid, data, unordered, limit, left, sequence, sent, fragments, abandoned, waits = fields
    message = OutboundMessage(stream_id, ppid, data, unordered, limit, now + left if left else 0)
    message.sequence, message.sent, message.fragments, message.abandoned = sequence, sent, fragments, abandoned
    transmission.buffered += message.cost()
    if waits:
        queue = transmission.queue
        stream = queue.streams[stream_id]
        queue.push(stream, message)
        stream.waiting -= sent
        if sent and not queue.interleaved:
            queue.current = stream
    return message


# ---------------------------------------------------------------------- resets and channels


def _save_reset(reset: StreamReset) -> SavedReset:
    return SavedReset(
        reset.next_number, reset.expected, reset.last_result, reset.waiting, reset.request, reset.deferred
    )


def _apply_reset(saved: SavedReset, deadline: int) -> StreamReset:
    reset = StreamReset(saved.next_number, saved.expected)
    reset.last_result = saved.last_result
    reset.waiting = saved.waiting
    reset.request = None if saved.request is None else Request(*saved.request)
    reset.deferred = None if saved.deferred is None else Request(*saved.deferred)
    reset.deadline = deadline if reset.request is not None else 0
    return reset


def _save_channel(association: "Association", channel: Channel) -> SavedChannel:
    stream = association.transmission.queue.streams[channel.stream_id]
    flags = (
        channel.negotiated,
        channel.in_order_first,
        channel.inbound_reset,
        channel.outbound_reset,
        channel.refused,
    )
    marks = sum(flag << place for place, flag in enumerate(flags))
    return SavedChannel(
        channel.stream_id,
        channel.opening,
        channel.state,
        marks,
        stream.low_threshold,
        stream.next_ordered,
        stream.next_unordered,
    )


def _apply_channel(saved: SavedChannel, association: "Association") -> None:
    flags = [bool(saved.marks & 1 << place) for place in range(5)]
    channel = Channel(saved.stream_id, saved.opening, flags[0], ChannelState(saved.state))
    channel.in_order_first, channel.inbound_reset, channel.outbound_reset, channel.refused = flags[1:5]
    association.refusals = association.refusals or channel.refused
    association.channels[channel.stream_id] = channel
    stream = OutboundStream(saved.stream_id, saved.opening.priority or PRIORITY_NORMAL, saved.low_threshold)
    stream.next_ordered, stream.next_unordered = saved.next_ordered, saved.next_unordered
    association.transmission.queue.streams[channel.stream_id] = stream
