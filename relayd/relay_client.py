"""The operator's end of the control socket: connect, say Hello, ask for the status.

Used by relayctl and its subcommands; blocking, with a time limit, since a person waits.
"""

import contextlib
import os
import socket
from pathlib import Path
from types import TracebackType

import msgspec

from relayd.config import SOCKET_NAME
from relayd.status import ProcessStatus, Status
from shm import attach
from shm.daemon.orders import NoDaemon, Order, give_order
from shm.segment import SUPPORTED_MAJORS

# relayd answers within milliseconds; a supervisor that is stopped or swamped must not hang its operator (seconds).
ANSWER_PATIENCE_SECONDS = 5.0


class NoRelay(RuntimeError):
    """No relayd answers at this runtime directory."""


class RefusedByRelay(RuntimeError):
    """relayd answers, and says no."""


class RelayClient:
    """Connects when first used, and again after a failure."""

    def __init__(self, runtime_directory: Path) -> None:
        self._path = runtime_directory / SOCKET_NAME
        self._sock: socket.socket | None = None

    def status(self) -> Status:
        """The running system. Raises NoRelay, RefusedByRelay."""
        reply = self._ask(attach.StatusRequest())
        if not isinstance(reply, attach.StatusReply):
            raise RefusedByRelay(f"relayd answered StatusRequest with {reply}")
        status = msgspec.convert(reply.status, Status, str_keys=True)
        with contextlib.suppress(NoDaemon):  # not there, or not for us to ask
            report = give_order(self._path.parent, "transceiverd", Order("releases"), ANSWER_PATIENCE_SECONDS)
            status.processes = msgspec.convert(report.details.get("processes", []), list[ProcessStatus])
        return status

    def close(self) -> None:
        """Hang up."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def __enter__(self) -> "RelayClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: attach.AnyMessage) -> attach.AnyMessage:
        try:
            if self._sock is None:
                self._connect()
            assert self._sock is not None
            attach.send(self._sock, request)
            return self._answer(self._sock)
        except (OSError, EOFError, attach.MalformedMessage) as error:
            self.close()
            raise NoRelay(self._explain(error)) from error

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        sock.settimeout(ANSWER_PATIENCE_SECONDS)
        try:
            sock.connect(str(self._path))
            attach.send(sock, attach.Hello("operator", list(SUPPORTED_MAJORS), os.getpid()))
            self._answer(sock)
        except BaseException:
            sock.close()
            raise
        self._sock = sock

    @staticmethod
    def _answer(sock: socket.socket) -> attach.AnyMessage:
        message, fds = attach.receive(sock)
        attach.close_all(fds)
        if isinstance(message, attach.Refused):
            raise RefusedByRelay(f"relayd refused: {message.reason}: found {message.found}, allowed {message.allowed}")
        return message

    def _explain(self, error: Exception) -> str:
        hint = "is it running, and with this runtime directory? Name another with --runtime-directory or --config"
        if isinstance(error, PermissionError):
            hint = "run relayctl as root or as relayd's user, or have [relay] peers or group name yours"
            return f"relayd at {self._path} does not answer this user ({error.strerror}): {hint}"
        if isinstance(error, TimeoutError):
            hint = f"it did not answer within {ANSWER_PATIENCE_SECONDS:g} s"
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"no relayd at {self._path} ({reason}): {hint}"
