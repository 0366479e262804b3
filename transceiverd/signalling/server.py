"""Puts an application onto sockets: TCP, TLS and Unix, guarded, stoppable.

The signalling process makes one `HttpServer` for each application. Sockets come from `open_tcp` and `open_unix` here,
or ready-made from a supervisor that outlives this process.
"""

import contextlib
import errno
import logging
import os
import socket
import ssl
import stat

from aiohttp import web, web_response

from transceiverd.signalling.acceptor import BACKLOG, Acceptor
from transceiverd.signalling.guard import ConnectionGuard, access_logger_class

LINGERING_SECONDS = 2.0  # reading on after an early error answer, so that the client sees it and not a reset
SHUTDOWN_SECONDS = 2.0  # for answers in work when the server stops
UNIX_SOCKET_MODE = 0o660  # the daemon's user and group, as `[operator] socket` says

# What every answer says in `Server:`, also those to what is not HTTP, which pass no handler of ours. aiohttp would name
# itself, Python and both versions: a list of what to try, for whoever collects vulnerable servers.
vars(web_response)["SERVER_SOFTWARE"] = "ringline"


class HttpServer:
    """One application on any number of sockets."""

    def __init__(self, app: web.Application, guard: ConnectionGuard, **limits: float) -> None:
        """`limits` are aiohttp's: `keepalive_timeout` in seconds, `max_field_size`, `max_line_size`, `max_headers`."""
        self.guard = guard
        app.middlewares.insert(0, guard.middleware)
        self._runner = web.AppRunner(
            app,
            handle_signals=False,
            logger=_silent(),
            access_log_class=access_logger_class(guard),
            auto_decompress=False,
            lingering_time=LINGERING_SECONDS,
            shutdown_timeout=SHUTDOWN_SECONDS,
            **limits,
        )
        self._listeners: list[Acceptor] = []

    async def start(self) -> None:
        """Make ready; listen with `listen`."""
        await self._runner.setup()
        self.guard.start()

    async def listen(self, end: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a bound socket, which then belongs to this server."""
        assert self._runner.server is not None, "start() comes first"
        self._listeners.append(Acceptor(end, self.guard, self._runner.server, tls))

    async def stop(self) -> None:
        """Accept no more, finish what is in work, close all."""
        self.guard.stop()
        for listener in self._listeners:
            listener.close()
        await self._runner.cleanup()
        for connection in list(self.guard.connections.values()):
            connection.abort()
        self._listeners.clear()


def _silent() -> logging.Logger:
    """aiohttp logs every request that is not HTTP, with its words and its address: what a peer can cause at will, it
    counts (`answered_4xx`). Bugs of handlers are logged by `errors.py`."""
    silent = logging.Logger("http")
    silent.addHandler(logging.NullHandler())
    return silent


def resolved(address: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    """Family and address to bind for an IP address or host name; of several the first. Raises OSError."""
    try:
        family, _, _, _, bound = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )[0]
    except ValueError as error:  # UnicodeError is one: a label of more than 63 characters, an empty one
        raise OSError(errno.EINVAL, f"not a host name ({error})") from None
    return family, bound


def open_tcp(address: str, port: int) -> socket.socket:
    """A socket that listens at `address` and `port` (0: any). Raises OSError."""
    family, bound = resolved(address, port)
    end = socket.socket(family, socket.SOCK_STREAM)
    try:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            end.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        end.setblocking(False)
        end.bind(bound)
        # Linux lets two sockets bind with SO_REUSEADDR; only the second one's listen fails.
        end.listen(BACKLOG)
    except OSError:
        end.close()
        raise
    return end


def open_unix(path: str) -> socket.socket:
    """A Unix socket at `path`. One left over is removed; whoever calls holds the daemon's lock. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "not a socket", path)
        os.unlink(path)
    end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # fchmod before bind: the file is never open to more than it shall be.
        os.fchmod(end.fileno(), UNIX_SOCKET_MODE)
        end.bind(path)
        os.chmod(path, UNIX_SOCKET_MODE)
        end.setblocking(False)
        end.listen(BACKLOG)
    except OSError:
        end.close()
        raise
    return end
