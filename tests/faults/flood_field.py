"""A server with one worker on a leash, talking calls, a prober, a flooder: what floods are made on.

Used by test_flood.py and bench/flood.py.
"""

import contextlib
import time
from dataclasses import dataclass

from tests.daemons import running
from tests.faults.callers import Callers
from tests.faults.flood import (
    ANSWER_SECONDS,
    Answers,
    Flooder,
    Prober,
    hostile_mix,
    saturation,
    status,
    udp_socket,
    worker,
)
from tests.faults.quota import quota
from tests.udp_caller import UdpCaller
from transceiverd.load.fleet import Placement

STEP_SECONDS = 3.0
CALLS = 5
SETTLE_SECONDS = 1.0  # after a flood: from then on all has to be as before it


@dataclass(frozen=True)
class Step:
    """What was seen at one rate."""

    rate: float
    during: Answers
    after: Answers
    """From one second after the flood."""
    calls_lost: int
    audio_sent: int
    audio_lost: int
    disordered: int
    lost_after: int
    """Audio, from one second after the flood."""
    kernel_dropped: int
    ring_full: int
    """Packets that found a ring inside the server full."""


class FloodField:
    """A server with one worker on a leash, calls, a prober and a flooder."""

    def __init__(self, share: float) -> None:
        with contextlib.ExitStack() as stack:
            self.server = stack.enter_context(running(workers=1, transceivers=1))
            self.callers = stack.enter_context(Callers(self.server.url))
            victim, accomplice = UdpCaller(self.server.calls_url), UdpCaller(self.server.calls_url, seed=2)
            for caller in (victim, accomplice):
                stack.enter_context(caller)
                caller.connect()
            stranger = stack.enter_context(udp_socket())
            packets = hostile_mix(victim, accomplice)
            self.flooder = stack.enter_context(
                contextlib.closing(Flooder(packets, self.server.udp_port, (stranger, accomplice.end)))
            )
            self.prober = stack.enter_context(contextlib.closing(Prober(victim)))
            self.how = stack.enter_context(quota([self.server.pids("relayd")["relayd-worker0"]], share))
            self._stack = stack.pop_all()

    def close(self) -> None:
        """End all of it."""
        self._stack.close()

    def saturation(self) -> float:
        """Of the worker on its leash."""
        found = saturation(self.server, self.flooder)
        time.sleep(SETTLE_SECONDS)
        return found

    def step(self, rate: float, seconds: float = STEP_SECONDS) -> Step:
        """Talking calls, a flood of so many packets a second, and a while without."""
        calls = self.callers.dial(CALLS)
        before, full = worker(self.server), self._ring_full()
        start = time.monotonic()
        sent = self.flooder.flood(rate, seconds)
        over = time.monotonic()
        time.sleep(SETTLE_SECONDS)
        calm = [self._books(call) for call in calls]
        time.sleep(SETTLE_SECONDS)
        end = time.monotonic()
        self.callers.hush(calls)
        time.sleep(ANSWER_SECONDS)
        lives = [call for call in calls if self.callers.alive(call)]
        books = [self._books(call) for call in lives]
        for call in lives:
            self.callers.hang_up(call)
        after = worker(self.server)
        lost = [one["sent"] - one["received"] for one in books]
        # What was on its way at that moment has come since, so this may be too high by a packet a call, never too low.
        lost_calm = [one["sent"] - one["received"] for one in calm]
        return Step(
            rate=sent,
            during=self.prober.between(start, over),
            after=self.prober.between(over + SETTLE_SECONDS, end),
            calls_lost=len(calls) - len(lives),
            audio_sent=sum(one["sent"] for one in books),
            audio_lost=sum(lost),
            disordered=sum(one["reordered"] + one["duplicates"] for one in books),
            lost_after=max(0, sum(lost) - sum(lost_calm)),
            kernel_dropped=after.beside.get("kernel_dropped_v4", 0) - before.beside.get("kernel_dropped_v4", 0),
            ring_full=self._ring_full() - full,
        )

    def _books(self, call: Placement) -> dict[str, int]:
        return self.callers.fleet.packets.caller(call.place)

    def _ring_full(self) -> int:
        return sum(ring.full for lane in status(self.server).lanes for ring in lane.rings)
