"""What an association tells its owner, in the order it happened. Polled by `Association.poll_event()`."""

from typing import NamedTuple

from transceiverd.engine import Closed


class AssociationEstablished(NamedTuple):
    """Data may flow both ways. Comes again if the peer restarts the association (RFC 9260 5.2)."""


class ChannelOpened(NamedTuple):
    """A channel can be used: the peer opened it, or confirmed or needed not confirm ours.

    At most one of `max_retransmits` and `max_lifetime_ms` is set. `negotiated`: agreed without a DCEP exchange.
    """

    stream_id: int
    label: str
    protocol: str
    ordered: bool
    max_retransmits: int | None
    max_lifetime_ms: int | None
    priority: int
    negotiated: bool


class MessageReceived(NamedTuple):
    """One whole message."""

    stream_id: int
    data: bytes
    is_text: bool


class ChannelClosed(NamedTuple):
    """Both directions of the channel are reset; its id may be used again."""

    stream_id: int


class BufferedAmountLow(NamedTuple):
    """What waits to be sent on the channel fell to its threshold, or there is room again after a refused `send`."""

    stream_id: int


Event = AssociationEstablished | ChannelOpened | MessageReceived | ChannelClosed | BufferedAmountLow | Closed

__all__ = [
    "AssociationEstablished",
    "BufferedAmountLow",
    "ChannelClosed",
    "ChannelOpened",
    "Closed",
    "Event",
    "MessageReceived",
]
