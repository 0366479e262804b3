"""The worker processes as relayd's supervisor sees them: what it tells them, and which of them is stuck.

A `WorkerPost` is one worker's place: a `Post` (shm/daemon/post.py) with the worker's Holding, the keys that its process
verifies under, and the watch over its heartbeat. `Children` is all of them. Both run in the supervisor's loop.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from relayd.child import Birth, CheckBounds, run_worker
from relayd.child_messages import Leave, SetLogLevel, ToWorker, decode_from_worker, encode
from relayd.config import Relay
from relayd.holding import Holding
from relayd.steering import LOOK_NS, Steering
from relayd.ufrag_keys import UfragKeys
from relayd.worker import worker_counter_names
from shm.daemon.cpu_use import cpu_use
from shm.daemon.loop import EventLoop, Timer
from shm.daemon.post import Post, end_all
from shm.daemon.restarts import RestartBackoff
from shm.daemon.stall import StallWatch
from shm.daemon.watchdog import Sign

# Looks at the heartbeats in one stuck_after_ms: few enough to cost nothing, enough to be right within an eighth of it.
LOOKS_PER_STALL = 8
# A worker leaves within one batch; one that does not is killed.
LEAVE_PATIENCE_NS = 500_000_000
# One that is left to a successor turns every 20 ms, if it gets a CPU; calls go on while we look.
LET_GO_PATIENCE_NS = 2_000_000_000
SWAP_LOOK_NS = 2_000_000
# It serves on until it leaves, so there is no hurry; killed, it would lose the batch in its hands.
SWAP_PATIENCE_NS = 10_000_000_000


@dataclass(frozen=True)
class Household:
    """What all posts share."""

    loop: EventLoop
    config: Callable[[], Relay]
    """As the last reload left it."""
    machine: int
    supervisor: int
    """Its pid."""
    lock_fd: int
    """Of the workers' lock (lease.py)."""
    lease_fd: int | None
    keys: Callable[[], UfragKeys]
    holdings: Sequence[Holding]
    on_started: Callable[[int, int], None]
    """Told worker and pid whenever a process has started."""
    on_keys_loaded: Callable[[], None]
    """Told whenever the keys of some worker may have changed."""


class WorkerPost(Post[ToWorker]):
    """One worker's place."""

    def __init__(self, holding: Holding, household: Household) -> None:
        self.holding = holding
        self._household = household
        self._fingerprints: dict[int, str] = {}
        self._stall = self._new_stall_watch()
        config = household.config()
        self._backoff = RestartBackoff(config.restart_burst, config.restart_window_ms * 1_000_000)
        super().__init__(
            f"worker {holding.index}",
            household.loop,
            lambda control: run_worker(self._birth(control)),
            encode,
            self._backoff,
            before_start=self._prepare,
            on_started=self._started,
            on_message=self._hear_keys,
        )

    @property
    def index(self) -> int:
        """Which worker."""
        return self.holding.index

    @property
    def fingerprints(self) -> dict[int, str] | None:
        """The keys that its process verifies ufrags under; None when none runs."""
        return None if self.process is None else self._fingerprints

    def look(self, now: int) -> None:
        """Compare the heartbeat with the last one seen; kill a worker that has work and does not turn."""
        process = self.process
        if process is None:
            return
        if self._stall.observe(self.holding.heartbeat(), self._work_waits, now, lambda: cpu_use(process.pid)):
            self.kill_stuck(f"made no turn for {self._household.config().stuck_after_ms} ms with work waiting")

    def configure(self, config: Relay) -> None:
        """Take what can change while it runs."""
        self._backoff.configure(config.restart_burst, config.restart_window_ms * 1_000_000)
        self._stall = self._new_stall_watch()

    def _prepare(self) -> None:
        self.holding.mend()
        self.holding.fit_counters(worker_counter_names())
        self._fingerprints = self._household.keys().fingerprints()

    def _birth(self, control: socket.socket) -> Birth:
        household = self._household
        return Birth(
            self.holding,
            [other for other in household.holdings if other is not self.holding],
            household.keys(),
            household.machine,
            household.config().batch,
            CheckBounds.of(household.config()),
            household.config().nice,
            household.supervisor,
            control,
            household.lock_fd,
            household.lease_fd,
        )

    def _started(self) -> None:
        assert self.process is not None
        self._stall = self._new_stall_watch()
        self._household.on_started(self.index, self.process.pid)
        self._household.on_keys_loaded()

    def _hear_keys(self, data: bytes) -> None:
        self._fingerprints = decode_from_worker(data).fingerprints
        self._household.on_keys_loaded()

    def _new_stall_watch(self) -> StallWatch:
        stuck_after_ns = self._household.config().stuck_after_ms * 1_000_000
        return StallWatch(stuck_after_ns, stuck_after_ns // LOOKS_PER_STALL)

    def _work_waits(self) -> bool:
        """Packets in its sockets, records in its return rings, or a message of ours that it has not read."""
        assert self.process is not None
        poll = select.poll()
        for fd in self.holding.sockets.fds:
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        return bool(poll.poll(0)) or self.process.outbox.unread() or self.holding.records_wait()


class Swapping:
    """Puts a new process into one place after the other, each when the one before it has turned."""

    def __init__(self, loop: EventLoop, posts: deque[WorkerPost]) -> None:
        self._loop = loop
        self._posts = posts
        self._next()

    @property
    def at_work(self) -> bool:
        """Whether a place has its old process still, or has a new one that has not turned yet."""
        return bool(self._posts)

    def _next(self) -> None:
        """Ask the first one to leave: between two batches, so nothing is in its hands."""
        if self._posts:
            post = self._posts[0]
            post.swap(Leave())
            give_up = self._loop.call_after(SWAP_PATIENCE_NS, lambda: post.kill_stuck("does not leave"))
            self._await_turn(post, post.pid, None, give_up)

    def _await_turn(self, post: WorkerPost, old: int | None, heartbeat: int | None, give_up: Timer) -> None:
        if post.pid not in (None, old):
            give_up.cancel()
            if heartbeat is None:
                heartbeat = post.holding.heartbeat()
            elif post.holding.heartbeat() != heartbeat:
                self._posts.popleft()
                self._next()
                return
        self._loop.call_after(SWAP_LOOK_NS, lambda: self._await_turn(post, old, heartbeat, give_up))


class Children:
    """All posts."""

    def __init__(self, household: Household) -> None:
        self.posts = [WorkerPost(holding, household) for holding in household.holdings]
        self._loop = household.loop
        self._config = household.config
        self.swapping = Swapping(household.loop, deque())
        self.steering = _steering(household)

    def start(self) -> None:
        """Start every worker that does not run yet, and the watch over them; swap those that an older code started."""
        inherited = deque(post for post in self.posts if post.process is not None)
        for post in self.posts:
            if post.process is None:
                post.start()
        self._look()
        self._steer()
        self.swapping = Swapping(self._loop, inherited)

    def configure(self, config: Relay, log_level: str) -> None:
        """Take what can change while they run."""
        self.steering.configure(config.spread_above_percent)
        for post in self.posts:
            post.configure(config)
            post.send(SetLogLevel(log_level))

    def stop(self, patience_ns: int) -> None:
        """End every worker: by asking, and after `patience_ns` by SIGKILL. Runs the loop meanwhile."""
        for post in self.posts:
            post.retire(Leave())
        end_all(self._loop, self.posts, patience_ns)

    def let_go(self, patience_ns: int) -> None:
        """Leave the workers to a successor (lease.py). One that makes no turn would not hear of its coming: it is
        killed, after `patience_ns`. Runs the loop meanwhile."""
        for post in self.posts:
            post.abandon()
        beats = {post: post.holding.heartbeat() for post in self.posts if post.process is not None}
        deadline = time.monotonic_ns() + patience_ns
        while beats and time.monotonic_ns() < deadline:
            self._loop.turn(SWAP_LOOK_NS)
            beats = {post: beat for post, beat in beats.items() if post.process and post.holding.heartbeat() == beat}
        for post in beats:
            post.kill_stuck("made no turn while relayd stops")
        end_all(self._loop, beats, patience_ns)
        for post in self.posts:
            post.let_go()

    @property
    def quiet(self) -> bool:
        """Whether every worker runs and has been told all."""
        return not self.swapping.at_work and all(post.quiet for post in self.posts)

    def pids(self) -> list[int]:
        """One for each worker, 0 where none runs just now."""
        return [post.pid or 0 for post in self.posts]

    def signs(self) -> list[Sign]:
        """Every worker's loop, which turns every 20 ms at least (worker.pyx)."""
        return [Sign(post, "", post.holding.heartbeat()) for post in self.posts]

    def _look(self) -> None:
        now = time.monotonic_ns()
        for post in self.posts:
            post.look(now)
        self._loop.call_after(self._config().stuck_after_ms * 1_000_000 // LOOKS_PER_STALL, self._look)

    def _steer(self) -> None:
        self.steering.look([post.holding.reading() for post in self.posts], time.monotonic_ns())
        self._loop.call_after(LOOK_NS, self._steer)


def _steering(household: Household) -> Steering:
    """Over the groups of sockets that the holdings have."""
    first = household.holdings[0].sockets
    groups = [sock for sock in (first.v4, first.v6) if sock is not None]
    return Steering(groups, len(household.holdings), household.config().spread_above_percent)
