"""The flow table as a dict, for tests: the rules of DESIGN 2.3 and 2.4 and nothing of the code under test.

One bucket only: `places` is its size. Entries keep the place they were put in, because a full bucket gives up the first
place whose owner is dead.
"""

from dataclasses import dataclass, replace

from shm.flow_types import FlowOutcome, FlowOwner
from shm.layout import ADDRESS_CHECKED, ADDRESS_PROVEN, FLAG_CONTENDED

CONTENDER_LIFETIME_NS = 10 * 10**9
CHECKED_AGAIN = (ADDRESS_CHECKED, ADDRESS_CHECKED)


@dataclass
class Entry:
    """What the model knows of one address."""

    place: int
    owner: FlowOwner
    contender: FlowOwner | None = None


GRACE_NS = 1_000_000_000  # an owner whose last check is younger handshakes alone


class FlowModel:
    """publish, withdraw and route by the rules; `current` maps a transceiver to its incarnation, 0 or missing: none."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.entries: dict[bytes, Entry] = {}
        self.current: dict[int, int] = {}

    def alive(self, owner: FlowOwner) -> bool:
        return self.current.get(owner.transceiver, 0) == owner.incarnation

    def settle(self, entry: Entry, now: int) -> None:
        """What deaths and time did to an entry since it was last touched."""
        if entry.contender is None:
            return
        if not self.alive(entry.contender):
            entry.contender = None
        elif not self.alive(entry.owner):
            entry.owner, entry.contender = entry.contender, None
        elif now - entry.contender.since_ns >= CONTENDER_LIFETIME_NS:
            entry.contender = None

    def publish(  # noqa: PLR0911 - one rule a line
        self, key: bytes, claim: FlowOwner, flags: int, *, check: bool = True
    ) -> FlowOutcome:
        """`claim.since_ns` is now; an owner's counts only when the record is a check's."""
        contending = claim
        now = claim.since_ns
        claim = claim if check else claim._replace(since_ns=0)
        if not claim.incarnation or not self.alive(claim):
            return FlowOutcome.STALE
        if key not in self.entries:
            return self.publish_new(key, claim, now)
        entry = self.entries[key]
        self.settle(entry, now)
        if not self.alive(entry.owner):
            entry.owner = claim
            return FlowOutcome.REPLACED_DEAD
        if entry.owner.origin == claim.origin:
            return self.publish_as_owner(entry, claim, flags)
        if entry.contender and entry.contender.origin == claim.origin:
            return self.publish_as_contender(entry, claim, flags)
        if is_news(claim, flags, None):
            entry.owner, entry.contender = claim, None
            return FlowOutcome.CONTENDER_WON
        if entry.contender:
            return FlowOutcome.REFUSED_CONTENDED
        entry.contender = contending
        return FlowOutcome.CONTENDING

    def publish_new(self, key: bytes, claim: FlowOwner, now: int) -> FlowOutcome:
        taken = {entry.place for entry in self.entries.values()}
        if free := set(range(self.places)) - taken:
            self.entries[key] = Entry(min(free), claim)
            return FlowOutcome.APPLIED
        for other, entry in sorted(self.entries.items(), key=lambda item: item[1].place):
            self.settle(entry, now)
            if not self.alive(entry.owner):
                del self.entries[other]
                self.entries[key] = Entry(entry.place, claim)
                return FlowOutcome.REPLACED_DEAD
        return FlowOutcome.REFUSED_FULL

    def publish_as_owner(self, entry: Entry, claim: FlowOwner, flags: int) -> FlowOutcome:
        outcome = FlowOutcome.REFRESHED
        if entry.contender and is_news(claim, flags, entry.owner):
            entry.contender = None
            outcome = FlowOutcome.CONTENDER_DROPPED
        if same_holder(entry.owner, claim):
            entry.owner = entry.owner._replace(
                state=max(entry.owner.state, claim.state),
                since_ns=max(entry.owner.since_ns, claim.since_ns)
                if (entry.owner.state, claim.state) == CHECKED_AGAIN
                else entry.owner.since_ns,
            )
            return outcome
        entry.owner, entry.contender = claim, None
        return FlowOutcome.APPLIED

    def publish_as_contender(self, entry: Entry, claim: FlowOwner, flags: int) -> FlowOutcome:
        held = entry.contender
        assert held is not None
        if is_news(claim, flags, held):
            since = held.since_ns if same_holder(held, claim) else claim.since_ns
            entry.owner, entry.contender = claim._replace(since_ns=since), None
            return FlowOutcome.CONTENDER_WON
        if not same_holder(held, claim):
            entry.contender = claim._replace(since_ns=held.since_ns)
        return FlowOutcome.CONTENDING

    def withdraw(self, key: bytes, origin: int, incarnation: int) -> bool:
        entry = self.entries.get(key)
        if entry is None:
            return False
        if entry.contender and (entry.contender.origin, entry.contender.incarnation) == (origin, incarnation):
            entry.contender = None
            return True
        if (entry.owner.origin, entry.owner.incarnation) != (origin, incarnation):
            return False
        if entry.contender:
            entry.owner, entry.contender = entry.contender, None
        else:
            del self.entries[key]
        return True

    def route(self, key: bytes, now: int) -> tuple[bool, bool]:
        """Who gets media from this address: (owner, contender)."""
        entry = self.entries.get(key)
        if entry is None:
            return False, False
        owner = self.alive(entry.owner)
        contender = entry.contender
        if contender is None or not self.alive(contender):
            return owner, False
        return owner, not owner or now - contender.since_ns < CONTENDER_LIFETIME_NS

    def handshakers(self, key: bytes, now: int) -> tuple[bool, bool]:
        """Who may send handshake datagrams to this address: (owner, contender)."""
        entry, routed = self.entries.get(key), self.route(key, now)
        if entry is None or entry.contender is None or routed != (True, True) or entry.owner.state == ADDRESS_PROVEN:
            return routed
        if entry.owner.since_ns + GRACE_NS > now:
            return True, False
        later = entry.owner.since_ns > entry.contender.since_ns
        return later, not later

    def copy(self) -> "FlowModel":
        other = FlowModel(self.places)
        other.entries = {key: replace(entry) for key, entry in self.entries.items()}
        other.current = dict(self.current)
        return other


def same_holder(one: FlowOwner, other: FlowOwner) -> bool:
    """The same call in the same process."""
    return one._replace(state=0, since_ns=0) == other._replace(state=0, since_ns=0)


def is_news(claim: FlowOwner, flags: int, known: FlowOwner | None) -> bool:
    """A packet authenticated since the dispute began."""
    if claim.state != ADDRESS_PROVEN:
        return False
    return bool(flags & FLAG_CONTENDED) or (known is not None and known.state == ADDRESS_CHECKED)
