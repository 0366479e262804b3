"""A peer gone mad writes words over all that it shares, under live calls: its readers neither crash nor hang, and
the calls of the others lose nothing. The daemons are real; the scribbler maps the very segments (scribbler.py).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.daemons import Server, running, wait_for
from tests.faults.callers import Callers
from tests.faults.drill import same
from tests.faults.flood import status
from tests.faults.scribbler import opened
from transceiverd.load.fleet import Placement

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

SCRIBBLED_SECONDS = 2.0
CALLS = 8


@contextmanager
def scribbling(server: Server, daemon: str, *words: str) -> Iterator[None]:
    """Until the end of the block, over what the daemon's supervisor has mapped under these names."""
    pid = str(server.daemons[daemon].pid)
    command = [sys.executable, "-m", "tests.faults.scribbler", pid, str(SCRIBBLED_SECONDS), *words]
    scribbler = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert scribbler.stdout is not None
    with scribbler:
        assert int(scribbler.stdout.readline()) > 0, "it found what to scribble on"
        yield
        assert scribbler.wait() == 0


def _home(server: Server, calls: list[Placement]) -> dict[Placement, int]:
    by_id = {str(one["call_id"]): one["transceiver"] for one in server.sessions()}
    return {call: by_id[call.location.rpartition("/")[2]] for call in calls}  # type: ignore[misc]


def _malformed(server: Server, transceiver: int) -> int:
    return sum(
        ring.malformed for lane in status(server).lanes if lane.transceiver == transceiver for ring in lane.rings
    )


def test_scribble_over_all_lanes_of_a_transceiver_crashes_nobody_and_costs_no_other_call() -> None:
    with running(workers=2, transceivers=2) as server, Callers(server.url) as callers:
        calls = callers.dial(CALLS)
        home = _home(server, calls)
        spared = [call for call in calls if home[call] == 0]
        assert 0 < len(spared) < CALLS
        before = same(server)
        with scribbling(server, "transceiverd", "lane-1-"):
            pass
        assert same(server) == before, server.logged()  # nobody died, nobody had to be killed
        assert _malformed(server, 1) > 0
        callers.hush(calls)
        for call in spared:
            books = callers.fleet.packets.caller(call.place)
            assert books["received"] == books["sent"] > 50, books
            assert books["reordered"] == books["duplicates"] == 0, books
        os.kill(before["transceiver1"], signal.SIGKILL)  # what it stood in is sane again for its successor
        wait_for(lambda: same(server).get("transceiver1") not in (None, before["transceiver1"]), "a successor")
        server.await_ready()
        again = callers.dial(CALLS)
        assert set(_home(server, again).values()) == {0, 1}


def _write_over(server: Server, daemon: str, word: str) -> None:
    """Random bytes over every byte of the segments of that name, headers and all."""
    for memory in opened(server.daemons[daemon].pid, [word]):
        memory[:] = os.urandom(len(memory))


def test_scribble_over_counters_and_doorbells_and_headers_harms_no_reader_and_no_successor() -> None:
    """Whoever writes somewhere may write over all of it: what it counts, what that is called, what the segment is.
    Its books are ruined then, and nothing else."""
    with running(workers=2, transceivers=2) as server, Callers(server.url) as callers:
        callers.dial(CALLS)
        before = same(server)
        for _ in range(3):
            _write_over(server, "relayd", "ringline-counters")  # the workers', and the transceivers' by their offers
            _write_over(server, "transceiverd", "ringline-counters")
            assert status(server).workers
            assert server.operator("/metrics")
            assert len(server.sessions()) == CALLS
        with scribbling(server, "relayd", "ringline-counters"):
            callers.dial(CALLS)
        assert same(server) == before, server.logged()
        # A segment of flows, too, and everything that starts now: worker, transceiver, signalling, then relayd.
        for memory in opened(server.daemons["relayd"].pid, ["ringline-flows"]):
            memory[:4096] = os.urandom(4096)
        for name, daemon in (("relayd-worker0", "relayd"), ("transceiver0", "transceiverd"),
                             ("signalling", "transceiverd")):  # fmt: skip
            _write_over(server, daemon, "ringline-counters")
            pid = server.pids(daemon)[name]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda d=daemon, n=name, p=pid: server.pids(d).get(n, p) != p, f"a successor of {name}")
            server.await_ready()
            callers.dial(1)
        _write_over(server, "transceiverd", "ringline-counters")
        server.stop("relayd")
        server.start("relayd")
        server.await_ready()
        callers.dial(CALLS)
        assert "put right" in server.logged()
        assert "dies too often" not in server.logged()
        assert server.stop("transceiverd") == 0, "a drain believes no number of calls that cannot be"


def test_scribble_over_a_workers_flow_table_crashes_neither_it_nor_its_successor_nor_status() -> None:
    with running(workers=1, transceivers=1) as server, Callers(server.url) as callers:
        callers.dial(CALLS)
        before = same(server)
        with scribbling(server, "relayd", "ringline-flows"):
            for _ in range(5):
                assert status(server).workers
        os.kill(before["relayd-worker0"], signal.SIGKILL)
        wait_for(lambda: same(server).get("relayd-worker0") not in (None, before["relayd-worker0"]), "a successor")
        callers.dial(CALLS)  # new calls find their way: checks need no flow
        after = same(server)
        assert {name: pid for name, pid in after.items() if name != "relayd-worker0"} == {
            name: pid for name, pid in before.items() if name != "relayd-worker0"
        }, server.logged()
        assert sum("worker 0 (pid" in line for line in server.logged().splitlines()) == 1, "it died of our kill only"
