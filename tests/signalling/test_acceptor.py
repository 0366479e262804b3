"""Connections over real sockets: how many at all and from one address, and how long a header may take."""

import asyncio
import contextlib
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from tests.signalling.test_guard import GET, answered, at_rest, run, running
from transceiverd.signalling.guard import ConnectionGuard
from transceiverd.signalling.selfsigned import make_certificate
from transceiverd.signalling.server import HttpServer, open_tcp
from transceiverd.signalling.tls import server_context


def test_guard_bounds_the_connections_of_one_address() -> None:
    async def scenario(app: web.Application) -> None:
        async with running(app, connections_max=50, address_max=3, counted=str) as (server, port):
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            await at_rest(server.guard, lambda guard: len(guard.connections) == 3)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            whole = await asyncio.wait_for(reader.read(), 10)
            assert whole.startswith(b"HTTP/1.1 429 "), "the words are read although the request was not"
            assert b"Retry-After: 1" in whole
            writer.close()
            other = socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0))
            await at_rest(server.guard, lambda guard: len(guard.connections) == 4)
            held[0][1].close()
            await at_rest(server.guard, lambda guard: len(guard.connections) == 3)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(GET)
            assert (await answered(reader)).startswith(b"HTTP/1.1 200 ")
            assert server.guard.counters["refused_address"] == 1
            other.close()
            for end in (writer, *(writer for _, writer in held)):
                end.close()
            await at_rest(server.guard, lambda guard: guard.admitted == 0)

    run(scenario)


def test_guard_header_that_trickles_in_is_cut_off_long_before_a_request_would_be() -> None:
    """A client that sends a byte of a header now and then held one of 1,024 places for half a minute."""

    async def scenario(app: web.Application) -> None:
        async with running(app, header_seconds=5.0) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await at_rest(server.guard, lambda guard: len(guard.connections) == 1)
            (connection,) = server.guard.connections.values()
            deadline = connection.deadline
            assert deadline is not None
            now = asyncio.get_running_loop().time()
            assert 0 < deadline - now <= 5
            for byte in GET[:30]:
                writer.write(bytes((byte,)))
                await writer.drain()
            assert connection.deadline == deadline, "bytes do not move it"
            assert server.guard.expire(deadline - 0.001) == 0
            assert server.guard.expire(deadline + 0.001) == 1
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            assert server.guard.counters["timed_out"] == 1

    run(scenario)


def test_guard_whole_header_gives_the_request_its_own_time() -> None:
    async def scenario(app: web.Application) -> None:
        async with running(app, header_seconds=5.0) as (server, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(
                b"POST /whip HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nContent-Length: 9\r\n\r\n"
            )
            later = asyncio.get_running_loop().time() + 30
            await at_rest(
                server.guard, lambda guard: any((each.deadline or 0) > later for each in guard.connections.values())
            )
            assert server.guard.expire(later) == 0
            writer.write(b"not-sdp-x")
            assert (await answered(reader)).startswith(b"HTTP/1.1 400 ")
            writer.close()

    run(scenario)


def test_guard_connection_in_its_tls_handshake_holds_a_place() -> None:
    """Thousands of half-made TLS connections must not stand outside of the books."""
    made = make_certificate([ip_address("127.0.0.1")])

    async def scenario(app: web.Application) -> None:
        with tempfile.TemporaryDirectory() as directory:
            files = [Path(directory, name) for name in ("certificate", "key")]
            for path, text in zip(files, (made.certificate, made.key), strict=True):
                path.write_bytes(text)
            tls = server_context(*map(str, files))
        guard = ConnectionGuard(2, 60.0, header_seconds=0.3)
        server = HttpServer(app, guard)
        end = open_tcp("127.0.0.1", 0)
        port = end.getsockname()[1]
        await server.start()
        await server.listen(end, tls)
        mute = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        await at_rest(guard, lambda guard: guard.admitted == 2 and guard.counters["refused"] == 1)
        assert not guard.connections
        await at_rest(guard, lambda guard: guard.admitted == 0)
        assert guard.counters["handshake_failed"] == 2
        for each in mute:
            each.close()
        await server.stop()

    run(scenario)
