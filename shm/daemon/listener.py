"""A listening socket on the supervisor's loop.

Used by relayd's control socket and by each daemon's order desk. Out of descriptors, accept() fails at once and the
socket stays readable: trying on would only spin, so it is left alone for a while.
"""

import socket
from collections.abc import Callable

from shm.daemon.loop import READ, EventLoop, Timer

ACCEPT_PAUSE_NS = 1_000_000_000  # until a connection that could not be accepted is tried again


class Listener:
    """Takes one connection a turn, so that those that have ended meanwhile are seen off first. Owns the socket and its
    place in the loop."""

    def __init__(
        self,
        loop: EventLoop,
        sock: socket.socket,
        on_connection: Callable[[socket.socket], None],
        on_failure: Callable[[OSError], None],
    ) -> None:
        """`sock` listens already and does not block. `on_failure` is told at every try that fails."""
        self.socket = sock
        self._loop = loop
        self._on_connection = on_connection
        self._on_failure = on_failure
        self._pause: Timer | None = None
        self._watch()

    def close(self) -> None:
        """Take no more."""
        self._loop.unwatch(self.socket.fileno())
        if self._pause is not None:
            self._pause.cancel()
        self.socket.close()

    def _watch(self) -> None:
        self._loop.watch(self.socket.fileno(), READ, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            connection, _address = self.socket.accept()
        except BlockingIOError:
            return  # it went away again
        except OSError as error:
            self._loop.unwatch(self.socket.fileno())
            self._pause = self._loop.call_after(ACCEPT_PAUSE_NS, self._watch)
            self._on_failure(error)
            return
        connection.setblocking(False)
        self._on_connection(connection)
