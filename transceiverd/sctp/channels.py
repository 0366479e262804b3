"""Data channels on top of streams: opened, used, closed, ids used again (RFC 8831 6, RFC 8832 6).

Functions on the association's table of channels; called by `association.py` for the application's wishes and for
messages and resets that came. A channel lives from its OPEN (or its agreement elsewhere) until both directions of its
stream are reset. The DTLS client uses even ids, the server odd ones.
"""

from enum import IntEnum
from typing import TYPE_CHECKING

from shm.errors import MalformedPacket
from transceiverd.engine import MILLISECOND
from transceiverd.sctp import dcep
from transceiverd.sctp.errors import Refused
from transceiverd.sctp.events import BufferedAmountLow, ChannelClosed, ChannelOpened, MessageReceived
from transceiverd.sctp.outbound import PRIORITY_NORMAL, OutboundMessage, OutboundStream
from transceiverd.sctp.reassembly import FRAGMENT_COST
from transceiverd.sctp.states import State

if TYPE_CHECKING:
    from transceiverd.sctp.association import Association

TEXT_BYTES_MAX = 131_070  # of all labels and protocols of an association: one channel with the longest RFC 8832 allows
STREAM_ID_MAX = 65_534  # 65,535 is not to be used (RFC 8832 6)
EMPTY = b"\0"  # what stands for an empty message, which SCTP cannot send (RFC 8831 6.6)


class ChannelState(IntEnum):
    """OPENING: we sent OPEN and have no answer; CLOSING: a reset of ours is wanted or done."""

    OPENING = 0
    OPEN = 1
    CLOSING = 2


class Channel:
    """One data channel. `in_order_first`: unordered messages go ordered until the peer is seen to know the channel."""

    __slots__ = ("in_order_first", "inbound_reset", "negotiated", "opening", "outbound_reset", "refused", "state",
                 "stream_id")  # fmt: skip

    def __init__(self, stream_id: int, opening: dcep.Open, negotiated: bool, state: ChannelState) -> None:
        self.stream_id = stream_id
        self.opening = opening
        self.negotiated = negotiated
        self.state = state
        self.in_order_first = state is ChannelState.OPENING
        self.inbound_reset = False
        self.outbound_reset = False
        self.refused = False  # a send was refused: BufferedAmountLow is owed

    def opened(self) -> ChannelOpened:
        """The event that announces it."""
        opening = self.opening
        return ChannelOpened(
            self.stream_id,
            opening.label,
            opening.protocol,
            opening.ordered,
            opening.max_retransmits,
            opening.max_lifetime_ms,
            opening.priority,
            self.negotiated,
        )

    def text_size(self) -> int:
        """Bytes of memory that the peer chose."""
        return len(self.opening.label) + len(self.opening.protocol)


def add(association: "Association", channel: Channel) -> None:
    """Put a channel and its stream in place."""
    association.channels[channel.stream_id] = channel
    streams = association.transmission.queue.streams
    streams[channel.stream_id] = OutboundStream(channel.stream_id, channel.opening.priority or PRIORITY_NORMAL)


def free_id(association: "Association") -> int:
    """The lowest free stream id of our parity; ValueError when there is none."""
    if len(association.channels) < association.config.channels_max:
        for stream_id in range(association.parity, min(STREAM_ID_MAX + 1, association.peer_streams), 2):
            if stream_id not in association.channels:
                return stream_id
    raise ValueError("no stream id is free")


def claim_id(association: "Association", stream_id: int | None, negotiated: bool) -> int:
    """The stream id of a new channel of ours; ValueError if it cannot be had."""
    if stream_id is None:
        return free_id(association)
    if not 0 <= stream_id <= STREAM_ID_MAX or stream_id in association.channels:
        raise ValueError("stream id is taken or out of range")
    if not negotiated and stream_id % 2 != association.parity:
        raise ValueError("stream id has the peer's parity")
    return stream_id


def open_channel(association: "Association", opening: dcep.Open, wanted_id: int | None, negotiated: bool) -> int:
    """A new channel of ours; its stream id. ValueError if there is none to be had."""
    stream_id = claim_id(association, wanted_id, negotiated)
    channel = Channel(stream_id, opening, negotiated, ChannelState.OPEN if negotiated else ChannelState.OPENING)
    add(association, channel)
    if not negotiated:
        queue_control(association, stream_id, opening.serialize())
    elif association.state >= State.ESTABLISHED:
        association.events.append(channel.opened())
    return stream_id


def on_established(association: "Association", channel: Channel) -> None:
    """A channel that was made before the handshake was done."""
    if channel.state is ChannelState.CLOSING:
        wish_reset(association, channel)
    elif channel.stream_id >= association.peer_streams:
        forget(association, channel)
    elif channel.negotiated:
        association.events.append(channel.opened())


def send(association: "Association", stream_id: int, data: bytes, is_text: bool, now: int) -> bool:
    """Queue a message of the application; False: closed, or no room."""
    channel = association.channels.get(stream_id)
    if channel is None or channel.state is ChannelState.CLOSING or association.state > State.ESTABLISHED:
        return False
    if len(data) > association.remote_max_message_size > 0:
        raise ValueError(f"message of {len(data)} bytes, the peer takes {association.remote_max_message_size}")
    buffered = association.transmission.buffered
    if buffered and buffered + len(data) > association.config.send_buffer_bytes:
        channel.refused = True
        association.refusals = True
        return False
    if data:
        queue(association, channel, dcep.PPID_TEXT if is_text else dcep.PPID_BINARY, data, now)
    else:
        queue(association, channel, dcep.PPID_TEXT_EMPTY if is_text else dcep.PPID_BINARY_EMPTY, EMPTY, now)
    return True


def tell_room(association: "Association") -> None:
    """Whoever was refused may try again once half of the send buffer is free."""
    association.refusals = False
    for channel in association.channels.values():
        if channel.refused:
            channel.refused = False
            association.events.append(BufferedAmountLow(channel.stream_id))


def queue(association: "Association", channel: Channel, ppid: int, data: bytes, now: int) -> None:
    """Queue a message with the channel's reliability."""
    opening = channel.opening
    limit = -1 if opening.max_retransmits is None else opening.max_retransmits
    lifetime = opening.max_lifetime_ms
    expires_at = 0 if lifetime is None else now + max(lifetime * MILLISECOND, 1)
    unordered = not opening.ordered and not channel.in_order_first
    association.transmission.push(OutboundMessage(channel.stream_id, ppid, data, unordered, limit, expires_at))


def queue_control(association: "Association", stream_id: int, data: bytes) -> None:
    """Queue a DCEP message: reliable and ordered (RFC 8832 6)."""
    association.transmission.push(OutboundMessage(stream_id, dcep.PPID_DCEP, data, False))


def on_message(association: "Association", stream_id: int, ppid: int, data: bytes) -> None:
    """A whole message came."""
    begin_anew(association, stream_id)
    if ppid == dcep.PPID_DCEP:
        on_control(association, stream_id, data)
        return
    if ppid not in PAYLOADS:
        raise Refused("ppid-unknown")
    channel = association.channels.get(stream_id)
    if channel is None:
        channel = adopt(association, stream_id)
    channel.in_order_first = False
    if channel.state is ChannelState.OPENING:
        confirm(association, channel)  # RFC 8832 6: data says as much as an ACK
    is_text, empty = PAYLOADS[ppid]
    association.reception_now().unfetched += (0 if empty else len(data)) + FRAGMENT_COST
    association.events.append(MessageReceived(stream_id, b"" if empty else data, is_text))


def begin_anew(association: "Association", stream_id: int) -> None:
    """The peer may use an id again once both directions are reset, and our reset's answer may be lost, later than what
    it sends next, or forgotten with the process that took it: then what is sent next says the same."""
    channel, reset = association.channels.get(stream_id), association.reset
    if channel is not None and channel.inbound_reset and reset is not None:
        on_outbound_reset(association, reset.overtaken(stream_id))


PAYLOADS = {
    dcep.PPID_TEXT: (True, False),
    dcep.PPID_TEXT_PARTIAL: (True, False),
    dcep.PPID_TEXT_EMPTY: (True, True),
    dcep.PPID_BINARY: (False, False),
    dcep.PPID_BINARY_PARTIAL: (False, False),
    dcep.PPID_BINARY_EMPTY: (False, True),
}


def adopt(association: "Association", stream_id: int) -> Channel:
    """A message on a stream without a channel: one that the peer takes for agreed, if we allow that."""
    full = len(association.channels) >= association.config.channels_max
    if association.reset is not None and association.reset.wants(stream_id):
        raise Refused("channel-closing")  # what follows a bad OPEN
    if full or stream_id > STREAM_ID_MAX or not association.config.unannounced_channels:
        raise Refused("channel-unknown")
    channel = Channel(stream_id, dcep.Open("", ""), True, ChannelState.OPEN)
    add(association, channel)
    association.events.append(channel.opened())
    return channel


def on_control(association: "Association", stream_id: int, data: bytes) -> None:
    """OPEN or ACK."""
    if data == dcep.ACK:
        channel = association.channels.get(stream_id)
        if channel is None:
            raise Refused("dcep-ack-unknown")
        channel.in_order_first = False
        if channel.state is ChannelState.OPENING:
            confirm(association, channel)
        return
    try:
        opening = dcep.parse_open(data)
        require_free(association, stream_id, opening)
    except (MalformedPacket, Refused):
        refuse(association, stream_id)
        raise
    channel = Channel(stream_id, opening, False, ChannelState.OPEN)
    add(association, channel)
    queue_control(association, stream_id, dcep.ACK)
    association.events.append(channel.opened())


def require_free(association: "Association", stream_id: int, opening: dcep.Open) -> None:
    """Whether the peer may open this channel."""
    channels = association.channels
    if stream_id in channels:
        raise Refused("dcep-open-twice")
    if stream_id % 2 == association.parity or stream_id > STREAM_ID_MAX:
        raise Refused("dcep-open-parity")
    text = sum(channel.text_size() for channel in channels.values()) + len(opening.label) + len(opening.protocol)
    if len(channels) >= association.config.channels_max or text > TEXT_BYTES_MAX:
        raise Refused("channels-many")


def refuse(association: "Association", stream_id: int) -> None:
    """A bad OPEN closes the stream (RFC 8832 6), and with it the channel that was there."""
    channel = association.channels.get(stream_id)
    if channel is not None:
        close(association, channel)
    elif association.reset is not None:
        association.reset.want(stream_id)


def confirm(association: "Association", channel: Channel) -> None:
    """The peer knows a channel of ours."""
    channel.state = ChannelState.OPEN
    association.events.append(channel.opened())


def close(association: "Association", channel: Channel) -> None:
    """We want the channel closed: reset our direction once its queue is sent."""
    if channel.state is ChannelState.CLOSING:
        return
    channel.state = ChannelState.CLOSING
    if association.reset is not None:
        wish_reset(association, channel)


def wish_reset(association: "Association", channel: Channel) -> None:
    """Ask for the reset of our direction (RFC 8831 6.7); of a peer that cannot, nothing more is expected."""
    assert association.reset is not None
    association.reset.want(channel.stream_id)
    channel.inbound_reset = channel.inbound_reset or not association.features.reset


def on_inbound_reset(association: "Association", streams: tuple[int, ...]) -> None:
    """The peer reset its direction of these streams (none named: of all)."""
    reassembly = association.reception_now().reassembly
    for stream_id in streams or tuple(reassembly.streams):
        reassembly.reset(stream_id)
    for stream_id in streams or tuple(association.channels):
        channel = association.channels.get(stream_id)
        if channel is None:
            continue
        channel.inbound_reset = True
        transmission = association.transmission
        transmission.buffered -= transmission.queue.discard(stream_id)
        close(association, channel)
        finish(association, channel)


def on_outbound_reset(association: "Association", streams: tuple[int, ...]) -> None:
    """Our direction of these streams is reset."""
    for stream_id in streams:
        stream = association.transmission.queue.streams.get(stream_id)
        if stream is not None:
            stream.restart()
        channel = association.channels.get(stream_id)
        if channel is not None:
            channel.outbound_reset = True
            finish(association, channel)


def finish(association: "Association", channel: Channel) -> None:
    """Both directions are reset: the id is free."""
    if channel.inbound_reset and channel.outbound_reset:
        forget(association, channel)


def forget(association: "Association", channel: Channel) -> None:
    """The channel is gone."""
    queue = association.transmission.queue
    association.transmission.buffered -= queue.discard(channel.stream_id)
    del association.channels[channel.stream_id]
    del queue.streams[channel.stream_id]
    association.events.append(ChannelClosed(channel.stream_id))
