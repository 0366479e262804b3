"""What every drill stands on: the real daemons, live calls, and what a fault cost them.

A drill does something cruel to a `Field` by `field.suffer(...)`, which gives an `Outcome`: calls lost, packets lost in
the calls that live, the longest time without audio, and how long until a new call could be made. What DESIGN 2 demands
of the outcome is the drill's own `Demand`, judged by the test.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.daemons import Server
from tests.faults.callers import Callers
from transceiverd.load.fleet import Placement

CALLS = 6
PERIOD_MS = 20  # between two packets of a call: that much silence is none
OVERTAKEN = CALLS * 500 // PERIOD_MS  # all that half a second brings; the supervisor looks every tenth of one
PATIENCE_SECONDS = 15.0
SILENT_SECONDS = 2.0  # a call that hears nothing for so long while a new one is served will never hear again
HEARD_AGAIN = 10  # packets after the fault: the call is back
REDIAL_SECONDS = 0.05


@dataclass(frozen=True)
class Outcome:
    """What it cost."""

    calls: int
    calls_lost: int
    """Ended, or silent for good."""
    calls_doomed: int
    """Those that lived in a transceiver that the fault ends."""
    packets_sent: int
    packets_lost: int
    """In calls that live."""
    doubled: int
    late: int
    """Came after one that was sent later."""
    silence_ms: float
    """The longest that a call that lives heard nothing, beyond the pace of its packets."""
    new_call_ms: float
    """From the fault until a call made anew was established."""


@dataclass(frozen=True)
class Demand:
    """What DESIGN 2 demands; times are wide enough for a machine that does other work too."""

    calls_lost: int = 0
    packets_lost: int | None = None
    """None: those of the time without a process, which only the time bounds."""
    late: int = 0
    """Packets that wait in a worker which stands still are overtaken: new ones go to another (relayd/steering.py)."""
    silence_ms: float = 5000.0
    """A client SDK gives up after 5 s (DESIGN 5, timers)."""
    new_call_ms: float = 5000.0

    def complaints(self, outcome: Outcome) -> list[str]:
        """What is worse than demanded."""
        found = []
        if outcome.calls_lost > self.calls_lost + outcome.calls_doomed:
            found.append(
                f"{outcome.calls_lost} calls lost, allowed are {self.calls_lost} and {outcome.calls_doomed} doomed"
            )
        if self.packets_lost is not None and outcome.packets_lost > self.packets_lost:
            found.append(f"{outcome.packets_lost} packets lost, allowed are {self.packets_lost}")
        if outcome.doubled:
            found.append(f"{outcome.doubled} packets doubled")
        if outcome.late > self.late:
            found.append(f"{outcome.late} packets late, allowed are {self.late}")
        if outcome.silence_ms > self.silence_ms:
            found.append(f"{outcome.silence_ms:.0f} ms of silence, allowed are {self.silence_ms:.0f}")
        if outcome.new_call_ms > self.new_call_ms:
            found.append(f"{outcome.new_call_ms:.0f} ms until a new call, allowed are {self.new_call_ms:.0f}")
        return found


class Field:
    """Both daemons and callers."""

    def __init__(self, server: Server, callers: Callers) -> None:
        self.server = server
        self.callers = callers

    def suffer(self, fault: Callable[[], object], *, mend: Callable[[], object] | None = None, calls: int = CALLS,
               hold_seconds: float = 0.0, ends: str = "") -> Outcome:  # fmt: skip
        """Live calls, `fault`, some time, `mend`; until those that live hear again and a new call can be made.

        `ends`: the process that dies of it. When that is a transceiver, its own calls are doomed.
        """
        placed = self.callers.dial(calls)
        doomed = sum(f"transceiver{one['transceiver']}" == ends for one in self.server.sessions())
        at = time.monotonic()
        fault()
        if hold_seconds:
            time.sleep(max(0.0, at + hold_seconds - time.monotonic()))
        if mend is not None:
            mend()
            at = time.monotonic()
        new_call_ms = self._until_new_call(at)
        lives = self._that_hear(placed)
        self.callers.hush(placed)
        return self._outcome(placed, lives, doomed, new_call_ms)

    def _until_new_call(self, at: float) -> float:
        while self.callers.try_dial(PATIENCE_SECONDS) is None:
            if time.monotonic() - at > PATIENCE_SECONDS:
                return float("inf")
            time.sleep(REDIAL_SECONDS)
        return (time.monotonic() - at) * 1000

    def _that_hear(self, calls: list[Placement]) -> list[Placement]:
        """Those that hear something new."""
        before = {call: self.callers.received(call) for call in calls if self.callers.alive(call)}

        def hear(call: Placement) -> bool:
            return self.callers.received(call) >= before[call] + HEARD_AGAIN

        deadline = time.monotonic() + SILENT_SECONDS
        while time.monotonic() < deadline and not all(hear(call) for call in before if self.callers.alive(call)):
            time.sleep(0.01)
        return [call for call in before if self.callers.alive(call) and hear(call)]

    def _outcome(self, calls: list[Placement], lives: list[Placement], doomed: int, new_call_ms: float) -> Outcome:
        """Books of a drill; its calls end."""
        counted = [self.callers.fleet.packets.caller(call.place) for call in lives]
        for call in calls:
            self.callers.hang_up(call)
        gap_ms = max((one["gap_max"] for one in counted), default=0) / 1e6
        return Outcome(
            calls=len(calls),
            calls_lost=len(calls) - len(lives),
            calls_doomed=doomed,
            packets_sent=sum(one["sent"] for one in counted),
            packets_lost=sum(one["sent"] - one["received"] for one in counted),
            doubled=sum(one["duplicates"] for one in counted),
            late=sum(one["reordered"] for one in counted),
            silence_ms=max(0.0, gap_ms - PERIOD_MS),
            new_call_ms=new_call_ms,
        )
