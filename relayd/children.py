"""The worker processes as their supervisor sees them: started, watched, reaped, replaced.

One `Post` is one worker's place, which one process after another fills; what it needs is in its Holding and outlives
them all. `Children` is all posts. Both run in the supervisor's loop (supervisor.py).

A successor starts only after its predecessor is reaped (DESIGN 2.8), so a ring never has two producers. Death is seen
on a pidfd, which names the process for good, and the fork comes before anything is logged or told: the 50 ms that a
replacement may take (DESIGN 6) are spent on nothing else.
"""

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from relayd.child import FORK_BLOCKED_SIGNALS, Birth, run_worker
from relayd.child_messages import KeysLoaded, Leave, ToWorker, encode, receive_from_worker
from relayd.config import Relay
from relayd.holding import Holding
from relayd.stall import StallWatch
from relayd.ufrag_keys import UfragKeys
from shm.daemon.loop import READ, EventLoop, Timer
from shm.daemon.outbox import Outbox, PeerTooSlow
from shm.daemon.restarts import FIRST_DELAY_NS, RestartBackoff

log = logging.getLogger("supervisor")

# A worker reads its control socket within one batch. Every transceiver's lane at once (256), thrice over, must fit.
WORKER_MESSAGES_MAX = 1024
# Looks at the heartbeats in one stuck_after_ms: few enough to cost nothing, enough to be right within an eighth of it.
LOOKS_PER_STALL = 8


@dataclass
class Process:
    """One worker process that runs, or is dead and not yet reaped."""

    pid: int
    pidfd: int
    outbox: Outbox
    started_ns: int
    fingerprints: dict[int, str]
    """The keys it verifies ufrags under."""


@dataclass(frozen=True)
class Household:
    """What all posts share."""

    loop: EventLoop
    config: Relay
    machine: int
    lock_fd: int
    keys: Callable[[], UfragKeys]
    holdings: Sequence[Holding]
    on_started: Callable[[int, int], None]
    """Told worker and pid whenever a process has started."""
    on_keys_loaded: Callable[[], None]
    """Told whenever the keys of some worker may have changed."""


@dataclass
class Post:
    """One worker's place."""

    holding: Holding
    household: Household
    process: Process | None = None
    restarts: int = 0
    killed_stuck: int = 0
    last_end: str = ""
    last_gap_ns: int = 0
    """From seeing the last death to having its successor forked."""
    _stopping: bool = False
    _retry: Timer | None = None
    _backoff: RestartBackoff = field(init=False)
    _stall: StallWatch = field(init=False)

    def __post_init__(self) -> None:
        config = self.household.config
        self._backoff = RestartBackoff(config.restart_burst, config.restart_window_ms * 1_000_000)
        self._stall = self._new_stall_watch()

    @property
    def index(self) -> int:
        """Which worker."""
        return self.holding.index

    def start(self) -> None:
        """Fork the worker. A machine that has no process or descriptor to spare is asked again a little later."""
        try:
            self.process = self._fork()
        except OSError as error:
            log.error("worker %d cannot be started: %s; trying again", self.index, error.strerror)
            self._retry = self.household.loop.call_after(20 * FIRST_DELAY_NS, self.start)
            return
        self._stall = self._new_stall_watch()
        self.household.on_started(self.index, self.process.pid)
        self.household.on_keys_loaded()

    def send(self, message: ToWorker, fds: Sequence[int] = ()) -> None:
        """Tell the running worker; when none runs its successor is born with what the message would have told it."""
        if self.process is None:
            return
        try:
            self.process.outbox.send(encode(message), fds)
        except PeerTooSlow:
            self._kill_stuck("does not read its control socket")
        except OSError:
            log.debug("worker %d is gone before message %s", self.index, type(message).__name__)

    def look(self, now: int) -> None:
        """Compare the heartbeat with the last one seen; kill a worker that has work and does not turn."""
        if self.process is not None and self._stall.observe(self.holding.heartbeat(), self._work_waits, now):
            self._kill_stuck(f"made no turn for {self.household.config.stuck_after_ms} ms with work waiting")

    def leave(self) -> None:
        """Ask the worker to end, and start no other."""
        self._stopping = True
        if self._retry is not None:
            self._retry.cancel()
        self.send(Leave())

    def kill(self) -> None:
        """End the worker now."""
        if self.process is not None:
            signal.pidfd_send_signal(self.process.pidfd, signal.SIGKILL)

    def _fork(self) -> Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keys = self.household.keys()
        supervisor = os.getpid()
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, FORK_BLOCKED_SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                run_worker(self._birth(keys, supervisor, theirs))
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)
            theirs.close()
        pidfd = os.pidfd_open(pid)
        outbox = Outbox(ours, self.household.loop, WORKER_MESSAGES_MAX, lambda: self._hear(ours))
        self.household.loop.watch(pidfd, READ, self._ended)
        return Process(pid, pidfd, outbox, time.monotonic_ns(), keys.fingerprints())

    def _birth(self, keys: UfragKeys, supervisor: int, control: socket.socket) -> Birth:
        household = self.household
        return Birth(
            self.holding,
            [other for other in household.holdings if other is not self.holding],
            keys,
            household.machine,
            household.config.batch,
            supervisor,
            control,
            household.lock_fd,
        )

    def _hear(self, sock: socket.socket) -> None:
        """The worker's message. Its end of the socket closing says nothing that the pidfd does not say better."""
        try:
            message = receive_from_worker(sock)
        except OSError:
            return
        if isinstance(message, KeysLoaded) and self.process is not None:
            self.process.fingerprints = message.fingerprints
            self.household.on_keys_loaded()
        elif message is None:
            self.household.loop.unwatch(sock.fileno())

    def _ended(self, _events: int) -> None:
        seen_ns = time.monotonic_ns()
        process = self.process
        assert process is not None
        end = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED | os.WNOHANG)
        if end is None:
            return  # it lives; never wait for it
        self.process = None
        self.household.loop.unwatch(process.pidfd)
        os.close(process.pidfd)
        process.outbox.close()
        self.last_end = _describe_end(end)
        if not self._stopping:
            self._replace(process, seen_ns)

    def _replace(self, dead: Process, seen_ns: int) -> None:
        delay_ns = self._backoff.delay_after_death(seen_ns)
        if delay_ns:
            log.error("worker %d (pid %d) %s; it dies too often, the next starts in %d ms",
                      self.index, dead.pid, self.last_end, delay_ns // 1_000_000)  # fmt: skip
            self._retry = self.household.loop.call_after(delay_ns, self._succeed)
            return
        self._succeed()
        self.last_gap_ns = time.monotonic_ns() - seen_ns
        log.warning("worker %d (pid %d) %s; pid %s took its place after %.1f ms",
                    self.index, dead.pid, self.last_end, self.pid, self.last_gap_ns / 1e6)  # fmt: skip

    def _succeed(self) -> None:
        self.restarts += 1
        self.start()

    @property
    def pid(self) -> int | None:
        """Of the process that runs, if any."""
        return None if self.process is None else self.process.pid

    def _kill_stuck(self, why: str) -> None:
        log.error("worker %d (pid %s) is stuck: it %s; killing it", self.index, self.pid, why)
        self.killed_stuck += 1
        self.kill()
        self._stall = self._new_stall_watch()  # whatever comes now gets its full time

    def _new_stall_watch(self) -> StallWatch:
        stuck_after_ns = self.household.config.stuck_after_ms * 1_000_000
        return StallWatch(stuck_after_ns, stuck_after_ns // LOOKS_PER_STALL)

    def _work_waits(self) -> bool:
        """Packets in its sockets, records in its return rings, or a message of ours that it has not read."""
        assert self.process is not None
        poll = select.poll()
        for fd in self.holding.sockets.fds:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        return bool(poll.poll(0)) or self.process.outbox.unread() or self.holding.records_wait()


def _describe_end(end: os.waitid_result) -> str:
    if end.si_code == os.CLD_EXITED:
        return f"ended with status {end.si_status}"
    return f"was killed by {signal.Signals(end.si_status).name}"


class Children:
    """All posts."""

    def __init__(self, household: Household) -> None:
        self.posts = [Post(holding, household) for holding in household.holdings]
        self._loop = household.loop
        self._tick_ns = household.config.stuck_after_ms * 1_000_000 // LOOKS_PER_STALL

    def start(self) -> None:
        """Start every worker, and the watch over them."""
        for post in self.posts:
            post.start()
        self._loop.call_after(self._tick_ns, self._look)

    def stop(self, patience_ns: int) -> None:
        """End every worker: by asking, and after `patience_ns` by SIGKILL. Runs the loop meanwhile."""
        for post in self.posts:
            post.leave()
        self._drain(time.monotonic_ns() + patience_ns)
        for post in self.posts:
            post.kill()
        self._drain(None)

    def pids(self) -> list[int]:
        """One for each worker, 0 where none runs just now."""
        return [post.pid or 0 for post in self.posts]

    def _look(self) -> None:
        now = time.monotonic_ns()
        for post in self.posts:
            post.look(now)
        self._loop.call_after(self._tick_ns, self._look)

    def _drain(self, deadline: int | None) -> None:
        while any(post.process is not None for post in self.posts):
            left = None if deadline is None else deadline - time.monotonic_ns()
            if left is not None and left <= 0:
                return
            self._loop.turn(left)
