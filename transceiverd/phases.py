"""When a call reached each step of its set-up: for the call page's timeline, the log and the diagnosis.

Written by the session, read through a snapshot. Times are nanoseconds on the monotonic clock; 0 means not yet.
"""

from typing import Final

from transceiverd.engine import MILLISECOND

# In the order in which a call usually passes them.
NAMES: Final = (
    "answered",
    "first_check",
    "check_accepted",
    "nominated",
    "dtls_started",
    "dtls_answered",
    "dtls_done",
    "first_media",
    "closed",
)


class Phases:
    """The first time of each step; later ones change nothing."""

    __slots__ = NAMES

    def __init__(self, answered: int) -> None:
        for name in NAMES:
            setattr(self, name, 0)
        self.answered = answered

    def reach(self, name: str, now: int) -> None:
        """Note that the step `name` was reached, unless it was before."""
        if not getattr(self, name):
            setattr(self, name, now)

    def milliseconds(self) -> dict[str, float | None]:
        """Each step in milliseconds after the answer, `None` where it was not reached."""
        return {
            name: round((at - self.answered) / MILLISECOND, 3) if (at := getattr(self, name)) else None
            for name in NAMES
        }
