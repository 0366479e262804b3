"""The transceivers' places, as the supervisor sees them: what each is given, when it is stuck, when it leaves.

A `Place` is one transceiver number: its holding, which outlives any process, and the process that fills it. `Places` is
all of them, and gives out numbers. A place serves, until it is asked to leave: then it takes no new call, and is given
up when its process has ended with the last one (a drain, or an upgrade that put a newer release beside it).
"""

import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from relayd.ufrag_keys import UfragKeys
from shm.counters import Counters
from shm.daemon.cpu_use import cpu_use
from shm.daemon.loop import EventLoop, Timer
from shm.daemon.memory import Wanted, taking
from shm.daemon.post import Post
from shm.daemon.process import place_one, usable_cpus
from shm.daemon.restarts import RestartBackoff
from shm.daemon.stall import StallWatch
from transceiverd import links
from transceiverd.birth import MEDIA_THREAD, Birth
from transceiverd.holding import Holding, session_segment_bytes
from transceiverd.legacy import LeftPlace
from transceiverd.link import socket_pair
from transceiverd.settings import Settings
from transceiverd.transceiver import run_transceiver

log = logging.getLogger("supervisor")

SECOND_NS = 1_000_000_000
LOOKS_PER_STALL = 8  # at the heartbeats within stuck_after_ms
# A crash loop: this many deaths in the window are answered at once, further ones ever later.
RESTART_BURST = 5
RESTART_WINDOW_NS = 10_000_000_000
TRANSCEIVERS_MAX = 256  # eight bits of an origin (DESIGN 3)


class Neighbourhood(Protocol):
    """Who is told what happens at a place; the supervisor is it."""

    def transceiver_started(self, place: "Place") -> None:
        """A process runs."""

    def transceiver_ended(self, place: "Place") -> None:
        """It ended; a successor may follow."""

    def transceiver_left(self, place: "Place") -> None:
        """It ended, and the place is given up."""

    def transceiver_says(self, place: "Place", message: links.AnyMessage) -> None:
        """Its process has said something."""


@dataclass
class House:
    """What all places share."""

    loop: EventLoop
    machine: int
    supervisor: int
    """Its pid."""
    lock_fd: int
    keys: Callable[[], UfragKeys]
    current: Callable[[], Settings]

    @property
    def settings(self) -> Settings:
        """As the last reload left them."""
        return self.current()

    def new_watch(self) -> StallWatch:
        """For one heartbeat."""
        return StallWatch(self.stuck_ns, self.stuck_ns // LOOKS_PER_STALL)

    @property
    def stuck_ns(self) -> int:
        """How long a loop may stand still."""
        return self.settings.transceiver.stuck_after_ms * 1_000_000

    @property
    def stuck(self) -> str:
        """For the log."""
        return f"made no turn for {self.settings.transceiver.stuck_after_ms} ms"


class Place:
    """One transceiver's."""

    def __init__(self, holding: Holding, house: House, neighbours: Neighbourhood) -> None:
        self.holding = holding
        self.offered = False
        """Whether relayd has its lanes."""
        self.taking = False
        """Whether its process has said that it takes calls."""
        self.deadline_ns = 0
        """When its calls are ended, CLOCK_MONOTONIC; 0: never."""
        self._goodbye: Timer | None = None
        self._house = house
        self._neighbours = neighbours
        self.new_watches()
        self.post: Post[links.Message] = Post(
            f"transceiver {holding.index}",
            house.loop,
            self._live,
            links.encode,
            RestartBackoff(RESTART_BURST, RESTART_WINDOW_NS),
            pair=socket_pair,
            before_start=holding.renew,
            on_started=self._started,
            on_message=self._hear,
            on_ended=lambda: neighbours.transceiver_ended(self),
            on_left=lambda: neighbours.transceiver_left(self),
        )

    @property
    def index(self) -> int:
        """Which transceiver."""
        return self.holding.index

    @property
    def calls(self) -> int:
        """Calls that live there, as it said last; no more than fit, whatever a broken one says."""
        return min(self.holding.control_counters["calls"], self.holding.sessions.slots)

    def leave(self) -> None:
        """Take no new call, end with the last one."""
        self.post.leave(links.Leave())

    def leave_until(self, deadline_ns: int) -> None:
        """`leave`; calls that live at the deadline are ended, at the configured pace."""
        self.deadline_ns = deadline_ns
        self._goodbye = self._house.loop.call_at(deadline_ns, self._say_goodbye)
        self.leave()

    def _say_goodbye(self) -> None:
        config = self._house.settings.transceiver
        pace = config.goodbyes_per_second
        log.info("%s ends its last %d calls", self.post.name, self.calls)
        self.post.retire(links.Stop("upgrade", pace))
        seconds = (self.calls / pace if pace else 0.0) + config.stop_seconds + 1.0
        self._goodbye = self._house.loop.call_after(int(seconds * SECOND_NS), self.post.kill)

    def close(self) -> None:
        """Give up what it holds."""
        if self._goodbye is not None:
            self._goodbye.cancel()
        self.holding.close()

    def describe(self) -> dict[str, str | int]:
        """For people: which code it runs, and what it does."""
        process = self.post.process
        left_ns = self.deadline_ns - time.monotonic_ns()
        state = f"leaving within {max(0, left_ns) // SECOND_NS} s" if self.deadline_ns else "serving"
        return {
            "name": self.post.name,
            "pid": 0 if process is None else process.pid,
            "release": "" if process is None else process.release,
            "state": state,
            "calls": self.calls,
        }

    def left(self) -> LeftPlace:
        """For our own new code."""
        return self.holding.left(self.deadline_ns, self.post.left())

    def look(self, now: int) -> None:
        """Kill a process of which a loop stands still: the beat comes from the loop itself, whether it has work or not.

        Control and media are watched each.
        """
        process = self.post.process
        if process is None:
            return
        stuck = [
            watch.observe(beat.segment.heartbeat, lambda: True, now, functools.partial(cpu_use, process.pid, thread))
            for watch, beat, thread in self._watches
        ]
        if any(stuck):
            self.post.kill_stuck(self._house.stuck)

    def _live(self, control: socket.socket) -> None:
        house = self._house
        config = house.settings.transceiver
        birth = Birth(
            transceiver=self.index,
            machine=house.machine,
            supervisor=house.supervisor,
            holding=self.holding,
            keys=house.keys(),
            settings=house.settings,
            lock_fd=house.lock_fd,
            cpu=place_one(self.index, config.cpus, usable_cpus()),
            media_cpu=place_one(self.index, config.media_cpus, usable_cpus()),
        )
        run_transceiver(birth, control)

    def _started(self) -> None:
        self.taking = False
        self.new_watches()
        self._neighbours.transceiver_started(self)
        if self.post.leaving:
            self.leave()

    def _hear(self, data: bytes) -> None:
        message = links.decode(data)
        if isinstance(message, links.Taking):
            self.taking = True
        else:
            self._neighbours.transceiver_says(self, message)

    def new_watches(self) -> None:
        """A new process starts with a clean slate; so does everyone after a reload that may have changed the time."""
        threads: Sequence[tuple[Counters, str]] = (
            (self.holding.control_counters, ""), (self.holding.media_counters, MEDIA_THREAD)
        )  # fmt: skip
        self._watches = [(self._house.new_watch(), counters, name) for counters, name in threads]


class Places:
    """All of them, by transceiver number."""

    def __init__(self, house: House, neighbours: Neighbourhood) -> None:
        self._house = house
        self._neighbours = neighbours
        self._by_index: dict[int, Place] = {}

    def __iter__(self) -> Iterator[Place]:
        return iter(list(self._by_index.values()))

    def __len__(self) -> int:
        return len(self._by_index)

    def open(self) -> list[Place]:
        """As many new places as the configuration asks for, under the lowest free numbers. OSError: no memory."""
        count = self._house.settings.transceiver.count or max(1, len(os.sched_getaffinity(0)) // 2)
        free = [index for index in range(TRANSCEIVERS_MAX) if index not in self._by_index][:count]
        if len(free) < count:
            raise OSError(f"{count} more transceivers: only {len(free)} of {TRANSCEIVERS_MAX} numbers are free")
        slots = self._house.settings.transceiver.slots
        holdings: list[Holding] = []
        try:
            with taking(Wanted("[transceiver] slots", slots, "session segments", count, session_segment_bytes(slots))):
                for index in free:
                    holdings.append(Holding.make(index, self._house.settings.transceiver))
        except OSError:
            for holding in holdings:
                holding.close()
            raise
        return [self._add(holding) for holding in holdings]

    def _add(self, holding: Holding) -> Place:
        place = self._by_index[holding.index] = Place(holding, self._house, self._neighbours)
        return place

    def adopt(self, left: LeftPlace) -> Place:
        """The place that our old code had. LayoutRefused when its memory is of a layout that we do not speak."""
        place = self._add(Holding.adopt(left))
        if left.process is not None:
            place.post.adopt(left.process)
        place.deadline_ns = left.deadline_ns
        return place

    def give_up(self, place: Place) -> None:
        """Its process has ended for good: its memory and its number are free."""
        del self._by_index[place.index]
        place.close()

    @property
    def serving(self) -> list[Place]:
        """Those that take new calls."""
        return [place for place in self if not place.post.leaving]

    @property
    def calls(self) -> int:
        """Calls that live."""
        return sum(place.calls for place in self)

    def posts(self) -> dict[int, Post[links.Message]]:
        """Their processes' posts."""
        return {index: place.post for index, place in self._by_index.items()}

    def watch(self) -> None:
        """Look at every heartbeat, now and from now on."""
        now = time.monotonic_ns()
        for place in self:
            place.look(now)
        self._house.loop.call_after(self._house.stuck_ns // LOOKS_PER_STALL, self.watch)
