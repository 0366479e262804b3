"""Messages on their way to one peer over a SOCK_SEQPACKET socket, without ever waiting for it.

Used for relayd's control connections and for each child's control socket (post.py). What the kernel does not
take at once waits here, in order; more than `limit` messages mean that the peer does not read, and the owner of the
outbox decides what happens to it.
"""

import array
import errno
import fcntl
import os
import socket
import termios
from collections import deque
from collections.abc import Callable, Sequence

from shm.daemon.loop import READ, WRITE, EventLoop

PEER_GONE = frozenset((errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN))
"""Of `Outbox.send`: nobody will ever read that. Any other error is of this machine, and of now."""


class PeerTooSlow(RuntimeError):
    """The peer left `limit` messages unread."""


class Outbox:
    """The bounded queue in front of one socket. Owns the socket's place in the loop."""

    def __init__(self, sock: socket.socket, loop: EventLoop, limit: int, on_readable: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._limit = limit
        self._on_readable = on_readable
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        loop.watch(sock.fileno(), READ, self._ready)

    def __len__(self) -> int:
        return len(self._waiting)

    def fileno(self) -> int:
        """Of the socket."""
        return self._sock.fileno()

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Send now or later. Raises PeerTooSlow when full, OSError when the peer is gone (PEER_GONE) or
        the machine has nothing to spare.

        The descriptors are the caller's; a message that has to wait keeps duplicates of them.
        """
        if not self._waiting and self._try(data, fds):
            return
        if len(self._waiting) >= self._limit:
            raise PeerTooSlow(f"{self._limit} messages are waiting for it")
        self._waiting.append((data, _duplicates(fds)))
        self._loop.watch(self._sock.fileno(), READ | WRITE, self._ready)

    def unread(self) -> bool:
        """Whether the peer has left anything of ours unread."""
        if self._waiting:
            return True
        unsent = array.array("i", [0])
        fcntl.ioctl(self._sock, termios.TIOCOUTQ, unsent)  # unix(7) SIOCOUTQ: bytes the peer has not received
        return unsent[0] > 0

    def close(self) -> None:
        """Throw away what waits and close the socket."""
        self._loop.unwatch(self._sock.fileno())
        while self._waiting:
            _close_all(self._waiting.popleft()[1])
        self._sock.close()

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & READ:
            self._on_readable()

    def _flush(self) -> None:
        while self._waiting:
            data, fds = self._waiting[0]
            try:
                if not self._try(data, fds):
                    return
            except OSError:
                self._loop.watch(self._sock.fileno(), READ, self._ready)  # its end is readable; the owner sees it there
                return
            self._waiting.popleft()
            _close_all(fds)
        self._loop.watch(self._sock.fileno(), READ, self._ready)

    def _try(self, data: bytes, fds: Sequence[int]) -> bool:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([data], rights, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        return True


def _duplicates(fds: Sequence[int]) -> tuple[int, ...]:
    made: list[int] = []
    try:
        for fd in fds:
            made.append(os.dup(fd))
    except OSError:
        _close_all(made)
        raise
    return tuple(made)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
