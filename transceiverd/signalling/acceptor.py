"""Accepts HTTP connections, and says no before anything is spent on one: before TLS, before aiohttp.

One for each listening socket, made by `server.py`. asyncio's own server counts nothing and shows a connection only
after its TLS handshake, so that thousands could hang there; here each has its place in the guard's books from accept
on. Who is refused is told why (not on TLS), and its socket stays a moment, so that the words are read and not reset.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque

from aiohttp import web

from transceiverd.signalling.guard import Admitted, ConnectionGuard, GuardedConnection

BACKLOG = 1024  # connections the kernel holds while this process is busy: a storm of redials
ACCEPTS_A_TURN = 64  # then the loop breathes
PAUSE_SECONDS = 0.2  # after the process or the machine ran out of descriptors or memory
REFUSED_KEPT = 64  # refused sockets that wait to be read; the oldest go first
REFUSED_SECONDS = 1.0
REFUSED_BYTES = 65_536  # of a request that nobody will look at, read away: closing over it would reset the answer


class Acceptor:
    """One listening socket, which it owns."""

    def __init__(
        self, end: socket.socket, guard: ConnectionGuard, server: web.Server, tls: ssl.SSLContext | None = None
    ) -> None:
        self._end = end
        self._guard = guard
        self._server = server
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._refused: deque[socket.socket] = deque()
        self._pause: asyncio.TimerHandle | None = None
        end.setblocking(False)
        end.listen(BACKLOG)
        self._loop.add_reader(end.fileno(), self._readable)

    def close(self) -> None:
        """Accept no more. What was accepted lives on, but for handshakes."""
        if self._pause is not None:
            self._pause.cancel()
        else:
            self._loop.remove_reader(self._end.fileno())
        self._end.close()
        for task in self._opening:
            task.cancel()
        while self._refused:
            self._refused.popleft().close()

    def _readable(self) -> None:
        for _ in range(ACCEPTS_A_TURN):
            try:
                accepted, peer = self._end.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._guard.counters["accept_failed"] += 1
                self._loop.remove_reader(self._end.fileno())
                self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)
                return
            self._admit(accepted, peer[0] if isinstance(peer, tuple) else "")

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._end.fileno(), self._readable)

    def _admit(self, accepted: socket.socket, address: str) -> None:
        accepted.setblocking(False)
        place = self._guard.admit(address)
        if isinstance(place, bytes):
            self._refuse(accepted, place)
            return
        task = self._loop.create_task(self._open(accepted, place))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket, place: Admitted) -> None:
        """Hand it to aiohttp, after TLS if there is any."""
        try:
            await self._loop.connect_accepted_socket(
                lambda: GuardedConnection(self._guard, self._server, place),
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=self._guard.header_seconds if self._tls is not None else None,
            )
        except (OSError, TimeoutError, asyncio.CancelledError):  # ssl.SSLError is an OSError
            self._guard.counters["handshake_failed"] += 1
            place.leave()
            accepted.close()

    def _refuse(self, accepted: socket.socket, words: bytes) -> None:
        if self._tls is not None:
            accepted.close()
            return
        with contextlib.suppress(OSError):
            accepted.send(words)
            accepted.shutdown(socket.SHUT_WR)
        self._refused.append(accepted)
        if len(self._refused) > REFUSED_KEPT:
            self._forget(self._refused[0])
        self._loop.call_later(REFUSED_SECONDS, self._forget, accepted)

    def _forget(self, refused: socket.socket) -> None:
        if refused in self._refused:
            self._refused.remove(refused)
            with contextlib.suppress(OSError):
                refused.recv(REFUSED_BYTES)
            refused.close()
