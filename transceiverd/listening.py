"""The sockets that transceiverd listens on for HTTP. The supervisor opens them, the signalling process serves them.

They outlive any signalling process: what connects while none runs, or while one of a new release takes over, waits in
the kernel's queue and is not refused. A port that is taken is said at the start, and the start ends there.
"""

import contextlib
import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shm.daemon.holders import describe_holder
from transceiverd.legacy import LeftDoor
from transceiverd.settings import Settings
from transceiverd.signalling.server import open_tcp, open_unix

PUBLIC, PUBLIC_TLS, OPERATOR, OPERATOR_SOCKET = "public", "public tls", "operator", "operator socket"


@dataclass(frozen=True)
class Address:
    """Where one of them listens. `port` 0: a Unix socket at the path `host`."""

    host: str
    port: int


@dataclass
class Doors:
    """All of them by name; a listener that is switched off is absent."""

    sockets: dict[str, socket.socket] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)

    def open(self, settings: Settings, runtime_directory: Path) -> None:
        """Open what the configuration wants and is not open yet, close what it does not want.

        OSError, which names the key, when that is impossible; then nothing has changed.
        """
        wanted = _wanted(settings, runtime_directory)
        opened: dict[str, socket.socket] = {}
        try:
            for name, (key, address) in wanted.items():
                if self.addresses.get(name) != address:
                    opened[name] = _open(key, address)
        except OSError:
            _close(opened)
            raise
        kept = {name: end for name, end in self.sockets.items() if name in wanted and name not in opened}
        _close({name: end for name, end in self.sockets.items() if name not in kept})
        self.sockets = {**kept, **opened}
        self.addresses = {name: address for name, (_, address) in wanted.items()}

    @classmethod
    def adopt(cls, left: Mapping[str, LeftDoor]) -> "Doors":
        """Those of our old code."""
        return cls(
            {name: socket.socket(fileno=door.fd) for name, door in left.items()},
            {name: Address(door.host, door.port) for name, door in left.items()},
        )

    def left(self) -> dict[str, LeftDoor]:
        """For our own new code."""
        return {
            name: LeftDoor(end.fileno(), self.addresses[name].host, self.addresses[name].port)
            for name, end in self.sockets.items()
        }

    def fds(self) -> list[int]:
        """Every descriptor that the signalling process keeps."""
        return [end.fileno() for end in self.sockets.values()]

    def close(self) -> None:
        """Listen no more, and remove the Unix socket's file. For the supervisor, at its end."""
        _close(self.sockets)
        self.sockets.clear()
        for address in self.addresses.values():
            if not address.port:
                with contextlib.suppress(FileNotFoundError):
                    Path(address.host).unlink()


def _wanted(settings: Settings, runtime_directory: Path) -> dict[str, tuple[str, Address]]:
    """By name: the key that a refusal names, and the address."""
    signalling, operator = settings.signalling, settings.operator
    wanted = {
        PUBLIC: ("[signalling] port", Address(signalling.listen, signalling.port)),
        PUBLIC_TLS: ("[signalling] tls_port", Address(signalling.tls_listen, signalling.tls_port)),
        OPERATOR: ("[operator] port", Address(operator.listen, operator.port)),
    }
    wanted = {name: (key, address) for name, (key, address) in wanted.items() if address.port}
    if operator.socket:
        wanted[OPERATOR_SOCKET] = ("[operator] socket", Address(str(runtime_directory / operator.socket), 0))
    return wanted


def _open(key: str, address: Address) -> socket.socket:
    try:
        return open_tcp(address.host, address.port) if address.port else open_unix(address.host)
    except OSError as error:
        where = f"{address.host} port {address.port}" if address.port else address.host
        refused = OSError(f"{key}: {where}{_why(error, address)}")
        refused.errno = error.errno  # for the exit status; without strerror it is not part of the text
        raise refused from error


def _why(error: OSError, address: Address) -> str:
    if error.errno == errno.EADDRINUSE and address.port:
        return f" is taken by {describe_holder(address.port, 'tcp')}"
    return f": {error.strerror}"


def _close(ends: dict[str, socket.socket]) -> None:
    for end in ends.values():
        end.close()
