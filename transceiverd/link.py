"""The link that carries messages between transceiverd's own processes: AF_UNIX SOCK_SEQPACKET, descriptors beside them.

Made by the supervisor, used by the transceivers and the signalling process. The messages are `links.py`'s.
"""

import array
import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable

import msgspec

from transceiverd.links import AnyMessage, Message, Unknown, decode, encode

log = logging.getLogger("links")

MESSAGE_BYTES_MAX = 256 * 1024  # an offer is at most 64 KiB of SDP; a list of sessions comes in pages
DESCRIPTORS_MAX = 32
QUEUE_MAX = 4096  # messages kept for a peer that does not read; beyond it the link counts as broken


class DescriptorsLost(RuntimeError):
    """The kernel threw away a message's descriptors, since we may have no more (recvmsg(2), MSG_CTRUNC)."""


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a new link, non-blocking, with room for a few large messages."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MESSAGE_BYTES_MAX)
    return ends


# Every message is read into the same place and decoded from it: room of its own for the largest that may come would
# cost each of them a quarter of a megabyte of heap.
_room = memoryview(bytearray(MESSAGE_BYTES_MAX))
# As plain numbers: Python's flag types cost more at each message than the message's own decoding.
_CLOSE_ON_EXEC, _NO_SIGNAL = int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_NOSIGNAL)
_CUT_SHORT, _DESCRIPTORS_CUT = int(socket.MSG_TRUNC), int(socket.MSG_CTRUNC)
_RIGHTS_ROOM = socket.CMSG_LEN(DESCRIPTORS_MAX * array.array("i").itemsize)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """Out of SCM_RIGHTS; what is not a whole descriptor was cut off by the kernel."""
    found = array.array("i")
    for level, kind, rights in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(rights[: len(rights) - len(rights) % found.itemsize])
    return list(found)


def send_now(end: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    """Send one message.

    Raises:
        BlockingIOError: the peer's buffer is full.
        OSError: the peer is gone.
    """
    data = encode(message)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    end.sendmsg([data], rights, _NO_SIGNAL)


def receive_now(end: socket.socket) -> tuple[AnyMessage, list[int]] | None:
    """One message with its descriptors (the caller owns them), or `None` at the end of the link.

    Raises:
        BlockingIOError: nothing is there.
        DescriptorsLost: this process had no room for the message's descriptors; the link is as good as before.
        msgspec.DecodeError: not a message of this release.
    """
    size, ancillary, flags, _ = end.recvmsg_into((_room,), _RIGHTS_ROOM, _CLOSE_ON_EXEC)
    descriptors = _descriptors(ancillary) if ancillary else []
    if not size:
        return None
    data = _room[:size]
    if flags & (_CUT_SHORT | _DESCRIPTORS_CUT):
        for descriptor in descriptors:
            os.close(descriptor)
        if flags & _CUT_SHORT:
            raise msgspec.DecodeError("a message was cut short")
        raise DescriptorsLost(type(decode(data)).__name__)
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
        """One message a turn of the loop, which comes back while there are more: to look for a second one costs each
        lone message a system call and an exception, and asking the kernel what is readable is cheaper than both."""
        try:
            received = receive_now(self._end)
        except BlockingIOError:
            return
        except DescriptorsLost as error:  # as if it had never been sent: whoever misses it asks again
            log.error("no descriptors left: message %s is lost", error)
            return
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            received = None
        if received is None:
            self._lost()
            return
        message, descriptors = received
        if isinstance(message, Unknown):
            for descriptor in descriptors:
                os.close(descriptor)
            return
        self._on_message(message, descriptors)

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
