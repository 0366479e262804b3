"""The session world with data channels: a process that dies at chosen moments, a caller whose SCTP is tampered with.

`DataWorld` kills the control thread of its process at the n-th chance from now: before or after a blob is written,
before or after a datagram leaves. Every connected call is then made anew from its record and blob, as in the product.
`DataCaller` loses, doubles, holds back and repeats SCTP packets inside DTLS, and keeps the books of its messages: the
server echoes, so what came back on a channel must be what was sent on it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from fuzz.session_world import World
from tests.data_client import DataClient
from transceiverd.blob import BlobWriter
from transceiverd.calls import Call
from transceiverd.dtls.engine import ApplicationDataReceived
from transceiverd.engine import Closed
from transceiverd.lanes import ControlLanes
from transceiverd.sctp.channels import ChannelState
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.states import State as Sctp
from transceiverd.session import State

PASS, LOSE, TWICE, HOLD = range(4)
CONFIG = DataChannelConfig(
    max_message_bytes=4_096, receive_buffer_bytes=16_384, send_buffer_bytes=16_384, interleaved_buffer_bytes=65_536
)
# Less than any configuration may say: with one message on its way back a second has to wait.
SERVER_CONFIG = msgspec.structs.replace(CONFIG, send_buffer_bytes=900)
UNDER_WAY_MAX = 3  # messages of a caller that have not come back: more would not fit the blob, which is another story
SEEN_KEPT = 100


WORLDS: list["DataWorld"] = []  # the one at stake, while worlds are `mortal`


class Killed(BaseException):
    """The process is gone. Raised within `DataWorld.turn` and `handle_timeout` alone, which go on with another one; no
    `except Exception` on the way may survive it, as none survives SIGKILL."""


class DataWorld(World):
    """`die_in`: chances to die until the process does; 0: it lives."""

    def __init__(self, slots: int, on_revived: Callable[[Call], None]) -> None:
        super().__init__(slots, data_channel=SERVER_CONFIG)
        self.die_in = 0
        self.deaths = 0
        self._on_revived = on_revived
        self._mortal = False

    def risk(self) -> None:
        """A chance to die."""
        if self._mortal and self.die_in:
            self.die_in -= 1
            if not self.die_in:
                raise Killed

    @contextmanager
    def _may_die(self) -> Iterator[None]:
        outer, self._mortal = self._mortal, True
        try:
            yield
        except Killed:
            self._mortal = False
            self.revive()
        finally:
            self._mortal = outer

    def turn(self) -> None:
        with self._may_die():
            super().turn()

    def handle_timeout(self, now: int) -> None:
        with self._may_die():
            super().handle_timeout(now)

    def revive(self) -> None:
        """What a new process does with what the old one left."""
        self.deaths += 1
        for call in list(self.calls.of_slots(self.calls.slots())):
            if call.closing:  # what media said of it may have died with the turn
                self.calls.media_removed(call.owner.slot, call.owner.generation)
            elif call.session.state in (State.CONNECTED, State.SILENT):
                self._on_revived(self.restore(call))
        self.turn()


@contextmanager
def mortal() -> Iterator[None]:
    """Worlds may die where it does most harm."""
    write, send = BlobWriter.write, ControlLanes.send

    def mortal_write(self: BlobWriter, *parts: bytes) -> None:
        risk()
        write(self, *parts)
        risk()

    def mortal_send(self: ControlLanes, *arguments: Any) -> bool:
        risk()
        sent = send(self, *arguments)
        risk()
        return sent

    def risk() -> None:
        for world in WORLDS:
            world.risk()

    BlobWriter.write, ControlLanes.send = mortal_write, mortal_send  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        BlobWriter.write, ControlLanes.send = write, send  # type: ignore[method-assign]
        WORLDS.clear()


class DataCaller(DataClient):
    """`tainted`: it sent SCTP packets that no honest peer makes; what its channels carry then is its own affair."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, config=CONFIG, **more)
        self.sent: dict[int, list[bytes]] = {}
        self.came: dict[int, list[bytes]] = {}
        self.unordered: set[int] = set()
        self.tainted = False
        self.out: list[int] = []  # what happens to the next packets, each way
        self.into: list[int] = []
        self.seen: list[bytes] = []  # packets that left
        self._held: dict[bool, list[bytes]] = {True: [], False: []}
        self.count = 0

    @property
    def reasons(self) -> list[str]:
        """Why its association ended, if it did."""
        return [event.reason for event in self.events if isinstance(event, Closed)]

    # ------------------------------------------------------------------ channels

    def open(self, ordered: bool) -> None:
        """One more channel."""
        stream_id = self.association.open_channel(f"c{len(self.sent)}", ordered=ordered)
        self.sent.setdefault(stream_id, [])
        if not ordered:
            self.unordered.add(stream_id)

    def say(self, which: int, size: int) -> None:
        """One more message; every one is different."""
        open_ones = [stream_id for stream_id in self.sent if self.association.is_open(stream_id)]
        if not open_ones or self.under_way() >= UNDER_WAY_MAX:
            return
        stream_id = open_ones[which % len(open_ones)]
        self.count += 1
        data = b"%06d" % self.count + bytes(size)
        if self.association.send(stream_id, data, False, self.now):
            self.sent[stream_id].append(data)

    def close(self, which: int) -> None:
        """A channel from which everything came back: its end must take nothing along."""
        idle = [sid for sid in self.sent if self.association.is_open(sid) and not self.missing(sid)]
        if idle:
            stream_id = idle[which % len(idle)]
            self.association.close_channel(stream_id, self.now)
            self.take()
            del self.sent[stream_id]
            self.came.pop(stream_id, None)
            self.unordered.discard(stream_id)

    def take(self) -> None:
        """Into the books; an id that is used again begins anew."""
        for stream_id, messages in self.received.items():
            self.came.setdefault(stream_id, []).extend(messages)
        self.received.clear()

    def missing(self, stream_id: int) -> int:
        """Messages that have not come back."""
        self.take()
        return len(self.sent[stream_id]) - len(self.came.get(stream_id, ()))

    def under_way(self) -> int:
        """Of all channels."""
        return sum(self.missing(stream_id) for stream_id in self.sent)

    def closing(self) -> bool:
        """Whether a channel that it closed is not closed yet."""
        return any(channel.state is ChannelState.CLOSING for channel in self.association.channels.values())

    def waits(self) -> bool:
        """Whether time may still bring something."""
        return self.association.state is not Sctp.DONE and (self.under_way() > 0 or self.closing())

    def check_messages(self) -> None:
        """Once each, in order, none invented."""
        self.take()
        for stream_id, came in self.came.items():
            sent = self.sent[stream_id]
            if stream_id in self.unordered:
                assert len(set(came)) == len(came), "a message came twice"
                assert set(came) <= set(sent), "a message that nobody sent"
            else:
                assert came == sent[: len(came)], "lost, doubled or out of order"

    # ------------------------------------------------------------------ the wire inside DTLS

    def _through(self, packet: bytes, fates: list[int], outward: bool) -> list[bytes]:
        held = self._held[outward]
        fate = fates.pop(0) if fates else PASS
        if fate == HOLD:
            held.append(packet)
            return []
        found = [packet] * (0, 1, 2)[{LOSE: 0, PASS: 1, TWICE: 2}[fate]] + held
        held.clear()
        return found

    def on_dtls(self, event: object) -> None:
        if isinstance(event, ApplicationDataReceived):
            for packet in self._through(event.data, self.into, False):
                super().on_dtls(ApplicationDataReceived(packet))
        else:
            super().on_dtls(event)

    def _work(self) -> None:
        send = self.dtls.send
        while (packet := self.association.poll_datagram()) is not None:
            self.seen = [*self.seen[1 - SEEN_KEPT :], packet]
            for each in self._through(packet, self.out, True):
                send(each, self.now)
        super()._work()  # events; packets are gone
