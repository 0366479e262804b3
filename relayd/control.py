"""The control socket `relayd.sock`: who is connected, and which of them is the attached transceiverd.

Made by supervisor.py once it holds the lock. Conversations are connection.py's; this file accepts, refuses, and keeps
the one rule between connections: at most one transceiverd at a time, whose end detaches all that it offered.
"""

import grp
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relayd.admission import Admission
from relayd.attachments import Attachments
from relayd.connection import Connection, refusal
from relayd.key_confirmation import KeyConfirmation
from relayd.quiet_log import QuietLog
from shm import attach
from shm.daemon.listener import Listener
from shm.daemon.loop import EventLoop

log = logging.getLogger("supervisor")

SOCKET_MODE = 0o660
# Connections that may wait for the next turn of the loop; the kernel refuses more.
BACKLOG = 16
# How often the socket's file is looked at: a transceiverd that starts when it was removed waits that long (ns).
LOOK_AT_PATH_NS = 500_000_000
# struct sockaddr_un has 108 bytes for the path and its end (unix(7)).
PATH_BYTES_MAX = 107


class SocketPathRefused(RuntimeError):
    """The control socket cannot be bound; the message names path and reason."""


def open_listener(path: Path, group: str) -> socket.socket:
    """Bind the socket with its final mode and group from the first moment. The caller holds the directory's lock.

    A file of that name is a dead predecessor's, since the lock is ours.
    """
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise SocketPathRefused(f"{path} is longer than {PATH_BYTES_MAX} bytes; choose a shorter runtime_directory")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    before = os.umask(0o777 & ~SOCKET_MODE)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        if group:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SocketPathRefused(f"control socket {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    return listener


class ControlServer:
    """All connections; the Desk of connection.py."""

    def __init__(
        self,
        loop: EventLoop,
        path: Path,
        group: str,
        admission: Admission,
        connections_max: int,
        attachments: Attachments,
        keys: KeyConfirmation,
        welcome: Callable[[int], attach.Welcome],
        status: Callable[[], dict[str, Any]],
        listener: socket.socket | None = None,
    ) -> None:
        """`listener`: one that an older code of this process opened."""
        self.loop = loop
        self.attachments = attachments
        self.keys = keys
        self.welcome = welcome
        self.status = status
        self.events: Counter[str] = Counter()
        self.quiet = QuietLog(log)
        self.transceiverd: Connection | None = None
        self.on_ready: Callable[[], None] = lambda: None
        self._path = path
        self._group = group
        self._listener = self._listen(listener or open_listener(path, group))
        self._file = self._file_at_path()
        self._admission = admission
        self._connections_max = connections_max
        self._connections: set[Connection] = set()
        self._look = loop.call_after(LOOK_AT_PATH_NS, self._look_at_path)

    def adopt_transceiverd(self, sock: socket.socket, peer: attach.Credentials) -> None:
        """Go on with the conversation that an older code of this process had."""
        self.transceiverd = Connection(sock, peer, self, role="transceiverd")
        self._connections.add(self.transceiverd)

    @property
    def listener(self) -> socket.socket:
        """What an upgrade hands over."""
        return self._listener.socket

    def configure(self, admission: Admission, connections_max: int) -> None:
        """For connections from now on; those that are open were let in."""
        self._admission = admission
        self._connections_max = connections_max

    def worker_replaced(self, worker: int, pid: int) -> None:
        """Tell the attached transceiverd."""
        if self.transceiverd is not None:
            self.transceiverd.send(attach.WorkerReplaced(worker, pid))

    def claim_transceiverd(self, connection: Connection) -> Connection | None:
        """See Desk. A holder that has ended but was not noticed yet is seen off first."""
        if self.transceiverd is not None and self.transceiverd.has_ended():
            self.transceiverd.close("the peer closed it")
        if self.transceiverd is not None:
            return self.transceiverd
        self.transceiverd = connection
        return None

    def count(self, event: str) -> None:
        """See Desk."""
        self.events[event] += 1

    def closed(self, connection: Connection) -> None:
        """See Desk."""
        self._connections.discard(connection)
        if connection is self.transceiverd:
            self.transceiverd = None
            self.keys.forget()
            self.attachments.clear()
            log.warning("transceiverd pid %d is detached: its lanes are dropped, its flows count as absent",
                        connection.peer.pid)  # fmt: skip

    def close(self) -> None:
        """End every conversation and remove the socket's file."""
        self._look.cancel()
        self._listener.close()
        for connection in list(self._connections):
            connection.close("relayd stops")
        self._path.unlink(missing_ok=True)

    def _file_at_path(self) -> tuple[int, int] | None:
        """Which file the path names now; a socket's own descriptor does not know."""
        try:
            found = self._path.lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _look_at_path(self) -> None:
        """Somebody who cleans up (tmpfiles.d, a hand) may remove the file; nobody could connect then. Make it anew."""
        self._look = self.loop.call_after(LOOK_AT_PATH_NS, self._look_at_path)
        if self._file_at_path() == self._file:
            return
        try:
            listener = open_listener(self._path, self._group)
        except SocketPathRefused as error:
            self.quiet.warning("listen again", f"{error}; trying on")
            return
        log.warning("control socket %s was removed or replaced; it is there again", self._path)
        self.count("socket made anew")
        self._listener.close()
        self._listener, self._file = self._listen(listener), self._file_at_path()

    def _listen(self, listener: socket.socket) -> Listener:
        return Listener(self.loop, listener, self._admit, self._not_accepted)

    def _not_accepted(self, error: OSError) -> None:
        self.quiet.warning("accept", f"control socket: accepting failed, trying on: {error.strerror}")
        self.count("accepts failed")

    def _admit(self, sock: socket.socket) -> None:
        peer = attach.peer_credentials(sock)
        refused = self._reason_to_refuse(sock, peer)
        if refused is not None:
            self.count("connections refused")
        if len(self._connections) < 2 * self._connections_max:  # as many again may wait for their refusal
            self._connections.add(Connection(sock, peer, self, refused))
        else:
            sock.close()

    def _reason_to_refuse(self, sock: socket.socket, peer: attach.Credentials) -> attach.Refused | None:
        reason = self._admission.refuses(sock, peer)
        if reason is not None:
            return refusal("peer", reason, "the same user, root, [relay] peers and group")
        if len(self._connections) >= self._connections_max:
            limit = f"{self._connections_max} ([relay] connections)"
            return refusal("too many connections", f"{len(self._connections)} open", limit)
        return None
