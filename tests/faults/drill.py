"""One drill: its row in the table, what it needs, what it does, and what DESIGN 2 demands of the outcome."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.daemons import Server, running
from tests.faults.callers import Callers
from tests.faults.clock import clock
from tests.faults.field import Demand, Field, Outcome


class NotPossible(RuntimeError):
    """This machine does not let us do that."""


@dataclass(frozen=True)
class Ground:
    """Which daemons a drill is made on. Drills of equal ground share them, unless one wants fresh ones."""

    workers: int = 2
    transceivers: int = 2
    extra: str = ""
    relay: str = ""
    transceiver: str = ""
    log_to: str = ""
    with_clock: bool = False
    """Its wall clock can be made to jump (clock.py)."""

    @contextlib.contextmanager
    def taken(self) -> Iterator[Field]:
        """Daemons and callers."""
        with (
            running(
                workers=self.workers,
                transceivers=self.transceivers,
                extra=self.extra,
                relay=self.relay,
                transceiver=self.transceiver,
                log_to=self.log_to,
                environment=clock().environment if self.with_clock else {},
            ) as server,
            Callers(server.url) as callers,
        ):
            yield Field(server, callers)  # fmt: skip


@dataclass(frozen=True)
class Drill:
    """See above. `fresh`: its ground is nobody else's, before or after."""

    name: str
    act: Callable[[Field], Outcome]
    demand: Demand
    ground: Ground = field(default_factory=Ground)
    fresh: bool = False


def same(server: Server) -> dict[str, int]:
    """Every process by name, supervisors under their daemon's."""
    found = {name: daemon.pid for name, daemon in server.daemons.items()}
    for name in list(server.daemons):
        found |= server.pids(name)
    return found
