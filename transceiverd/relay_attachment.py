"""The supervisor's connection to relayd's control socket (DESIGN 2.7): attach, offer everything, be told of changes.

Either daemon may start, stop or restart first: while there is no relayd this tries again several times a second, and
after every attach it offers the same lanes and counters again. Runs in the supervisor's loop, never blocks.
"""

import logging
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from shm import attach
from shm.daemon.loop import READ, EventLoop
from shm.errors import LayoutRefused
from shm.segment import SUPPORTED_MAJORS

log = logging.getLogger("relay")

SOCKET_NAME = "relayd.sock"
# Often enough that a restart of relayd costs a call no more than this on top; a refused connect costs 20 us.
RETRY_NS = 50_000_000
# One that refuses us (another layout, another transceiverd) will do so again: ever later, up to this.
REFUSED_RETRY_NS_MAX = 1_000_000_000
# One offer is out at a time, so relayd's answer to each says what it was for.
Offer = tuple[attach.AnyMessage, Sequence[int]]
Answered = Callable[[str], None]
"""Told why it was refused; empty: it was done, or will be at the next attach."""


class RelayAttachment:
    """At most one connection; `on_welcome(welcome)` gives the offers to make, `on_attached`, `on_detached` follow."""

    def __init__(
        self,
        loop: EventLoop,
        directory: Path,
        on_welcome: Callable[[attach.Welcome], list[Offer]],
        on_attached: Callable[[], None],
        on_detached: Callable[[], None],
        on_worker_replaced: Callable[[int], None],
        on_problem: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """`on_problem` is told, once for each reason, why there is no attach."""
        self._loop = loop
        self._path = directory / SOCKET_NAME
        self._on_welcome = on_welcome
        self._on_attached = on_attached
        self._on_detached = on_detached
        self._on_worker_replaced = on_worker_replaced
        self._on_problem = on_problem
        self._socket: socket.socket | None = None
        self._offers: list[Offer] = []
        self._answered: Answered | None = None
        self._question: attach.AnyMessage | None = None
        self._complaint = ""
        self._refusals = 0
        self.attached = False

    def adopt(self, end: socket.socket) -> None:
        """Go on with the conversation that our old code had: attached, and nothing under way."""
        end.setblocking(False)
        self._socket = end
        self.attached = True
        self._loop.watch(end.fileno(), READ, self._readable)

    @property
    def quiet(self) -> bool:
        """Whether no offer or question waits for its answer."""
        return not self._offers and (self.attached or self._socket is None)

    def fileno(self) -> int:
        """Of the connection. Only while attached."""
        assert self._socket is not None, "attached"
        return self._socket.fileno()

    def start(self) -> None:
        """Try to attach, now and as long as it takes."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        end.setblocking(False)
        try:
            end.connect(str(self._path))
            attach.send(end, attach.Hello("transceiverd", list(SUPPORTED_MAJORS), os.getpid()))
        except OSError as error:
            end.close()
            self._refusals = 0  # the next one may be another
            self._complain(f"no relayd at {self._path}: {error.strerror}")
            self._loop.call_after(RETRY_NS, self.start)
            return
        self._socket = end
        self._loop.watch(end.fileno(), READ, self._readable)

    def tell(self, message: attach.AnyMessage, descriptors: Sequence[int] = ()) -> None:
        """Say something outside the attach, such as a new incarnation; nothing when not attached."""
        if self.attached:
            self._offers.append((message, descriptors))
            if len(self._offers) == 1:
                self._send_next()

    def ask(self, message: attach.AnyMessage, answered: Answered) -> None:
        """Ask while attached; one question at a time. A refusal is an answer, and ends nothing.

        A connection that ends first takes the question with it: what the next attach offers answers it.
        """
        assert self.attached, "a question waits for no attach"
        assert self._answered is None, "one question at a time"
        self._question, self._answered = message, answered
        self.tell(message)

    def close(self) -> None:
        """Detach for good."""
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _readable(self, _events: int) -> None:
        while self._socket is not None:
            try:
                message, _ = attach.receive(self._socket)
            except BlockingIOError:
                return
            except (EOFError, OSError, attach.MalformedMessage) as error:
                self._lost(str(error))
                return
            self._obey(message)

    def _obey(self, message: attach.AnyMessage) -> None:
        match message:
            case attach.Welcome():
                try:
                    self._offers = self._on_welcome(message)
                except (OSError, ValueError, LayoutRefused) as error:
                    self._lost(f"lanes cannot be made: {error}")
                    return
                self._send_next()
            case attach.Refused(reason, found, allowed) if self._is_answer():
                self._offers.pop(0)
                self._answer(f"{reason}: found {found}: {allowed}")
                self._advance()
            case attach.Refused(reason, found, allowed):
                self._refusals += 1
                self._lost(f"relayd refused: {reason}: found {found}, allowed {allowed}")
            case attach.Accepted() | attach.KeyConfirmed():
                if self._offers:  # a confirmation may come late, after another attach began
                    answers = self._is_answer()
                    self._offers.pop(0)
                    if answers:
                        self._answer("")
                    self._advance()
            case attach.WorkerReplaced(worker):
                self._on_worker_replaced(worker)

    def _is_answer(self) -> bool:
        return self._answered is not None and bool(self._offers) and self._offers[0][0] is self._question

    def _answer(self, refused: str) -> None:
        answered, self._answered, self._question = self._answered, None, None
        if answered is not None:
            answered(refused)

    def _advance(self) -> None:
        if self._offers:
            self._send_next()
        elif not self.attached:
            self.attached = True
            self._complaint = ""
            self._refusals = 0
            log.info("attached to relayd at %s", self._path)
            self._on_attached()

    def _send_next(self) -> None:
        """One small message at a time is out, which always fits the socket's buffer."""
        assert self._socket is not None
        message, descriptors = self._offers[0]
        try:
            attach.send(self._socket, message, descriptors)
        except OSError as error:
            self._lost(str(error))

    def _lost(self, why: str) -> None:
        self.close()
        self._offers = []
        if self.attached:
            log.warning("detached from relayd: %s", why)
            self.attached = False
            self._on_detached()
            self._answer("")
        else:
            self._complain(why)
        self._loop.call_after(min(RETRY_NS << min(self._refusals, 16), REFUSED_RETRY_NS_MAX), self.start)

    def _complain(self, text: str) -> None:
        """Once for each reason, not at every try."""
        if text != self._complaint:
            self._complaint = text
            log.warning("%s; trying again", text)
            self._on_problem(text)
