"""The processes of transceiverd as their supervisor sees them: started, watched, reaped, replaced.

One `Post` is one place (a transceiver's, or the signalling process's) which one process after another fills. A
successor starts only after its predecessor is reaped (DESIGN 2.8): a ring and a session segment never have two
writers. Runs in the supervisor's loop.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shm.daemon.loop import READ, EventLoop, Timer
from shm.daemon.outbox import Outbox, PeerTooSlow
from shm.daemon.restarts import RestartBackoff
from transceiverd import links

log = logging.getLogger("supervisor")

# What a process may leave unread before it counts as stuck: every lane of a large relay, three times over.
MESSAGES_MAX = 1024
# A crash loop: this many deaths in the window are answered at once, further ones ever later.
RESTART_BURST = 5
RESTART_WINDOW_NS = 10_000_000_000
# A machine that has no process to spare is asked again after this long.
FORK_RETRY_NS = 1_000_000_000
# Held back around the fork, so that none is delivered in the child before it has its own handling.
FORK_BLOCKED_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass
class Process:
    """One process that runs, or is dead and not yet reaped."""

    pid: int
    pidfd: int
    outbox: Outbox


class Post:
    """One process's place. `live(control)` is called in the forked child and never returns."""

    def __init__(
        self,
        name: str,
        loop: EventLoop,
        live: Callable[[socket.socket], None],
        *,
        before_start: Callable[[], None] = lambda: None,
        on_started: Callable[[], None] = lambda: None,
        on_ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.process: Process | None = None
        self.restarts = 0
        self.started_ns = 0
        self.last_end = ""
        self._loop = loop
        self._live = live
        self._before_start = before_start
        self._on_started = on_started
        self._on_ended = on_ended
        self._stopping = False
        self._retry: Timer | None = None
        self._backoff = RestartBackoff(RESTART_BURST, RESTART_WINDOW_NS)

    @property
    def pid(self) -> int | None:
        """Of the process that runs, if any."""
        return None if self.process is None else self.process.pid

    def start(self) -> None:
        """Fork the process."""
        self._before_start()
        try:
            self.process = self._fork()
        except OSError as error:
            log.error("%s cannot be started: %s; trying again", self.name, error.strerror)
            self._retry = self._loop.call_after(FORK_RETRY_NS, self.start)
            return
        self.started_ns = time.monotonic_ns()
        self._on_started()

    def send(self, message: links.Message, descriptors: Sequence[int] = ()) -> None:
        """Tell the running process; a successor learns it at its birth."""
        if self.process is None:
            return
        try:
            self.process.outbox.send(links.encode(message), descriptors)
        except PeerTooSlow:
            self.kill_stuck("does not read its control socket")
        except OSError:
            log.debug("%s is gone before message %s", self.name, type(message).__name__)

    def kill_stuck(self, why: str) -> None:
        """End a process that makes no progress; its successor starts when it is reaped."""
        log.error("%s (pid %s) is stuck: it %s; killing it", self.name, self.pid, why)
        self.kill()

    def kill(self) -> None:
        """End the process now."""
        if self.process is not None:
            signal.pidfd_send_signal(self.process.pidfd, signal.SIGKILL)

    def retire(self, reason: str) -> None:
        """Ask the process to end, and start no other."""
        self._stopping = True
        if self._retry is not None:
            self._retry.cancel()
        self.send(links.Stop(reason))

    def _fork(self) -> Process:
        ours, theirs = links.socket_pair()
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, FORK_BLOCKED_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_child(theirs)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            theirs.close()
        pidfd = os.pidfd_open(pid)
        outbox = Outbox(ours, self._loop, MESSAGES_MAX, lambda: self._hear(ours))
        self._loop.watch(pidfd, READ, self._ended)
        return Process(pid, pidfd, outbox)

    def _be_child(self, control: socket.socket) -> None:
        """Everything that happens in the child; nothing of the supervisor's stack may run in it again."""
        status = 70  # sysexits(3): internal software error
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, FORK_BLOCKED_SIGNALS)
            self._live(control)
            status = 0
        except BaseException:
            logging.getLogger(self.name).critical("ends by a fault", exc_info=True)
        finally:
            os._exit(status)

    def _hear(self, end: socket.socket) -> None:
        """Children say nothing to the supervisor; the end of the socket says less than the pidfd."""
        try:
            if not end.recv(1):
                self._loop.unwatch(end.fileno())
        except OSError:
            return

    def _ended(self, _events: int) -> None:
        process, self.process = self.process, None
        assert process is not None
        end = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED)
        self._loop.unwatch(process.pidfd)
        os.close(process.pidfd)
        process.outbox.close()
        self.last_end = _describe(end)
        self._on_ended()
        if not self._stopping:
            self._replace(process.pid)

    def _replace(self, dead: int) -> None:
        self.restarts += 1
        delay_ns = self._backoff.delay_after_death(time.monotonic_ns())
        if delay_ns:
            log.error("%s (pid %d) %s; it dies too often, the next starts in %d ms",
                      self.name, dead, self.last_end, delay_ns // 1_000_000)  # fmt: skip
            self._retry = self._loop.call_after(delay_ns, self.start)
            return
        self.start()
        log.warning("%s (pid %d) %s; pid %s took its place", self.name, dead, self.last_end, self.pid)


def _describe(end: os.waitid_result | None) -> str:
    assert end is not None
    if end.si_code == os.CLD_EXITED:
        return f"ended with status {end.si_status}"
    return f"was killed by {signal.Signals(end.si_status).name}"
