"""The `echo` application's data channels: every message goes back on the channel it came on (DESIGN 5).

Owned by the session, on the control thread; sans-I/O. Back-pressure is whole: a message that the association has no
room to send is held, and no further event is taken from the association until it went; so its receive window closes,
and the sender feels it. Labels, protocols, order and reliability are the channel's own and are kept by answering on it.
"""

from typing import NamedTuple

from transceiverd.sctp.association import Association
from transceiverd.sctp.events import ChannelClosed, Closed, MessageReceived
from transceiverd.sctp.reassembly import FRAGMENT_COST

TOO_LONG = "echo-too-long"  # messages not returned, because the peer's SDP says that it takes none so long


class HeldMessage(NamedTuple):
    """A message that waits for room."""

    stream_id: int
    data: bytes
    is_text: bool


class EchoChannels:
    """One call's channels. `held` belongs to the call's state as the association does."""

    __slots__ = ("association", "closed", "echoed", "held")

    def __init__(self, association: Association) -> None:
        self.association = association
        self.closed = ""
        self.echoed = 0
        self.held: HeldMessage | None = None

    def work(self, now: int) -> None:
        """Take what the association has received, as long as it takes what we answer."""
        while self._send_held(now) and (event := self.association.poll_event()) is not None:
            match event:
                case MessageReceived(stream_id, data, is_text):
                    self.held = HeldMessage(stream_id, data, is_text)
                case ChannelClosed(stream_id):
                    if self.held is not None and self.held.stream_id == stream_id:
                        self.held = None
                case Closed(reason):
                    self.closed = reason
                case _:
                    pass  # opened, established, room again: nothing of their own to do

    def held_bytes(self) -> int:
        """What the message that waits costs."""
        return 0 if self.held is None else len(self.held.data) + FRAGMENT_COST

    def _send_held(self, now: int) -> bool:
        """False: the message has to wait."""
        message = self.held
        if message is None:
            return True
        try:
            sent = self.association.send(message.stream_id, message.data, message.is_text, now)
        except ValueError:
            self.association.drops[TOO_LONG] += 1
            self.held = None  # longer than what the peer says that it takes: it sent what it does not want back
            return True
        if sent:
            self.echoed += 1
        if sent or not self.association.is_open(message.stream_id):
            self.held = None
        return self.held is None
