"""The public UDP sockets: one pair for each worker (IPv4, and IPv6 with V6ONLY), all on one port.

Owned by the supervisor, which opens them once and hands them to every worker that comes and goes: a datagram that waits
in a socket survives the worker's death, and the kernel's choice of socket for a client never moves.

SO_REUSEPORT would let a second relayd of the same user join the port in silence and take half of all packets. So the
first socket binds without it, which fails while anybody else has the port, and turns it on only then, for the others of
this process (net/core/sock_reuseport.c makes the group from a socket that got the option after its bind). There is no
moment in between at which the port is free.

Leaves out: reading and sending (worker.pyx); who else has the port (shm/daemon/holders.py).
"""

import errno
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType

from shm.daemon.holders import describe_holder

log = logging.getLogger("supervisor")

# From <linux/in.h>, <linux/in6.h>, <asm/socket.h>; Python 3.11 names only some.
IP_PKTINFO = 8
IP_RECVTOS = 13
IPV6_RECVPKTINFO = 49
IPV6_RECVTCLASS = 66
SO_RXQ_OVFL = 40
SO_RCVBUFFORCE = 33

# With port 0 the kernel picks a port for IPv4 that IPv6 may not have free; this many picks, then give up.
EPHEMERAL_ATTEMPTS = 16


class PortTaken(RuntimeError):
    """No port of those allowed is free; the message says who has it, where /proc tells."""


class BindRefused(RuntimeError):
    """An address of the configuration cannot be bound; the message names the key. `errno` is the kernel's word."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.errno = code


class AddressAbsent(BindRefused):
    """This machine does not have the address, or not yet: an interface that comes up late, a floating address."""


@dataclass(frozen=True)
class WorkerSockets:
    """One worker's pair; a family that is switched off or missing on this machine is None."""

    v4: socket.socket | None
    v6: socket.socket | None

    @property
    def fds(self) -> tuple[int, int]:
        """Descriptors in the order the worker takes them, -1 for none."""
        return (
            self.v4.fileno() if self.v4 is not None else -1,
            self.v6.fileno() if self.v6 is not None else -1,
        )

    def close(self) -> None:
        """Close both; the kernel throws away what waits in them."""
        for sock in (self.v4, self.v6):
            if sock is not None:
                sock.close()


@dataclass(frozen=True)
class PublicSockets:
    """All workers' pairs, and the one port they share."""

    port: int
    workers: tuple[WorkerSockets, ...]
    taken_over: bool = False
    """From a predecessor: packets wait in them (kept.py)."""

    @property
    def has_ipv6(self) -> bool:
        """Whether IPv6 was asked for and this machine has it."""
        return all(pair.fds[1] >= 0 for pair in self.workers)

    def close(self) -> None:
        """Leave the port."""
        for pair in self.workers:
            pair.close()

    def __enter__(self) -> "PublicSockets":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_sockets(
    workers: int, *, port: int, port_search: int, bind4: str, bind6: str, receive_buffer_bytes: int
) -> PublicSockets:
    """Bind a pair for each worker on `port`, or on the first free one of the `port_search` ports above it.

    Raises PortTaken or BindRefused. An empty address switches its family off; an IPv6 that this machine does not have
    is a warning.
    """
    if not bind4 and not bind6:
        raise BindRefused("[relay] bind4 and bind6 are both empty: there is no address to listen on")
    for candidate in _candidates(port, port_search):
        first = _bind_exclusively(candidate, bind4, bind6)
        if first is None:
            continue
        found = _port_of(first)
        if port and found != port:
            log.warning("UDP port %d is taken by %s; using %d", port, describe_holder(port), found)
        pairs = [first, *_join(first, workers - 1)]
        for pair in pairs:
            set_options(pair, receive_buffer_bytes, warn=pair is first)
        return PublicSockets(found, tuple(pairs))
    raise _taken(port, port_search)


def _candidates(port: int, port_search: int) -> Iterator[int]:
    if port == 0:
        yield from [0] * EPHEMERAL_ATTEMPTS
    else:
        yield from range(port, min(port + port_search, 65535) + 1)


def _taken(port: int, port_search: int) -> PortTaken:
    if port == 0:
        return PortTaken("no UDP port is free for both IPv4 and IPv6")
    tried = f"UDP port {port}" if port_search == 0 else f"every UDP port from {port} to {port + port_search}"
    return PortTaken(
        f"{tried} is taken ({port} by {describe_holder(port)}); "
        f"stop it, or set another [relay] port, or let relayd look further with [relay] port_search"
    )


def _bind_exclusively(port: int, bind4: str, bind6: str) -> WorkerSockets | None:
    """The first pair, bound alone. None when the port is taken in either family."""
    v4 = v6 = None
    try:
        if bind4:
            v4 = _bound(socket.AF_INET, bind4, port)
            port = v4.getsockname()[1]
        if bind6:
            v6 = _bound_v6(bind6, port, required=not bind4)
    except (OSError, BindRefused) as error:
        if v4 is not None:
            v4.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return WorkerSockets(v4, v6)


def _bound_v6(bind6: str, port: int, *, required: bool) -> socket.socket | None:
    try:
        return _bound(socket.AF_INET6, bind6, port)
    except BindRefused as error:
        missing = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)
        if required or error.errno not in missing or bind6 != "::":
            raise
        log.warning('this machine has no IPv6 (%s); going on with IPv4. [relay] bind6 = "" silences this', error)
        return None


def _bound(family: int, address: str, port: int, *, share: bool = False) -> socket.socket:
    # EADDRINUSE is raised as it comes, since the caller goes on to another port; all else becomes BindRefused.
    try:
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    except OSError as error:
        raise BindRefused(str(error.strerror), error.errno) from error
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise
        key = "bind4" if family == socket.AF_INET else "bind6"
        text = f"[relay] {key} = {address!r}, UDP port {port}: {error.strerror or error}"
        kind = AddressAbsent if error.errno == errno.EADDRNOTAVAIL else BindRefused
        raise kind(text, error.errno) from error
    return sock


def _join(first: WorkerSockets, others: int) -> Iterator[WorkerSockets]:
    """Open the port to sockets of this process, and bind the other workers' pairs on it."""
    if others == 0:
        return  # stays exclusive
    for sock in (first.v4, first.v6):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    for _ in range(others):
        yield WorkerSockets(_twin(first.v4), _twin(first.v6))


def _twin(first: socket.socket | None) -> socket.socket | None:
    if first is None:
        return None
    address, port = first.getsockname()[:2]
    return _bound(first.family, address, port, share=True)


def _port_of(pair: WorkerSockets) -> int:
    sock = pair.v4 or pair.v6
    assert sock is not None
    port: int = sock.getsockname()[1]
    return port


def set_options(pair: WorkerSockets, receive_buffer_bytes: int, *, warn: bool) -> None:
    """What the worker wants to know of each packet: address it came to, ECN and DSCP, what the kernel dropped."""
    if pair.v4 is not None:
        pair.v4.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        pair.v4.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
    if pair.v6 is not None:
        pair.v6.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        pair.v6.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
    for sock in (pair.v4, pair.v6):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
            got = _enlarge_receive_buffer(sock, receive_buffer_bytes)
            if got < receive_buffer_bytes and warn:
                warn = False
                _warn_small_buffer(receive_buffer_bytes, got)


def _enlarge_receive_buffer(sock: socket.socket, asked: int) -> int:
    """Ask past net.core.rmem_max where we may (CAP_NET_ADMIN), else up to it. Gives the bytes we got.

    The kernel doubles the number for its own bookkeeping and reports it doubled (socket(7)).
    """
    for option in (SO_RCVBUFFORCE, socket.SO_RCVBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, asked)
            break
        except PermissionError:
            continue
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2


def _warn_small_buffer(asked: int, got: int) -> None:
    # One voice packet of 160 bytes takes about 830 of the doubled buffer: 212,992 bytes hold about 256 of them.
    log.warning(
        "receive buffers are %d bytes, not the %d of [relay] receive_buffer_bytes: bursts of more than about %d "
        "packets a worker will be dropped; raise it with: sysctl -w net.core.rmem_max=%d",
        got,
        asked,
        2 * got // 830,
        asked,
    )
