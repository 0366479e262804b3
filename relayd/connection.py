"""One connection to the control socket: the conversation with transceiverd's supervisor, or with a relayctl.

Made by control.py for every peer that may connect. The messages are shm/attach.py's; what each does is done elsewhere
(attachments.py, key_confirmation.py, status_report.py). A message that is malformed, out of turn or beyond the role of
the speaker ends this connection with the reason and touches nobody else; an offer that is well-formed but cannot be
taken is refused and the conversation goes on.
"""

import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from relayd.attachments import Attachments, OfferRefused
from relayd.key_confirmation import KeyConfirmation
from relayd.quiet_log import QuietLog
from shm import attach
from shm.daemon.loop import EventLoop
from shm.daemon.outbox import Outbox, PeerTooSlow
from shm.errors import LayoutRefused

log = logging.getLogger("supervisor")

# Replies and notices that a peer may leave unread before it is let go: one for each lane it can offer at once, doubled.
CONNECTION_MESSAGES_MAX = 1024
# Messages taken from one connection before the loop looks at the others.
MESSAGES_PER_TURN = 32
# A peer that connects says Hello at once; one that does not only uses up a place (ns).
HELLO_PATIENCE_NS = 5_000_000_000
# shm/attach.py ShortText.
REFUSAL_CHARACTERS_MAX = 512


def refusal(reason: object, found: object, allowed: object) -> attach.Refused:
    """A Refused whose texts are as short as the format wants them, whatever the peer put into them."""
    return attach.Refused(*(str(text)[:REFUSAL_CHARACTERS_MAX] for text in (reason, found, allowed)))


def discard_unread(sock: socket.socket) -> None:
    """Take what the peer has sent already: closing over it would reset the connection and lose our last word."""
    with contextlib.suppress(OSError, EOFError, attach.MalformedMessage):
        for _ in range(MESSAGES_PER_TURN):
            attach.close_all(attach.receive(sock)[1])


class Desk(Protocol):
    """What a connection needs of the rest of relayd; control.py is it."""

    loop: EventLoop
    attachments: Attachments
    keys: KeyConfirmation
    quiet: QuietLog

    def welcome(self, layout: int) -> attach.Welcome:
        """The answer to a good Hello."""

    def claim_transceiverd(self, connection: "Connection") -> "Connection | None":
        """Make this connection the attached transceiverd's, or give the one that is."""

    def status(self) -> dict[str, Any]:
        """For a StatusReply."""

    on_ready: Callable[[], None]
    """Told whenever transceiverd has offered everything."""

    def count(self, event: str) -> None:
        """Book an event of the control socket."""

    def closed(self, connection: "Connection") -> None:
        """Told once, when the connection is over."""


class Connection:
    """Reads messages, answers them, and cleans up at the end."""

    def __init__(
        self,
        sock: socket.socket,
        peer: attach.Credentials,
        desk: Desk,
        refused: attach.Refused | None = None,
        role: str | None = None,
    ) -> None:
        """`role`: of a peer that has said Hello to an older code of this process.

        With `refused` the peer's Hello is answered by it. Not before: a peer that finds the connection closed while
        it says Hello would see a broken pipe, and not why.
        """
        self.peer = peer
        self.role = role
        self.opened_ns = time.monotonic_ns()
        self._sock = sock
        self._desk = desk
        self._refused = refused
        self._open = True
        self._outbox = Outbox(sock, desk.loop, CONNECTION_MESSAGES_MAX, self._read)
        self._hello_timer = desk.loop.call_after(HELLO_PATIENCE_NS, self._no_hello)
        if role is not None:
            self._hello_timer.cancel()

    def send(self, message: attach.AnyMessage) -> None:
        """Queue a message; a peer that does not read loses the connection."""
        if not self._open:
            return
        try:
            self._outbox.send(msgspec.json.encode(message))
        except PeerTooSlow as error:
            self._desk.count("slow peers")
            self.close(f"it does not read: {error}")
        except OSError as error:
            self.close(f"sending failed: {error.strerror}")

    def close(self, why: str) -> None:
        """End the conversation; what it offered is detached by the desk."""
        if not self._open:
            return
        self._open = False
        self._hello_timer.cancel()
        self._outbox.close()
        log.log(logging.INFO if self.role == "transceiverd" else logging.DEBUG, "%s left: %s", self, why)
        self._desk.closed(self)

    def fileno(self) -> int:
        """Of its socket."""
        return self._outbox.fileno()

    @property
    def quiet(self) -> bool:
        """Whether nothing that we said waits in our own memory."""
        return not len(self._outbox)

    def has_ended(self) -> bool:
        """Whether the peer is gone already, which the loop may not have got to yet."""
        try:
            return self._open and self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def __str__(self) -> str:
        pid = self.peer.pid or "of another container"  # of another PID namespace the kernel says 0
        return f"{self.role or 'a peer'} pid {pid} (uid {self.peer.uid})"

    def _no_hello(self) -> None:
        self._desk.count("no hello")
        self.close("it did not say Hello")

    def _read(self) -> None:
        for _ in range(MESSAGES_PER_TURN):
            if not self._open or not self._read_one():
                return

    def _read_one(self) -> bool:
        """Take one message; False when there is no other."""
        try:
            message, fds = attach.receive(self._sock)
        except BlockingIOError:
            return False
        except attach.MalformedMessage as error:
            self._desk.count("malformed messages")
            self._turn_away("malformed message", str(error), "the messages of shm/attach.py")
            return False
        except (EOFError, OSError) as error:
            self.close(str(error) or "the peer closed it")
            return False
        try:
            self._handle(message, fds)
        finally:
            for fd in fds:  # those that nobody took over
                os.close(fd)
        return True

    def _handle(self, message: attach.AnyMessage, fds: list[int]) -> None:
        if self._refused is not None:
            self._turn_away(self._refused.reason, self._refused.found, self._refused.allowed)
            return
        spoken = _HANDLERS.get((self.role, type(message)))
        if spoken is None:
            self._desk.count("messages out of turn")
            allowed = sorted(kind.__name__ for role, kind in _HANDLERS if role == self.role)
            self._turn_away("message out of turn", type(message).__name__, ", ".join(allowed))
            return
        try:
            spoken(self, message, fds)
        except (OfferRefused, LayoutRefused) as error:
            self._desk.count("offers refused")
            what = error.reason if isinstance(error, OfferRefused) else error.what
            self._desk.quiet.warning(f"offer {what}", f"{self}: refused: {error}")
            self.send(refusal(what, error.found, error.allowed))
        except OSError as error:  # no memory or descriptors to map an offer with
            self._desk.count("offers refused")
            self._desk.quiet.warning("offer failed", f"{self}: {type(message).__name__} failed: {error}")
            self.send(refusal(f"{type(message).__name__} failed", error, "more memory or descriptors"))

    def _turn_away(self, reason: str, found: str, allowed: str) -> None:
        self._desk.quiet.warning(reason, f"{self} is turned away: {reason}: found {found}, allowed {allowed}")
        self.send(refusal(reason, found, allowed))
        discard_unread(self._sock)
        self.close(reason)

    # ------------------------------------------------------------------------------------------------------ by message

    def _hello(self, message: attach.Hello, _fds: list[int]) -> None:
        try:
            layout = attach.common_layout(message.layouts)
        except LayoutRefused as error:
            self._desk.count("layouts refused")
            self._turn_away(error.what, str(error.found), str(error.allowed))
            return
        if message.role == "transceiverd" and not self._become_transceiverd():
            return
        self.role = message.role
        self._hello_timer.cancel()
        self.send(self._desk.welcome(layout))

    def _become_transceiverd(self) -> bool:
        holder = self._desk.claim_transceiverd(self)
        if holder is None:
            log.info("transceiverd pid %d (uid %d) is attached", self.peer.pid, self.peer.uid)
            return True
        self._desk.count("second transceiverds")
        self._turn_away("another transceiverd is attached", f"process {holder.peer.pid}", "one at a time")
        return False

    def _offer_lane(self, message: attach.OfferLane, fds: list[int]) -> None:
        self._desk.attachments.attach_lane(message.transceiver, message.worker, fds)
        self._desk.attachments.incarnations[message.transceiver] = message.incarnation
        self.send(attach.Accepted(f"lane {message.transceiver}/{message.worker}"))

    def _offer_counters(self, message: attach.OfferCounters, fds: list[int]) -> None:
        self._desk.attachments.attach_counters(message.owner, message.transceiver, fds)
        self.send(attach.Accepted(f"counters {message.owner}"))

    def _withdraw(self, message: attach.Withdraw, _fds: list[int]) -> None:
        self._desk.attachments.withdraw(message.transceiver)
        self.send(attach.Accepted(f"withdraw {message.transceiver}"))

    def _incarnation(self, message: attach.Incarnation, _fds: list[int]) -> None:
        self._desk.attachments.note_incarnation(message.transceiver, message.incarnation)
        self.send(attach.Accepted(f"incarnation {message.transceiver}"))

    def _confirm_key(self, message: attach.ConfirmKey, _fds: list[int]) -> None:
        refused = self._desk.keys.confirm(
            message.key_id, message.fingerprint, lambda: self.send(attach.KeyConfirmed(message.key_id))
        )
        if refused is not None:
            self._desk.count("keys refused")
            self.send(refusal(f"key {message.key_id}", message.fingerprint, refused))

    def _ready(self, message: attach.Ready, _fds: list[int]) -> None:
        self._desk.attachments.ready_transceivers = message.transceivers
        log.info("%s: %d transceivers ready", self, message.transceivers)
        self.send(attach.Accepted("ready"))
        self._desk.on_ready()

    def _status(self, _message: attach.StatusRequest, _fds: list[int]) -> None:
        self.send(attach.StatusReply(self._desk.status()))


# Who may say what: nothing but Hello at first, then by role.
_HANDLERS: dict[tuple[str | None, type[Any]], Callable[[Connection, Any, list[int]], None]] = {
    (None, attach.Hello): Connection._hello,
    ("transceiverd", attach.OfferLane): Connection._offer_lane,
    ("transceiverd", attach.OfferCounters): Connection._offer_counters,
    ("transceiverd", attach.Withdraw): Connection._withdraw,
    ("transceiverd", attach.Incarnation): Connection._incarnation,
    ("transceiverd", attach.ConfirmKey): Connection._confirm_key,
    ("transceiverd", attach.Ready): Connection._ready,
    ("transceiverd", attach.StatusRequest): Connection._status,
    ("operator", attach.StatusRequest): Connection._status,
}
