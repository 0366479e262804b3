"""Drills on processes: each in each role killed, stopped, starved; and both daemons restarted in every order."""

import contextlib
import os
import signal
from collections.abc import Callable

from tests.daemons import wait_for
from tests.faults.drill import Drill, same
from tests.faults.field import CALLS, OVERTAKEN, Demand, Field, Outcome
from tests.faults.quota import quota

STARVED_SHARE = 0.03  # of a CPU
STARVED_SECONDS = 1.5
# What a worker had taken from the kernel (64 from each of two sockets), and once more for the records it was sending.
BATCHES = 4 * 64


def kill(name: str) -> Callable[[Field], Outcome]:
    """SIGKILL; its supervisor replaces it."""
    return lambda field: field.suffer(lambda: os.kill(same(field.server)[name], signal.SIGKILL), ends=name)


def stop(name: str) -> Callable[[Field], Outcome]:
    """SIGSTOP: it is there and does nothing, until its supervisor finds it by its heartbeat."""

    def act(field: Field) -> Outcome:
        stopped = same(field.server)[name]
        outcome = field.suffer(lambda: os.kill(stopped, signal.SIGSTOP), ends=name)
        wait_for(lambda: same(field.server).get(name) not in (None, stopped), f"{name} is replaced", 10)
        return outcome

    return act


def starve(name: str) -> Callable[[Field], Outcome]:
    """It gets next to no CPU for a while."""

    def act(field: Field) -> Outcome:
        with contextlib.ExitStack() as starving:
            return field.suffer(
                lambda: starving.enter_context(quota([same(field.server)[name]], STARVED_SHARE)),
                mend=starving.close,
                hold_seconds=STARVED_SECONDS,
            )

    return act


def pause_daemon(name: str) -> Callable[[Field], Outcome]:
    """A supervisor that stands still for longer than any of its own patience, and goes on."""

    def act(field: Field) -> Outcome:
        pid = field.server.daemons[name].pid
        return field.suffer(
            lambda: os.kill(pid, signal.SIGSTOP), mend=lambda: os.kill(pid, signal.SIGCONT), hold_seconds=4.0
        )

    return act


def restart(*orders: tuple[str, signal.Signals]) -> Callable[[Field], Outcome]:
    """All named daemons end, in this order, and start again, in this order."""

    def act(field: Field) -> Outcome:
        def again() -> None:
            for name, number in orders:
                field.server.stop(name, number)
            for name, _ in orders:
                field.server.start(name)

        outcome = field.suffer(again)
        field.server.await_ready()
        return outcome

    return act


# Ends and begins, of interpreters on a busy machine.
ANEW = Demand(calls_lost=CALLS, new_call_ms=15_000)
KILLED, ASKED = signal.SIGKILL, signal.SIGTERM

DRILLS = [
    Drill("relay worker killed", kill("relayd-worker0"),
          Demand(packets_lost=BATCHES, late=OVERTAKEN, silence_ms=500)),
    Drill("relay worker stopped", stop("relayd-worker0"),
          Demand(packets_lost=BATCHES, late=OVERTAKEN, silence_ms=2500)),
    Drill("relay worker starved to 3 % of a CPU", starve("relayd-worker0"),
          Demand(packets_lost=0, late=OVERTAKEN)),
    Drill("transceiver killed", kill("transceiver0"), Demand(packets_lost=0)),
    Drill("transceiver stopped", stop("transceiver0"), Demand(packets_lost=0)),
    Drill("transceiver starved to 3 % of a CPU", starve("transceiver0"), Demand()),
    Drill("signalling killed", kill("signalling"), Demand(packets_lost=0)),
    Drill("signalling stopped", stop("signalling"), Demand(packets_lost=0)),
    Drill("signalling starved to 3 % of a CPU", starve("signalling"), Demand(packets_lost=0)),
    Drill("relayd's supervisor killed, relayd started again", restart(("relayd", KILLED)), Demand()),
    Drill("relayd's supervisor stopped for 4 s", pause_daemon("relayd"), Demand(packets_lost=0)),
    Drill("relayd's supervisor starved to 3 % of a CPU", starve("relayd"), Demand(packets_lost=0)),
    Drill("transceiverd's supervisor stopped for 4 s", pause_daemon("transceiverd"), Demand(packets_lost=0)),
    Drill("transceiverd's supervisor starved to 3 % of a CPU", starve("transceiverd"), Demand(packets_lost=0)),
    Drill("relayd restarted", restart(("relayd", ASKED)), Demand()),
    Drill("transceiverd's supervisor killed, transceiverd started again", restart(("transceiverd", KILLED)),
          ANEW),
    Drill("transceiverd restarted", restart(("transceiverd", ASKED)), ANEW),
    Drill("both restarted, relayd first", restart(("relayd", ASKED), ("transceiverd", ASKED)),
          ANEW),
    Drill("both restarted, transceiverd first", restart(("transceiverd", ASKED), ("relayd", ASKED)),
          ANEW),
    Drill("both killed, transceiverd started first", restart(("transceiverd", KILLED), ("relayd", KILLED)),
          ANEW),
]  # fmt: skip
