"""Connections over real sockets: how many, how long, and how they end."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import uvloop
from aiohttp import web

from tests.sdp.offers import audio_offer
from tests.signalling.local_router import LocalRouter
from transceiverd.signalling.app import build_public_app
from transceiverd.signalling.config import SignallingSection
from transceiverd.signalling.guard import ConnectionGuard
from transceiverd.signalling.server import HttpServer, open_tcp

LATER = 1e12  # a loop time after every deadline


@contextlib.asynccontextmanager
async def running(
    app: web.Application, connections_max: int = 8, **bounds: object
) -> AsyncIterator[tuple[HttpServer, int]]:
    """A server on a free port of loopback."""
    guard = ConnectionGuard(connections_max, request_seconds=60.0, **bounds)  # type: ignore[arg-type]
    server = HttpServer(app, guard, keepalive_timeout=60.0, max_field_size=1000, max_headers=20)
    end = open_tcp("127.0.0.1", 0)
    port = end.getsockname()[1]
    await server.start()
    await server.listen(end)
    try:
        yield server, port
    finally:
        await server.stop()
        assert not guard.connections


async def answered(reader: asyncio.StreamReader) -> bytes:
    """One answer's status line and headers."""
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)


async def at_rest(guard: ConnectionGuard, wanted: Callable[[ConnectionGuard], bool]) -> None:
    """Let the loop turn until the server side has seen what the client side did."""
    async with asyncio.timeout(10):
        while not wanted(guard):  # noqa: ASYNC110 - the server has no event for tests
            await asyncio.sleep(0.001)


GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


def run(scenario: Callable[[web.Application], Awaitable[None]], **config: object) -> None:
    """Under asyncio and uvloop: both are used."""
    for make in (asyncio.new_event_loop, uvloop.new_event_loop):
        app = build_public_app(SignallingSection(**config), LocalRouter())  # type: ignore[arg-type]
        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(scenario(app))  # type: ignore[arg-type]


def test_guard_refuses_the_connection_too_many() -> None:
    async def scenario(app: web.Application) -> None:
        async with running(app, connections_max=2) as (server, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            await at_rest(server.guard, lambda guard: len(guard.connections) == 2)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            whole = await asyncio.wait_for(reader.read(), 10)
            assert whole.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1" in whole
            assert b"aiohttp" not in whole
            head, _, body = whole.partition(b"\r\n\r\n")
            assert f"Content-Length: {len(body)}".encode() in head
            writer.close()
            held[0][1].close()
            await at_rest(server.guard, lambda guard: len(guard.connections) == 1)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            assert (await answered(reader)).startswith(b"HTTP/1.1 200 ")
            writer.close()
            held[1][1].close()
            assert (server.guard.counters["accepted"], server.guard.counters["refused"]) == (3, 1)

    run(scenario)


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"POST /v1/realtime/ca",
        b"POST /v1/realtime/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n",
        b"POST /v1/realtime/calls HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n"
        b"Content-Length: 1000\r\n\r\nv=0\r\n",
    ],
)
def test_guard_cuts_off_who_does_not_finish_a_request(begun: bytes) -> None:
    async def scenario(app: web.Application) -> None:
        async with running(app) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            await at_rest(server.guard, lambda guard: len(guard.connections) == 1)
            assert server.guard.expire(0.0) == 0, "not before its time"
            assert server.guard.expire(LATER) == 1
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            await at_rest(server.guard, lambda guard: not guard.connections)

    run(scenario)


def test_guard_leaves_idle_connections_to_their_own_bound() -> None:
    async def scenario(app: web.Application) -> None:
        async with running(app) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for _ in range(3):
                writer.write(GET)
                assert (await answered(reader)).startswith(b"HTTP/1.1 200 ")
                await reader.readexactly(len(b'{"status":"ok"}'))
                await at_rest(
                    server.guard, lambda guard: all(each.deadline is None for each in guard.connections.values())
                )
                assert server.guard.expire(LATER) == 0
            writer.write(GET[:10])
            await at_rest(server.guard, lambda guard: any(each.deadline for each in guard.connections.values()))
            assert server.guard.expire(LATER) == 1, "the next request has a deadline again"
            writer.close()
            assert server.guard.counters["answered_2xx"] == 3

    run(scenario)


def test_guard_cuts_off_who_does_not_read_the_answer() -> None:
    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 50_000_000)

    async def scenario(app: web.Application) -> None:
        plain = web.Application()
        plain.router.add_get("/", large)
        async with running(plain) as (server, port):
            end = socket.create_connection(("127.0.0.1", port))
            end.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await at_rest(server.guard, lambda guard: any(each.deadline for each in guard.connections.values()))
            assert server.guard.expire(LATER) == 1
            await at_rest(server.guard, lambda guard: not guard.connections)
            end.close()

    run(scenario)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 2000 + b"\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 50 + b"\r\n",
        b"POST /whip HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /healthz HTTP/1.1\nHost localhost\n\n",
    ],
)
def test_guard_malformed_http_is_400_never_5xx(request_bytes: bytes) -> None:
    async def scenario(app: web.Application) -> None:
        async with running(app) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_bytes)
            answer = await answered(reader)
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
            assert b"Server: ringline\r\n" in answer, "and not whose version"
            writer.close()

    run(scenario)


@pytest.mark.parametrize(
    "body",
    [
        b"5\r\nhello\r\nzz\r\n",
        b"ffffffffffffffffffff\r\n",
        b"5\r\nhell",
    ],
)
def test_guard_broken_chunks_never_give_a_5xx(body: bytes) -> None:
    head = (
        b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    async def scenario(app: web.Application) -> None:
        async with running(app) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), 10)
            assert b" 5" not in answer.partition(b"\r\n")[0]
            writer.close()

    run(scenario)


def test_guard_body_that_comes_too_slowly_is_408() -> None:
    async def scenario(app: web.Application) -> None:
        async with running(app) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            offer = audio_offer().encode()
            head = (
                b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n"
            )
            writer.write(head % len(offer) + offer[:-1])
            assert (await answered(reader)).startswith(b"HTTP/1.1 408 ")
            writer.close()
            await at_rest(server.guard, lambda guard: not guard.connections)

    run(scenario, request_seconds=0.05)


def test_server_shares_no_port() -> None:
    first = open_tcp("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        open_tcp("127.0.0.1", first.getsockname()[1])
    first.close()
    six = open_tcp("::1", 0)
    assert six.family == socket.AF_INET6
    six.close()
