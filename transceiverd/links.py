"""The messages between transceiverd's own processes, and the link that carries them.

The supervisor, the transceivers and the signalling process are joined by AF_UNIX SOCK_SEQPACKET pairs made by the
supervisor: one MessagePack message a datagram, descriptors beside it. Both ends are our own processes of one release,
so there is no negotiation here; the daemons' border is `shm/attach.py`.

    supervisor  <-> transceiver   lanes and life
    supervisor  <-> signalling    which transceivers there are
    signalling  <-> transceiver   calls
"""

import array
import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable

import msgspec

MESSAGE_BYTES_MAX = 256 * 1024  # an offer is at most 64 KiB of SDP; a list of sessions comes in pages
DESCRIPTORS_MAX = 32
QUEUE_MAX = 4096  # messages kept for a peer that does not read; beyond it the link counts as broken


class Message(msgspec.Struct, tag=True, frozen=True):
    """Base of everything that a link carries."""


# --------------------------------------------------------------- supervisor -> transceiver


class UseLane(Message, frozen=True):
    """One lane to a relay worker; descriptors in the order of `shm.lane.Lane.fds`."""

    worker: int


class DropLane(Message, frozen=True):
    """That relay worker is no more: the relay started again with fewer."""

    worker: int


class RelayAttached(Message, frozen=True):
    """The relay (again) holds our lanes: publish every flow again (DESIGN 2.7)."""


class RelayDetached(Message, frozen=True):
    """The relay is gone: nothing can be sent or answered."""


class UseKeys(Message, frozen=True):
    """Read the ufrag keys again: the relay has confirmed the current one."""

    path: str


class WorkerReplaced(Message, frozen=True):
    """A relay worker was replaced."""

    worker: int


class UseSignalling(Message, frozen=True):
    """The socket of a new signalling process, as descriptor."""


class Stop(Message, frozen=True):
    """End all calls with BYE and close_notify, then exit."""

    reason: str


class NeedSignalling(Message, frozen=True):
    """The other way: the link to signalling broke, a new one is wanted."""


# --------------------------------------------------------------- supervisor -> signalling


class Alive(Message, frozen=True):
    """The other way: the signalling process's loop turns."""


class UseTransceiver(Message, frozen=True):
    """The socket of a new transceiver process, and its control and media counters, as descriptors."""

    transceiver: int
    slots: int


class TransceiverGone(Message, frozen=True):
    """That process has ended."""

    transceiver: int


class RelayState(Message, frozen=True):
    """Whether the relay is attached, and the UDP port and the addresses it listens on."""

    attached: bool
    port: int = 0
    bind4: str = ""
    bind6: str = ""


# --------------------------------------------------------------- signalling <-> transceiver


class CreateCall(Message, frozen=True):
    """Open a call. `negotiation` is an encoded `sdp.Negotiation`; the rest is who asks, as in `calls.Caller`."""

    request: int
    negotiation: bytes
    owner: str = ""
    address: str = ""
    dialect: str = "realtime"


class CallCreated(Message, frozen=True):
    """What the answer needs of the transceiver."""

    request: int
    call_id: str
    ufrag: str
    password: str
    fingerprint: str
    ssrc: int
    cname: str
    sctp_init: bytes | None = None


class CallRefused(Message, frozen=True):
    """No call was made. `code` is for the client, `retry_after` in seconds."""

    request: int
    code: str
    message: str
    retry_after: int = 0


class Hangup(Message, frozen=True):
    """End a call, if it was made with the token that `owner` names; `None` may end any."""

    request: int
    call_id: str
    reason: str = "hangup"
    owner: str | None = None


class HangupDone(Message, frozen=True):
    """Whether there was such a call."""

    request: int
    found: bool


class Snapshot(Message, frozen=True):
    """Ask for what is known about one call; also about one that ended a short while ago."""

    request: int
    call_id: str


class SnapshotReply(Message, frozen=True):
    """`snapshot` is `None` when the call is not known."""

    request: int
    snapshot: dict[str, object] | None


class ListSessions(Message, frozen=True):
    """Ask for one line about each call, in pages."""

    request: int
    first_slot: int = 0


class SessionList(Message, frozen=True):
    """One page; `next_slot` is -1 on the last."""

    request: int
    sessions: list[dict[str, object]]
    next_slot: int


class CallEnded(Message, frozen=True):
    """A call has ended; all that was known of it."""

    snapshot: dict[str, object]


class Load(Message, frozen=True):
    """Sent by a transceiver several times a second: the router picks by it, and its silence means stuck."""

    calls: int
    slots_free: int
    accepting: bool


AnyMessage = (
    UseLane
    | DropLane
    | NeedSignalling
    | Alive
    | RelayAttached
    | RelayDetached
    | UseKeys
    | WorkerReplaced
    | UseSignalling
    | Stop
    | UseTransceiver
    | TransceiverGone
    | RelayState
    | CreateCall
    | CallCreated
    | CallRefused
    | Hangup
    | HangupDone
    | Snapshot
    | SnapshotReply
    | ListSessions
    | SessionList
    | CallEnded
    | Load
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """The datagram of a message, without its descriptors."""
    return _encoder.encode(message)


def decode(data: bytes) -> AnyMessage:
    """The message of a datagram. Raises msgspec.DecodeError when it is none of this release."""
    message: AnyMessage = _decoder.decode(data)
    return message


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a new link, non-blocking, with room for a few large messages."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_BYTES_MAX)
    return ends


def send_now(end: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message.

    Raises:
        BlockingIOError: the peer's buffer is full.
        OSError: the peer is gone.
    """
    data = encode(message)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    end.sendmsg([data], rights, socket.MSG_NOSIGNAL)


def receive_now(end: socket.socket) -> tuple[AnyMessage, list[int]] | None:
    """One message with its descriptors (the caller owns them), or `None` at the end of the link.

    Raises:
        BlockingIOError: nothing is there.
        msgspec.DecodeError: not a message of this release.
    """
    data, descriptors, flags, _ = socket.recv_fds(end, MESSAGE_BYTES_MAX, DESCRIPTORS_MAX, socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        for descriptor in descriptors:
            os.close(descriptor)
        raise msgspec.DecodeError("a message was cut short")
    return decode(data), descriptors


class Link:
    """One end of a link on an event loop. Never blocks: a peer that does not read is cut off at `QUEUE_MAX`."""

    def __init__(
        self,
        end: socket.socket,
        on_message: Callable[[AnyMessage, list[int]], None],
        on_closed: Callable[[], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._end = end
        self._on_message = on_message
        self._on_closed = on_closed
        self._loop = loop or asyncio.get_running_loop()
        self._queue: deque[tuple[Message, tuple[int, ...]]] = deque()
        self.closed = False
        self._loop.add_reader(end.fileno(), self._readable)

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Send now or as soon as the peer has room. A message to a closed link is dropped: its end was reported."""
        if self.closed:
            return
        if not self._queue:
            try:
                send_now(self._end, message, descriptors)
            except BlockingIOError:
                self._loop.add_writer(self._end.fileno(), self._writable)
            except OSError:
                self._lost()
                return
            else:
                return
        self._queue.append((message, tuple(os.dup(descriptor) for descriptor in descriptors)))
        if len(self._queue) > QUEUE_MAX:
            self._lost()

    def close(self) -> None:
        """Stop, without calling `on_closed`."""
        if self.closed:
            return
        self.closed = True
        while self._queue:
            self._forget_first()
        self._loop.remove_reader(self._end.fileno())
        self._loop.remove_writer(self._end.fileno())
        self._end.close()

    def _lost(self) -> None:
        if not self.closed:
            self.close()
            self._on_closed()

    def _readable(self) -> None:
        for _ in range(64):  # then let the loop breathe
            if self.closed:
                return
            try:
                received = receive_now(self._end)
            except BlockingIOError:
                return
            except (OSError, msgspec.DecodeError, UnicodeDecodeError):
                received = None
            if received is None:
                self._lost()
                return
            self._on_message(*received)

    def _writable(self) -> None:
        while self._queue:
            try:
                send_now(self._end, *self._queue[0])
            except BlockingIOError:
                return
            except OSError:
                self._lost()
                return
            self._forget_first()
        self._loop.remove_writer(self._end.fileno())

    def _forget_first(self) -> None:
        _, descriptors = self._queue.popleft()
        for descriptor in descriptors:
            os.close(descriptor)
