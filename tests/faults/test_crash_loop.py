"""A process that dies again and again is started ever later, so that it does not eat the machine, and takes nobody else
down: the calls of its neighbour lose nothing, new calls are served, and it is back when it has stopped dying.
"""

import contextlib
import os
import signal
import time

import pytest

from shm.daemon.restarts import FIRST_DELAY_NS
from tests.daemons import Server, running, wait_for
from tests.faults.test_poison import socket_of_worker
from tests.udp_caller import UdpCaller

pytestmark = [pytest.mark.system, pytest.mark.timeout(120)]

BURST = 5  # deaths that are answered at once: [relay] restart_burst, transceivers.RESTART_BURST
SLOWED = 5  # further deaths here
PATIENCE_SECONDS = 15.0


def crash_loop(server: Server, daemon: str, name: str, caller: UdpCaller) -> list[float]:
    """Kill each process of that name as soon as it is there; seconds from its death to its successor.

    The caller speaks meanwhile.
    """
    gaps = []
    for _ in range(BURST + SLOWED):
        pid = server.pids(daemon)[name]
        died = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        assert caller.run(lambda p=pid: server.pids(daemon).get(name, p) != p, PATIENCE_SECONDS), "no successor"
        gaps.append(time.monotonic() - died)
    return gaps


def assert_ever_later(gaps: list[float], log: str, name: str) -> None:
    """The delays are lower bounds: a busy machine only adds to them."""
    assert [gap >= (FIRST_DELAY_NS << late) / 1e9 for late, gap in enumerate(gaps[BURST:])] == [True] * SLOWED, gaps
    slowed = [line for line in log.splitlines() if f"{name} (pid " in line and "it dies too often" in line]
    assert len(slowed) == SLOWED, log


def test_crash_loop_of_a_transceiver_slows_down_and_leaves_the_other_alone() -> None:
    with running(workers=1, transceivers=2) as server, contextlib.ExitStack() as stack:
        callers = [stack.enter_context(UdpCaller(server.calls_url, seed=seed)) for seed in range(2)]
        for caller in callers:
            caller.connect()
        home = {session["call_id"]: session["transceiver"] for session in server.sessions()}
        (caller,) = (caller for caller in callers if home[caller.call_id] == 1)
        others = {name: pid for name, pid in server.pids("transceiverd").items() if name != "transceiver0"}
        gaps = crash_loop(server, "transceiverd", "transceiver0", caller)
        assert server.ready(), "the other one takes calls all the time"
        with UdpCaller(server.calls_url, seed=7) as more:
            more.connect()
        assert caller.lost() == 0
        assert_ever_later(gaps, server.logged(), "transceiver 0")
        now = server.pids("transceiverd")
        assert {name: now[name] for name in others} == others
        server.await_ready()  # and it is back: every slot of both


def test_crash_loop_of_the_only_transceiver_is_seen_in_readyz_and_ends() -> None:
    with running(workers=1, transceivers=1) as server:
        for _ in range(BURST + 6):  # the last delay is 1.6 s: there is time to look
            pid = server.pids("transceiverd")["transceiver0"]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda p=pid: server.pids("transceiverd").get("transceiver0") != p, "its end")  # type: ignore[misc]
            if "transceiver0" not in server.pids("transceiverd"):
                wait_for(lambda: not server.ready(), "the answer that no call can be served")
            wait_for(lambda: "transceiver0" in server.pids("transceiverd"), "a successor", PATIENCE_SECONDS)
        server.await_ready()
        with UdpCaller(server.calls_url) as caller:
            caller.connect()


def test_crash_loop_of_a_worker_slows_down_and_leaves_the_other_alone() -> None:
    relay = f"restart_burst = {BURST}\nspread_above_percent = 0"  # so that the two have a worker each
    with running(workers=2, transceivers=1, relay=relay) as server:
        caller = UdpCaller(server.calls_url, socket_of_worker(server, 1))
        caller.connect()
        end = socket_of_worker(server, 0)
        before = server.status().workers
        gaps = crash_loop(server, "relayd", "relayd-worker0", caller)
        with UdpCaller(server.calls_url, end, seed=7) as more:  # by the very worker that died so often
            more.connect(20)
        lost = caller.lost()
        assert_ever_later(gaps, server.logged(), "worker 0")
        after = server.status().workers
        assert after[0].restarts - before[0].restarts == BURST + SLOWED
        assert after[1].restarts == before[1].restarts, server.logged()
        assert lost == 0, (caller.sent, server.logged())
        caller.end.close()
