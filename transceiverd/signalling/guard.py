"""Bounds on HTTP connections: how many there are, and how long one request may take.

aiohttp bounds sizes and idle time, but a client that sends a byte now and then, or never reads its answer, keeps its
connection for ever. Each connection here stands in front of aiohttp's protocol and passes everything through; from the
first byte of a request to the last of its answer it has a deadline, and past it the connection is cut off.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

SWEEP_SECONDS = 1.0  # how late a deadline may be noticed
TLS_HANDSHAKE_SECONDS = 10.0
FULL_BODY = (
    b'{"error":{"type":"server_error","code":"too_many_connections","message":"too many connections","param":null}}'
)
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(FULL_BODY), FULL_BODY)
)


class ConnectionGuard:
    """The bounds of one server, and its connections."""

    def __init__(self, connections_max: int, request_seconds: float) -> None:
        self.connections_max = connections_max
        self.request_seconds = request_seconds
        self.connections: dict[asyncio.BaseProtocol, GuardedConnection] = {}
        """By aiohttp's protocol object, which a request names."""
        self.counters: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def factory(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        """What `loop.create_server` calls for each connection."""
        return lambda: GuardedConnection(self, server)

    def start(self) -> None:
        """Begin to look for deadlines."""
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def stop(self) -> None:
        """No more looking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def answered(self, request: web.BaseRequest) -> None:
        """The answer has left: the connection is idle, or a new request is on its way."""
        connection = self.connections.get(request.protocol)
        if connection is not None:
            connection.deadline = None

    def release(self, request: web.BaseRequest) -> None:
        """The connection will live long by right (a WebSocket): no deadline any more."""
        connection = self.connections.get(request.protocol)
        if connection is not None:
            connection.released = True

    def expire(self, now: float) -> int:
        """Cut off what is past its deadline, by the loop's clock; how many those were."""
        late = [each for each in self.connections.values() if each.is_late(now)]
        for connection in late:
            connection.abort()
        self.counters["timed_out"] += len(late)
        return len(late)

    def _sweep(self) -> None:
        self.expire(asyncio.get_running_loop().time())
        self.start()


class GuardedConnection(asyncio.Protocol):
    """One connection, in front of aiohttp's protocol."""

    def __init__(self, guard: ConnectionGuard, server: web.Server) -> None:
        self._guard = guard
        self._inner = server()
        self._transport: asyncio.Transport | None = None
        self._refused = False
        self.deadline: float | None = None
        self.released = False

    def is_late(self, now: float) -> bool:
        """Whether the request in work has taken too long."""
        return self.deadline is not None and not self.released and now >= self.deadline

    def abort(self) -> None:
        """Close without waiting for what was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit it, or say that there is no room."""
        stream = cast(asyncio.Transport, transport)
        self._transport = stream
        if len(self._guard.connections) >= self._guard.connections_max:
            self._guard.counters["refused"] += 1
            self._refused = True
            stream.write(FULL)
            stream.close()
            return
        self._guard.counters["accepted"] += 1
        self._guard.connections[self._inner] = self
        self._arm()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on; the first byte after an answer starts the next deadline."""
        if not self._refused:
            if self.deadline is None:
                self._arm()
            self._inner.data_received(data)

    def eof_received(self) -> None:
        """Pass on; None closes the transport."""
        if not self._refused:
            self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on and forget."""
        if not self._refused:
            del self._guard.connections[self._inner]
            self._inner.connection_lost(exc)
        self._transport = None

    def pause_writing(self) -> None:
        """The client reads slowly; the deadline goes on."""
        if not self._refused:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        if not self._refused:
            self._inner.resume_writing()

    def _arm(self) -> None:
        self.deadline = asyncio.get_running_loop().time() + self._guard.request_seconds


def access_logger_class(guard: ConnectionGuard) -> type[AbstractAccessLogger]:
    """aiohttp calls its access logger when an answer has left: the one public sign of it. Nothing is logged."""

    class AnswerNoted(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            guard.answered(request)
            guard.counters[f"answered_{response.status // 100}xx"] += 1

    return AnswerNoted
