"""Bounds on HTTP connections: how many there are, from one address too, and how long one request may take.

aiohttp bounds sizes and idle time, but a client that sends a byte now and then, or never reads its answer, keeps its
connection for ever. Each connection here stands in front of aiohttp's protocol and passes everything through. It has a
deadline for the header of a request, which a byte now and then does not move, and from there one for the rest, down to
the last byte of the answer; past either it is cut off. Who is let in at all is asked by `acceptor.py`, before TLS.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import cast

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from aiohttp.typedefs import Middleware

from transceiverd.signalling.errors import Handler

SWEEP_SECONDS = 1.0  # how late a deadline may be noticed


def _refusal(status: bytes, kind: bytes, code: bytes, message: bytes) -> bytes:
    body = b'{"error":{"type":"%b","code":"%b","message":"%b","param":null}}' % (kind, code, message)
    return (
        b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)
    )


FULL = _refusal(b"503 Service Unavailable", b"server_error", b"too_many_connections", b"too many connections")
FULL_ADDRESS = _refusal(
    b"429 Too Many Requests", b"rate_limit_error", b"too_many_connections_from_address", b"too many of your address"
)


class ConnectionGuard:
    """The bounds of one server, and its connections."""

    def __init__(
        self,
        connections_max: int,
        request_seconds: float,
        header_seconds: float | None = None,
        address_max: int = 0,
        counted: Callable[[str], str] = lambda _address: "",
    ) -> None:
        """See `configure`."""
        self.configure(connections_max, request_seconds, header_seconds, address_max, counted)
        self.connections: dict[asyncio.BaseProtocol, GuardedConnection] = {}
        """By aiohttp's protocol object, which a request names."""
        self.counters: Counter[str] = Counter()
        self.admitted = 0
        """Connections that hold a place, those whose TLS handshake goes on included."""
        self._addresses: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None

    def configure(
        self,
        connections_max: int,
        request_seconds: float,
        header_seconds: float | None = None,
        address_max: int = 0,
        counted: Callable[[str], str] = lambda _address: "",
    ) -> None:
        """For connections and requests from now on. Those that stand keep the name they were counted by.

        `address_max`: of one address, by the name that `counted` gives it; 0: no such bound.
        """
        self.connections_max = connections_max
        self.request_seconds = request_seconds
        self.header_seconds = request_seconds if header_seconds is None else header_seconds
        self._address_max = address_max
        self._counted = counted

    def admit(self, address: str) -> "Admitted | bytes":
        """A place for one more connection, or what to tell it."""
        if self.admitted >= self.connections_max:
            self.counters["refused"] += 1
            return FULL
        name = self._counted(address)
        if name and self._address_max and self._addresses[name] >= self._address_max:
            self.counters["refused_address"] += 1
            return FULL_ADDRESS
        self.counters["accepted"] += 1
        return Admitted(self, name)

    def place(self, name: str, change: int) -> None:
        """Only for `Admitted`."""
        self.admitted += change
        self._addresses[name] += change
        if not self._addresses[name]:
            del self._addresses[name]

    @property
    def middleware(self) -> Middleware:
        """The outermost of an application: a request that comes so far has a whole header."""

        @web.middleware
        async def begun(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.begun(request)
            return await handler(request)

        return begun

    def begun(self, request: web.BaseRequest) -> None:
        """A request's header is here: it now has the time that a request has."""
        connection = self.connections.get(request.protocol)
        if connection is not None:
            connection.arm(self.request_seconds)

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


class Admitted:
    """The place of one connection, from its acceptance to its end."""

    __slots__ = ("_guard", "_name", "_open")

    def __init__(self, guard: ConnectionGuard, name: str) -> None:
        self._guard = guard
        self._name = name
        self._open = True
        guard.place(name, 1)

    def leave(self) -> None:
        """The connection is over. Twice is harmless."""
        if self._open:
            self._open = False
            self._guard.place(self._name, -1)


class GuardedConnection(asyncio.Protocol):
    """One connection, in front of aiohttp's protocol."""

    def __init__(self, guard: ConnectionGuard, server: web.Server, place: Admitted) -> None:
        self._guard = guard
        self._place = place
        self._inner = server()
        self._transport: asyncio.Transport | None = None
        self.deadline: float | None = None

    def is_late(self, now: float) -> bool:
        """Whether the request in work has taken too long."""
        return self.deadline is not None and now >= self.deadline

    def abort(self) -> None:
        """Close without waiting for what was not sent."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It was admitted; its first header is waited for."""
        self._transport = cast(asyncio.Transport, transport)
        self._guard.connections[self._inner] = self
        self.arm(self._guard.header_seconds)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass on; the first byte after an answer starts the next deadline, further ones do not move it."""
        if self.deadline is None:
            self.arm(self._guard.header_seconds)
        self._inner.data_received(data)

    def eof_received(self) -> None:
        """Pass on; None closes the transport."""
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass on and forget."""
        del self._guard.connections[self._inner]
        self._place.leave()
        self._inner.connection_lost(exc)
        self._transport = None

    def pause_writing(self) -> None:
        """The client reads slowly; the deadline goes on."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._inner.resume_writing()

    def arm(self, seconds: float) -> None:
        """What is waited for now must be there so soon."""
        self.deadline = asyncio.get_running_loop().time() + seconds


def access_logger_class(guard: ConnectionGuard) -> type[AbstractAccessLogger]:
    """aiohttp calls its access logger when an answer has left: the one public sign of it. Nothing is logged."""

    class AnswerNoted(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            guard.answered(request)
            guard.counters[f"answered_{response.status // 100}xx"] += 1

    return AnswerNoted
