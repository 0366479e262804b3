"""Drills on what is around the daemons: the log's disk, the wall clock, CPUs, the other release, the control socket."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from tests.daemons import wait_for
from tests.faults.clock import clock
from tests.faults.drill import Drill, Ground, NotPossible, same
from tests.faults.field import Demand, Field, Outcome
from tests.faults.processes import ANEW

HOUR, YEAR = 3600, 365 * 86_400
OTHER_SECONDS = 1.0


def clock_jumps(*seconds: int) -> Callable[[Field], Outcome]:
    """One jump after another, a moment apart."""

    def act(field: Field) -> Outcome:
        def jump() -> None:
            for ahead in seconds:
                clock().set(ahead)
                assert field.callers.try_dial(5) is not None, f"no call {ahead} s ahead"

        return field.suffer(jump, mend=lambda: clock().set(0))

    return act


def of_another_release(field: Field) -> Outcome:
    """relayd is replaced by one of another release, and that by ours again."""
    server = field.server

    def other() -> None:
        server.stop("relayd")
        server.launchers["relayd"] = ("-m", "tests.faults.other_layout")
        server.start("relayd")
        wait_for(lambda: "relayd refused: " in server.logged(), "the refusal is told", 10)
        told = next(line for line in server.logged().splitlines() if "relayd refused: " in line)
        assert "99" in told, f"both sides' layouts are named: {told}"
        assert not server.ready()

    def ours() -> None:
        server.stop("relayd")
        del server.launchers["relayd"]
        server.start("relayd")

    return field.suffer(other, mend=ours, hold_seconds=OTHER_SECONDS)


def socket_unlinked(field: Field) -> Outcome:
    """Somebody cleans the runtime directory, and then transceiverd restarts."""

    def lose() -> None:
        (field.server.directory / "relayd.sock").unlink()
        field.server.stop("transceiverd")
        field.server.start("transceiverd")

    outcome = field.suffer(lose)
    field.server.await_ready()
    return outcome


def just_calls(field: Field) -> Outcome:
    """The fault is the ground itself."""
    return field.suffer(lambda: None)


def killed_without_log(field: Field) -> Outcome:
    """Every process has something to say about a death."""
    outcome = field.suffer(lambda: os.kill(same(field.server)["relayd-worker0"], signal.SIGKILL))
    assert [field.server.stop(name) for name in ("transceiverd", "relayd")] == [0, 0]
    return outcome


def address_away(_field: Field) -> Outcome:
    """In a network namespace, with daemons of its own (address.py)."""
    command = ["unshare", "-n", sys.executable, "-m", "tests.faults.address"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        raise NotPossible("there is no unshare(1)") from None
    if "unshare failed" in done.stderr:
        raise NotPossible(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return Outcome(**json.loads(done.stdout))


FEW = Ground(workers=4, transceivers=2, relay="cpus = [0, 4000]", transceiver="cpus = [4000, 0]")

DRILLS = [
    Drill("interface's address removed for 1 s and back", address_away, Demand()),
    Drill("log's disk full (/dev/full), and a worker is killed", killed_without_log, Demand(silence_ms=500),
          Ground(log_to="/dev/full"), fresh=True),
    Drill("wall clock jumps by an hour, a year and back", clock_jumps(HOUR, -HOUR, YEAR, -YEAR),
          Demand(packets_lost=0), Ground(with_clock=True)),
    Drill("fewer CPUs than configured (one of two is absent)", just_calls, Demand(packets_lost=0), FEW, fresh=True),
    Drill("relayd of another layout version, then ours again", of_another_release, Demand(), Ground(transceivers=1),
          fresh=True),
    Drill("relayd.sock removed, then transceiverd restarted", socket_unlinked,
          ANEW, Ground(transceivers=1), fresh=True),
]  # fmt: skip
