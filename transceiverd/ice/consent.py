"""The life of a call as its checks tell it: waiting, live, silent, closed (RFC 7675 seen from a lite agent).

A lite agent never sends checks of its own: the peer's checks, which arrive at least every 6 s, are its consent to be
sent to. Owned by `agent.py`; holds three times and no timer.

    WAITING --check--> LIVE --no check for consent_ms--> SILENT --no check for silent_ms more--> CLOSED
       |                 ^                                  |
       |                 +-------------check----------------+
       +--no check for never_checked_ms--> CLOSED

A check that arrives late, but before `expire` was called, counts: a process that was stopped for a while first reads
what waited for it and then looks at its timers.
"""

from transceiverd.engine import MILLISECOND, Closed, Timeout
from transceiverd.ice.config import IceConfig
from transceiverd.ice.events import ConsentExpired, NeverChecked

WAITING = "waiting"
LIVE = "live"
SILENT = "silent"
CLOSED = "closed"

# Every change of state there is; `_change` refuses others.
TRANSITIONS = frozenset(
    ((WAITING, LIVE), (WAITING, CLOSED), (LIVE, SILENT), (LIVE, CLOSED), (SILENT, LIVE), (SILENT, CLOSED))
)

CLOSED_NEVER_CHECKED = "never-checked"
CLOSED_CONSENT = "consent-expired"


class Consent:
    """State and times of one call. `since` is the time that the next deadline counts from."""

    __slots__ = ("_config", "checked_since", "interval", "last_check", "since", "state")

    def __init__(self, config: IceConfig, now: int) -> None:
        self._config = config
        self.interval = config.consent_ms * MILLISECOND  # how long one check lets us send, ns
        self.state = WAITING
        self.since = now
        self.checked_since: int | None = None  # first accepted check; the session's 10 s for DTLS count from here
        self.last_check: int | None = None

    def may_send(self, now: int) -> bool:
        """Whether the peer's consent is fresh, even if the timer that would say no is late."""
        return self.state == LIVE and now - self.since < self.interval

    def check(self, now: int) -> bool:
        """An accepted check; returns whether it brought the call back from silence."""
        regained = self.state == SILENT
        if self.state != LIVE:
            self._change(LIVE)
        if self.checked_since is None:
            self.checked_since = now
        self.since = self.last_check = now
        return regained

    def close(self) -> None:
        """The call is over for a reason from outside."""
        self._change(CLOSED)

    def deadline(self) -> Timeout | None:
        """When the state will change if no check comes."""
        if self.state == WAITING:
            return Timeout(self.since + self._config.never_checked_ms * MILLISECOND, "never-checked")
        if self.state == LIVE:
            return Timeout(self.since + self.interval, "consent-expiry")
        if self.state == SILENT:
            return Timeout(self.since + self._config.silent_ms * MILLISECOND, "silence-end")
        return None

    def expire(self, now: int) -> list[NeverChecked | ConsentExpired | Closed]:
        """Go through every deadline that is due, however late, and say what happened."""
        events: list[NeverChecked | ConsentExpired | Closed] = []
        while (due := self.deadline()) is not None and due.deadline <= now:
            if self.state == LIVE:
                self._change(SILENT)
                events.append(ConsentExpired(self.since))
            elif self.state == SILENT:
                self._change(CLOSED)
                events.append(Closed(CLOSED_CONSENT))
            else:
                self._change(CLOSED)
                events += (NeverChecked(self.since), Closed(CLOSED_NEVER_CHECKED))
            self.since = due.deadline
        return events

    def _change(self, state: str) -> None:
        assert (self.state, state) in TRANSITIONS, (self.state, state)
        self.state = state
