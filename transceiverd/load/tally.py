"""What became of the calls: asked, answered, established, failed with reasons, and how long each step took.

Filled by the fleet, read by the report. Times are counted from the moment a call was asked for, which includes waiting
for an HTTP connection: what a caller would feel.
"""

from collections import Counter

from transceiverd.load.histogram import Histogram

PHASES = ("answered", "checked", "established", "heard")


class Tally:
    """Counters of calls and histograms of set-up times."""

    def __init__(self) -> None:
        self.asked = 0
        self.answered = 0
        self.established = 0
        self.failed: Counter[str] = Counter()
        """Calls that never were, by reason."""
        self.ended: Counter[str] = Counter()
        """Established calls that ended before we hung up, by reason."""
        self.unheard = 0
        """Established calls that sent audio and never got any back."""
        self.phases = {phase: Histogram() for phase in PHASES}

    def book(self, phase: str, asked_at: int, at: int) -> None:
        """A call came so far."""
        self.phases[phase].record(at - asked_at)

    def summary(self) -> dict[str, object]:
        """For the report."""
        return {
            "asked": self.asked,
            "answered": self.answered,
            "established": self.established,
            "failed": dict(self.failed),
            "ended_early": dict(self.ended),
            "unheard": self.unheard,
            "setup_ms": {phase: histogram.summary() for phase, histogram in self.phases.items()},
        }
