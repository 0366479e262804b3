"""A process as its supervisor sees it: started, watched, reaped, replaced.

One `Post` is one place (a relay worker's, a transceiver's, the signalling process's) which one process after another
fills; what the place needs outlives them all and is its owner's. Runs in the supervisor's loop, never waits.

A successor starts only after its predecessor is reaped (DESIGN 2.8), so a ring or a session segment never has two
writers. Death is seen on a pidfd, which names the process for good, and the fork comes before anything is logged: the
50 ms that a replacement may take (DESIGN 6) are spent on nothing else.

Leaves out: how a process is found to be stuck. Its owner knows, and calls `kill_stuck`.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from shm.daemon.child import FORK_BLOCKED_SIGNALS, Live, be_child
from shm.daemon.loop import READ, EventLoop, Timer
from shm.daemon.outbox import PEER_GONE, Outbox, PeerTooSlow
from shm.daemon.release import RELEASE
from shm.daemon.restarts import RestartBackoff

log = logging.getLogger("supervisor")

# What a process may leave unread before it counts as stuck: every lane there can be at once (256), three times over.
MESSAGES_MAX = 1024
# A child tells its supervisor a few words at most.
CHILD_MESSAGE_BYTES_MAX = 4096
# A machine that has no process or descriptor to spare is asked again after this long.
FORK_RETRY_NS = 1_000_000_000
# Who ends a process of ours by SIGTERM mostly ends all of them, one by one (pkill, a service manager): our turn comes
# within this time, or it was meant for that one alone.
TERMINATION_GRACE_NS = 200_000_000

M = TypeVar("M")


def seqpacket_pair() -> tuple[socket.socket, socket.socket]:
    """Supervisor's end and child's end, for small messages."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class LeftProcess(msgspec.Struct):
    """A running process, as a supervisor leaves it to its own new code (handover.py)."""

    pid: int
    pidfd: int
    control: int
    started_ns: int
    release: str

    @property
    def descriptors(self) -> tuple[int, int]:
        """Those of the supervisor."""
        return self.pidfd, self.control


@dataclass
class Process:
    """One process that runs, or is dead and not yet reaped."""

    pid: int
    pidfd: int
    outbox: Outbox
    started_ns: int
    release: str = RELEASE
    """The code it runs: a fork of us runs ours."""
    condemned: bool = False
    """Killed for being stuck; its end is on the way."""


class Post(Generic[M]):
    """One process's place. `live(control)` is called in the forked child; when it returns the child has ended."""

    def __init__(
        self,
        name: str,
        loop: EventLoop,
        live: Live,
        encode: Callable[[M], bytes],
        backoff: RestartBackoff,
        *,
        pair: Callable[[], tuple[socket.socket, socket.socket]] = seqpacket_pair,
        before_start: Callable[[], None] = lambda: None,
        on_started: Callable[[], None] = lambda: None,
        on_message: Callable[[bytes], None] = lambda _data: None,
        on_ended: Callable[[], None] = lambda: None,
        on_left: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_ended` is told of every end, `on_left` after it of one that no successor follows."""
        self.name = name
        self.process: Process | None = None
        self.restarts = 0
        self.killed_stuck = 0
        self.last_end = ""
        self.last_gap_ns = 0  # from seeing the last death to having its successor forked
        self._loop = loop
        self._live = live
        self._encode = encode
        self._backoff = backoff
        self._pair = pair
        self._before_start = before_start
        self._on_started = on_started
        self._on_message = on_message
        self._on_ended = on_ended
        self._on_left = on_left
        self._stopping = False
        self._leaving = False
        self._swapping = False
        self._retry: Timer | None = None
        self._grace: Timer | None = None  # until it is clear that only its process was to end

    @property
    def pid(self) -> int | None:
        """Of the process that runs, if any."""
        return None if self.process is None else self.process.pid

    def start(self) -> None:
        """Fork the process. A machine that has nothing to spare is asked again a little later."""
        self._before_start()
        try:
            self.process = self._fork()
        except OSError as error:
            log.error("%s cannot be started: %s; trying again", self.name, error.strerror)
            self._retry = self._loop.call_after(FORK_RETRY_NS, self.start)
            return
        self._on_started()

    def send(self, message: M, descriptors: Sequence[int] = ()) -> None:
        """Tell the running process; when none runs its successor is born with what the message would have told it."""
        if self.process is None:
            return
        try:
            self.process.outbox.send(self._encode(message), descriptors)
        except PeerTooSlow:
            self.kill_stuck("does not read its control socket")
        except OSError as error:
            if error.errno not in PEER_GONE:  # we have nothing to spare: it would live on without having heard
                self.kill_stuck(f"cannot be told {type(message).__name__} ({error.strerror})")
            log.debug("%s is gone before message %s", self.name, type(message).__name__)

    def retire(self, farewell: M) -> None:
        """Ask the process to end, and start no other. Where none runs the place is given up at once."""
        self.abandon()
        if self.process is None:
            self._on_left()
        self.send(farewell)

    def abandon(self) -> None:
        """Start no other, whatever becomes of this one: it is left to somebody else."""
        self._stopping = True
        for timer in (self._retry, self._grace):
            if timer is not None:
                timer.cancel()
        self._retry = self._grace = None

    def let_go(self) -> None:
        """Leave the process that runs to itself: it sees our end of the conversation close, and hears no more of us."""
        if self.process is not None:
            self._loop.unwatch(self.process.pidfd)
            os.close(self.process.pidfd)
            self.process.outbox.close()
            self.process = None

    def leave(self, farewell: M) -> None:
        """Ask the process to end when its work is done; that end is the last one. One that dies before has a successor,
        which is asked the same once it has started."""
        self._leaving = True
        if self._grace is not None:  # it was ended by whoever ends us
            self._grace.cancel()
            self._grace = None
            self._on_left()
        self.send(farewell)

    @property
    def leaving(self) -> bool:
        """Whether its orderly end will be the last."""
        return self._leaving

    def swap(self, farewell: M) -> None:
        """Ask the process to end now; its orderly end is no death, and its successor starts at once."""
        self._swapping = True
        self.send(farewell)

    def left(self) -> LeftProcess | None:
        """The running process, for our own new code."""
        process = self.process
        if process is None:
            return None
        return LeftProcess(process.pid, process.pidfd, process.outbox.fileno(), process.started_ns, process.release)

    def adopt(self, left: LeftProcess, *, last: bool = False) -> None:
        """The process that our old code started: a child of ours all the same. `last`: no other shall follow it."""
        self._stopping = last
        control = socket.socket(fileno=left.control)
        self.process = self._watch_process(left.pid, left.pidfd, control)
        self.process.started_ns, self.process.release = left.started_ns, left.release

    @property
    def quiet(self) -> bool:
        """Whether a process runs, and nothing that we said to it waits in our own memory."""
        return self.process is not None and not len(self.process.outbox) and not self.process.condemned

    def kill_stuck(self, why: str) -> None:
        """End a process that makes no progress, once; its successor starts when it is reaped."""
        if self.process is None or self.process.condemned:
            return
        log.error("%s (pid %s) is stuck: it %s; killing it", self.name, self.pid, why)
        self.process.condemned = True
        self.killed_stuck += 1
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        if self.process is not None:
            signal.pidfd_send_signal(self.process.pidfd, signal.SIGKILL)

    def _fork(self) -> Process:
        ours, theirs = self._pair()
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, FORK_BLOCKED_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                be_child(self.name, self._live, theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            theirs.close()
        return self._adopt(pid, ours)

    def _adopt(self, pid: int, control: socket.socket) -> Process:
        """Watch the child. One that cannot be watched must not live beside the next."""
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            control.close()
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        return self._watch_process(pid, pidfd, control)

    def _watch_process(self, pid: int, pidfd: int, control: socket.socket) -> Process:
        outbox = Outbox(control, self._loop, MESSAGES_MAX, lambda: self._hear(control))
        self._loop.watch(pidfd, READ, self._ended)
        return Process(pid, pidfd, outbox, time.monotonic_ns())

    def _hear(self, control: socket.socket) -> None:
        """The child's message. Its end of the socket closing says nothing that the pidfd does not say better."""
        try:
            data = control.recv(CHILD_MESSAGE_BYTES_MAX)
        except OSError:
            return
        if data:
            self._on_message(data)
        else:
            self._loop.unwatch(control.fileno())

    def _ended(self, _events: int) -> None:
        seen_ns = time.monotonic_ns()
        process = self.process
        assert process is not None
        end = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOHANG)
        if end is None:
            return  # it lives; never wait for it
        self.process = None
        self._loop.unwatch(process.pidfd)
        os.close(process.pidfd)
        process.outbox.close()
        self.last_end = _describe(end)
        self._on_ended()
        orderly = end.si_code == os.CLD_EXITED and end.si_status == 0
        terminated = end.si_code != os.CLD_EXITED and end.si_status == signal.SIGTERM
        if self._stopping or (self._leaving and (orderly or terminated)):
            self._on_left()
        elif self._swapping and orderly:
            self._swap(process.pid, seen_ns)
        elif terminated:
            self._grace = self._loop.call_after(TERMINATION_GRACE_NS, lambda: self._replace(process.pid, seen_ns))
        else:
            self._replace(process.pid, seen_ns)

    def _swap(self, old: int, seen_ns: int) -> None:
        self._swapping = False
        self.start()
        self.last_gap_ns = time.monotonic_ns() - seen_ns
        log.info("%s (pid %d) has made room; pid %s took its place after %.1f ms",
                 self.name, old, self.pid, self.last_gap_ns / 1e6)  # fmt: skip

    def _replace(self, dead: int, seen_ns: int) -> None:
        self._grace = None
        delay_ns = self._backoff.delay_after_death(seen_ns)
        if delay_ns:
            log.error("%s (pid %d) %s; it dies too often, the next starts in %d ms",
                      self.name, dead, self.last_end, delay_ns // 1_000_000)  # fmt: skip
            self._retry = self._loop.call_after(delay_ns, self._succeed)
            return
        self._succeed()
        self.last_gap_ns = time.monotonic_ns() - seen_ns
        log.warning("%s (pid %d) %s; pid %s took its place after %.1f ms",
                    self.name, dead, self.last_end, self.pid, self.last_gap_ns / 1e6)  # fmt: skip

    def _succeed(self) -> None:
        self.restarts += 1
        self.start()


def end_all(loop: EventLoop, posts: Iterable[Post[Any]], patience_ns: int) -> None:
    """Wait for retired processes to end, and kill after `patience_ns` those that do not. Runs the loop meanwhile."""
    posts = list(posts)
    _drain(loop, posts, time.monotonic_ns() + patience_ns)
    for post in posts:
        post.kill()
    _drain(loop, posts, None)


def _drain(loop: EventLoop, posts: Sequence[Post[Any]], deadline: int | None) -> None:
    while any(post.process is not None for post in posts):
        left = None if deadline is None else deadline - time.monotonic_ns()
        if left is not None and left <= 0:
            return
        loop.turn(left)


def _describe(end: os.waitid_result) -> str:
    if end.si_code == os.CLD_EXITED:
        return f"ended with status {end.si_status}"
    return f"was killed by {signal.Signals(end.si_status).name}"
