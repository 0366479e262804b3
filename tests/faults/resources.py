"""Drills on what runs out: descriptors, memory, room in the rings, the log's disk."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.daemons import Server
from tests.faults.drill import Drill, Ground, same
from tests.faults.field import OVERTAKEN, Demand, Field, Outcome
from tests.faults.processes import BATCHES

SHORT_SECONDS = 1.5
NO_FURTHER = 3  # standard input, output and error
MANY_CALLS = 60  # enough to fill the smallest rings within a second
STOPPED_SECONDS = 0.8  # less than any stuck_after_ms


def _limit(kind: int, pid: int, soft: int | None) -> None:
    """Lower the soft limit; None: as high as allowed again."""
    hard = resource.prlimit(pid, kind)[1]
    resource.prlimit(pid, kind, (hard if soft is None else soft, hard))


def _no_descriptors(pid: int) -> None:
    """Every further one is refused, also in place of one that was closed; those that are open stay."""
    _limit(resource.RLIMIT_NOFILE, pid, NO_FURTHER)


def _no_memory(pid: int) -> None:
    """No page more of address space: malloc has what lies in its arenas, and then nothing."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    _limit(resource.RLIMIT_AS, pid, pages * resource.getpagesize() // 2)


def without(
    starve: Callable[[int], None], kind: int, names: Iterable[str], *, killed: str = ""
) -> Callable[[Field], Outcome]:
    """The named processes get nothing more for a while, and callers come; `killed` also dies then."""

    def act(field: Field) -> Outcome:
        pids = same(field.server)
        outcome = field.suffer(
            lambda: _press(field, [pids[name] for name in names], starve, pids.get(killed)),
            mend=lambda: [_limit(kind, pids[name], None) for name in names if _runs(pids[name])],
            ends=killed,
        )
        field.server.await_ready()
        return outcome

    return act


def _runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _press(field: Field, pids: list[int], starve: Callable[[int], None], killed: int | None) -> None:
    for pid in pids:
        starve(pid)
    if killed is not None:
        os.kill(killed, signal.SIGKILL)
    until = time.monotonic() + SHORT_SECONDS
    while (left := until - time.monotonic()) > 0:
        field.callers.try_dial(left)
        time.sleep(0.02)


def full_rings(name: str) -> Callable[[Field], Outcome]:
    """One end of small rings stands still for a moment, under many calls."""

    def act(field: Field) -> Outcome:
        pid = same(field.server)[name]
        before = _found_full(field.server)
        outcome = field.suffer(lambda: os.kill(pid, signal.SIGSTOP), mend=lambda: os.kill(pid, signal.SIGCONT),
                               calls=MANY_CALLS, hold_seconds=STOPPED_SECONDS)  # fmt: skip
        assert _found_full(field.server) > before, "no ring was full: the drill drilled nothing"
        return outcome

    return act


def _found_full(server: Server) -> int:
    """Records that found no room, over all rings."""
    return sum(ring.full for lane in server.status().lanes for ring in lane.rings)


SMALL = Ground(transceiver="media_ring_bytes = 65536\nhandshake_ring_bytes = 65536\ncontrol_ring_bytes = 65536\n")
FD, AS = resource.RLIMIT_NOFILE, resource.RLIMIT_AS

DRILLS = [
    Drill("rings of a stopped transceiver full", full_rings("transceiver0"), Demand(), SMALL),
    Drill("no descriptors: signalling", without(_no_descriptors, FD, ["signalling"]), Demand(packets_lost=0)),
    Drill("no descriptors: both transceivers", without(_no_descriptors, FD, ["transceiver0", "transceiver1"]),
          Demand(packets_lost=0)),
    Drill("no descriptors: relayd's supervisor, and a worker is killed",
          without(_no_descriptors, FD, ["relayd"], killed="relayd-worker0"),
          Demand(packets_lost=BATCHES, late=OVERTAKEN)),
    Drill("no descriptors: transceiverd's supervisor, and a transceiver is killed",
          without(_no_descriptors, FD, ["transceiverd"], killed="transceiver0"),
          Demand(packets_lost=0)),
    Drill("no descriptors: both transceivers, and signalling is killed",
          without(_no_descriptors, FD, ["transceiver0", "transceiver1"], killed="signalling"), Demand(packets_lost=0)),
    Drill("no memory: relay workers", without(_no_memory, AS, ["relayd-worker0", "relayd-worker1"]),
          Demand(packets_lost=0)),
    Drill("no memory: both transceivers", without(_no_memory, AS, ["transceiver0", "transceiver1"]),
          Demand(packets_lost=0)),
    Drill("no memory: signalling", without(_no_memory, AS, ["signalling"]), Demand(packets_lost=0)),
    Drill("no memory: relayd's supervisor, and a worker is killed",
          without(_no_memory, AS, ["relayd"], killed="relayd-worker0"),
          Demand(packets_lost=BATCHES, late=OVERTAKEN)),
    Drill("no memory: transceiverd's supervisor, and a transceiver is killed",
          without(_no_memory, AS, ["transceiverd"], killed="transceiver0"), Demand(packets_lost=0)),
]  # fmt: skip
