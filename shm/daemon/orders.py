"""Orders to a running daemon and the reports on them: `relayctl reload`, `relayctl keys rotate`, and what joins them.

Each supervisor has an `OrderDesk` on `<daemon>.orders` in the runtime directory; `give_order` is the other end. One
connection, one order, one report: JSON datagrams on AF_UNIX SOCK_SEQPACKET. A report may come much later than its order
(a drain takes minutes); who hangs up before it only does not hear it. So a HELLO, which every desk answers at once,
goes before each order: who does not answer that is not at work, but stopped, stuck, or somebody else. Only root and the
daemon's own user may order: the socket's mode is 0600 and the kernel's word on the peer is asked too.

Left out: what an order does; its handler is whoever made the desk.
"""

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from shm.attach import peer_credentials
from shm.daemon.holders import describe_process
from shm.daemon.listener import Listener
from shm.daemon.loop import READ, EventLoop

log = logging.getLogger("supervisor")

ORDER_BYTES_MAX = 4096
REPORT_BYTES_MAX = 65536
BACKLOG = 8
HELLO = "hello"
"""The order that asks for nothing. A daemon of an older release does not know it, which is an answer as well."""
HELLO_SECONDS = 5.0
"""How long it may take: a supervisor's turns are milliseconds; this is for a machine that has others' work, too."""
ELSEWHERE = "name another with --runtime-directory or --config"
UNKNOWN_ORDER = "unknown order"
"""How the report on an order begins that the daemon does not know: it may be of an older release."""
CONNECTIONS_MAX = 16
"""Orders at once. People give them one at a time; more is a script gone wrong."""


class Order(msgspec.Struct, frozen=True):
    """What is to be done."""

    name: str
    arguments: dict[str, str] = {}


class Report(msgspec.Struct, frozen=True):
    """What came of it. `text` is for people: what was done, or why not."""

    done: bool
    text: str
    details: dict[str, Any] = {}


class NoDaemon(RuntimeError):
    """Nobody takes the order; the message says where it was looked for and why."""


class NotAnswering(NoDaemon):
    """Somebody listens there, and says nothing."""


Reply = Callable[[Report], None]
Handler = Callable[[Mapping[str, str], Reply], None]
"""Gets an order's arguments, and what to call with the report, once, now or later."""


def orders_path(directory: Path, daemon: str) -> Path:
    """Where `daemon` listens."""
    return directory / f"{daemon}.orders"


class OrderDesk:
    """Listens, and gives each order to its handler."""

    def __init__(self, loop: EventLoop, directory: Path, daemon: str, handlers: Mapping[str, Handler]) -> None:
        """Bind the socket. The caller holds the daemon's lock, so a file of that name is a dead one's. OSError."""
        self._loop = loop
        self._path = orders_path(directory, daemon)
        self._handlers = dict(handlers)
        self._connections: set[socket.socket] = set()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            self._path.unlink(missing_ok=True)
            listening.bind(str(self._path))
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        finally:
            os.umask(before)
        self._listener = Listener(loop, listening, self._admit, self._not_accepted)

    def close(self) -> None:
        """Take no more orders; whoever waits for a report sees the end."""
        self._listener.close()
        for connection in list(self._connections):
            self._drop(connection)
        self._path.unlink(missing_ok=True)

    def _not_accepted(self, error: OSError) -> None:
        log.warning("an order was not accepted, trying on: %s", error.strerror)

    def _admit(self, connection: socket.socket) -> None:
        self._connections.add(connection)
        uid = peer_credentials(connection).uid
        if uid not in (0, os.geteuid()):
            self._report(connection, Report(False, f"uid {uid} may not give orders: root and the daemon's user may"))
        elif len(self._connections) > CONNECTIONS_MAX:
            self._report(connection, Report(False, f"{CONNECTIONS_MAX} orders are being carried out already"))
        else:
            self._loop.watch(connection.fileno(), READ, lambda _events: self._take(connection))

    def _take(self, connection: socket.socket) -> None:
        """The order, then the end of it: a peer that hangs up is forgotten."""
        try:
            data = connection.recv(ORDER_BYTES_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
            return
        try:
            order = msgspec.json.decode(data, type=Order)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._report(connection, Report(False, f"not an order: {error}"))
            return
        if order.name == HELLO:
            self._report(connection, Report(True, "here"))
            return
        handler = self._handlers.get(order.name)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            self._report(connection, Report(False, f"{UNKNOWN_ORDER} {order.name!r}; known are {known}"))
            return
        self._carry_out(order, handler, connection)

    def _carry_out(self, order: Order, handler: Handler, connection: socket.socket) -> None:
        """A fault of ours in a handler is told to the one who waits, too."""
        try:
            handler(order.arguments, lambda report: self._report(connection, report))
        except Exception as error:
            log.exception("the order %s met a fault", order.name)
            self._report(connection, Report(False, f"a fault of the daemon's own: {type(error).__name__}, see its log"))

    def _report(self, connection: socket.socket, report: Report) -> None:
        if connection in self._connections:
            with contextlib.suppress(OSError):
                connection.send(msgspec.json.encode(report))
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        self._connections.discard(connection)
        self._loop.unwatch(connection.fileno())
        connection.close()


def give_order(directory: Path, daemon: str, order: Order, patience_seconds: float) -> Report:
    """Give `daemon` an order and wait for the report. Raises NoDaemon, or NotAnswering after HELLO_SECONDS."""
    hello_seconds = min(patience_seconds, HELLO_SECONDS)
    try:
        _exchange(directory, daemon, Order(HELLO), hello_seconds)
    except _Late as late:
        hint = f"if that is {daemon}, it is stopped or stuck: see its log, restart it"
        raise NotAnswering(f"{late} gave no answer within {hello_seconds:g} s: {hint}; if not, {ELSEWHERE}") from None
    try:
        return _exchange(directory, daemon, order, patience_seconds)
    except _Late as late:
        raise NoDaemon(f"{late} took the order and did not report within {patience_seconds:g} s") from None


class _Late(Exception):
    """No report within the time. Its text is who was asked."""


def _exchange(directory: Path, daemon: str, order: Order, patience_seconds: float) -> Report:
    """One order, one report. Raises NoDaemon, _Late."""
    path = orders_path(directory, daemon)
    peer = ""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        # Not by settimeout: a connect that may not block fails at once where others wait to be accepted (unix(7)).
        patience = struct.pack("@ll", *divmod(round(patience_seconds * 1_000_000), 1_000_000))
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
        try:
            try:
                end.connect(str(path))
            except BlockingIOError:
                text = f"{daemon} at {path} did not take the order within {patience_seconds:g} s"
                raise NotAnswering(f"{text}: stopped or stuck, see its log, restart it") from None
            peer = f"{describe_process(peer_credentials(end).pid)} at {path}"
            end.settimeout(patience_seconds)
            end.send(msgspec.json.encode(order))
            data = end.recv(REPORT_BYTES_MAX)
        except TimeoutError:
            raise _Late(peer) from None
        except OSError as error:
            raise NoDaemon(_explain(daemon, path, error)) from None
    if not data:
        raise NoDaemon(f"{peer} ended, or hung up, before it reported")
    try:
        return msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise NoDaemon(f"{peer} is no {daemon}, from what it answers: {ELSEWHERE}") from None


def daemon_pid(directory: Path, daemon: str) -> int:
    """The pid of the daemon that takes orders there. Raises NoDaemon."""
    path = orders_path(directory, daemon)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        try:
            end.setblocking(False)
            end.connect(str(path))
            return peer_credentials(end).pid
        except OSError as error:
            raise NoDaemon(_explain(daemon, path, error)) from None


def _explain(daemon: str, path: Path, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return (
            f"{daemon} at {path} takes no order of this user ({error.strerror}): only root's and {daemon}'s own user's"
        )
    return (
        f"no {daemon} at {path} ({error.strerror or error}): is it running, and with this runtime directory? "
        f"{ELSEWHERE.capitalize()}"
    )
