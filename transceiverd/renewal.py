"""New code in the supervisor's own process: when it may come, what is left to it, and what it takes over (DESIGN 2.7).

Made by supervisor.py, which knows the parts that have to be quiet and be left. The order itself, its rehearsal and the
exec are succession.py's; what becomes of the older processes is takeover.py's.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shm.daemon.handover import Inherited, Left
from shm.daemon.lock import RuntimeLock
from shm.daemon.orders import Reply, Report
from shm.daemon.release import RELEASE
from shm.daemon.succession import Succession
from transceiverd.drain import BAD_DEADLINE, Drain, read_deadline
from transceiverd.legacy import Legacy
from transceiverd.listening import Doors
from transceiverd.reconfiguration import Reconfiguration
from transceiverd.relay import Relay
from transceiverd.rotation import Rotation
from transceiverd.signalling_post import SignallingPost
from transceiverd.takeover import Takeover
from transceiverd.transceivers import House, Place, Places

log = logging.getLogger("supervisor")


@dataclass(frozen=True)
class Estate:
    """Everything that outlives the code, and what changes it."""

    lock: RuntimeLock
    places: Places
    doors: Doors
    signalling: SignallingPost
    relay: Relay
    rotation: Rotation
    reconfiguration: Reconfiguration
    drain: Drain


class Renewal:
    """One, for the daemon's whole life."""

    def __init__(self, house: House, estate: Estate) -> None:
        self._house = house
        self._estate = estate
        self._upgrades = 0
        self._deadline_seconds = 0.0
        """Of the upgrade under way."""
        relay = estate.relay
        self.takeover = Takeover(house, estate.signalling, relay.settled, relay.offer_new)
        self._succession = Succession(house.loop, "transceiverd", self._leave, self._is_quiet, estate.drain.has_begun)

    def order(self, arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `upgrade`, with `deadline` in seconds."""
        seconds = read_deadline(arguments, self._house.settings.transceiver.upgrade_seconds)
        if seconds is None:
            reply(BAD_DEADLINE)
        elif self._succession.at_work:
            self._succession.order(arguments, reply)  # refused: the one at work keeps its own deadline
        else:
            self._deadline_seconds = seconds
            self._succession.order(arguments, reply)

    def adopt(self, inherited: Inherited, legacy: Legacy, older: Sequence[Place]) -> None:
        """Processes and conversations go on; those that served until now leave when others do."""
        self._upgrades = legacy.upgrades
        self._estate.relay.adopt(legacy.relay, older)
        self.takeover.plan(older, legacy)
        inherited.claim(legacy.descriptors())
        unclaimed = inherited.close_rest()
        log.info("release %s goes on with what %s left%s", RELEASE, inherited.release,
                 f"; {unclaimed} descriptors of it are unknown here" if unclaimed else "")  # fmt: skip

    def releases(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `releases`: which process runs which code, and how far an upgrade is."""
        signalling, lock = self._estate.signalling, self._estate.lock
        rows = [place.describe() for place in self._estate.places]
        if signalling.process is not None:
            process = signalling.process
            rows.append({"name": "signalling", "pid": process.pid, "release": process.release, "state": "serving"})
        rows.insert(0, {"name": "supervisor", "pid": lock.owner_pid, "release": RELEASE, "state": "serving"})
        details = {"upgrades": self._upgrades, "upgrading": not self.takeover.quiet, "processes": rows}
        older = sorted({str(row["release"]) for row in rows} - {RELEASE})
        reply(Report(True, f"release {RELEASE}" + (f", calls end in {', '.join(older)}" if older else ""), details))

    def _is_quiet(self) -> bool:
        """Whether nothing is under way that only this process's memory knows of."""
        estate = self._estate
        parts = (estate.relay.attachment, estate.rotation, estate.reconfiguration, self.takeover)
        calm = self._house.loop.running and not estate.drain.has_begun() and all(part.quiet for part in parts)
        return calm and all(post.quiet for post in [*estate.places.posts().values(), estate.signalling])

    def _leave(self) -> Left:
        estate = self._estate
        for place in estate.places:
            place.holding.mend()
        legacy = Legacy(
            lock=estate.lock.fd,
            upgrades=self._upgrades + 1,
            deadline_seconds=self._deadline_seconds,
            places=[place.left() for place in estate.places],
            doors=estate.doors.left(),
            signalling=estate.signalling.left(),
            relay=estate.relay.left(),
        )
        segments = [segment for place in estate.places for segment in place.holding.segments()]
        return Left(legacy, legacy.descriptors(), {segment.major for segment in segments})
