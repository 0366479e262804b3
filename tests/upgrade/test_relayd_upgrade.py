"""relayd replaces its own code under live calls: the same process, port and lanes; new workers; no packet lost."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.daemons import Server, running, wait_for
from tests.relayctl import relayctl, start_relayctl
from tests.udp_caller import UdpCaller

CALLS = 20


@contextlib.contextmanager
def calls_on(server: Server, count: int = CALLS) -> Iterator[list[UdpCaller]]:
    """So many calls that talk."""
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(UdpCaller(server.calls_url, seed=seed)) for seed in range(count)]
        for caller in callers:
            caller.connect()
        yield callers


def step_until(callers: list[UdpCaller], until: Callable[[], object], seconds: float = 20.0) -> bool:
    """Move all calls on, until it is true."""
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        for caller in callers:
            caller.step(0.0005)
    return bool(until())


def numbers_missing(caller: UdpCaller) -> int:
    """Packets between the first and the last echo that did not come back."""
    numbers = [int(packet[12:].split()[1]) for packet in caller.client.heard]
    return (numbers[-1] - numbers[0]) % 65536 + 1 - len(set(numbers))


def test_relayd_upgrade_loses_no_packet_of_twenty_calls() -> None:
    with running(workers=2) as server, calls_on(server) as callers:
        before = server.pids("relayd")
        process = server.daemons["relayd"].pid
        order = start_relayctl(server, "upgrade", "relayd")
        assert step_until(callers, lambda: order.poll() is not None, 60), "relayctl upgrade did not end"
        assert order.returncode == 0, server.log.read_text()
        heard = [len(caller.client.heard) for caller in callers]
        assert step_until(
            callers, lambda: all(len(c.client.heard) > n + 25 for c, n in zip(callers, heard, strict=True))
        )
        assert [numbers_missing(caller) for caller in callers] == [0] * CALLS
        after = server.pids("relayd")
        assert server.daemons["relayd"].pid == process
        assert after.keys() == before.keys()
        assert not set(after.values()) & set(before.values())
        status = server.status()
        assert status.upgrades == 1
        assert not status.upgrading
        assert status.packets().adds_up
        assert [worker.restarts for worker in status.workers] == [0, 0]


def test_relayd_upgrade_that_cannot_work_is_refused_and_nothing_changes() -> None:
    with running() as server:
        good = server.config.read_text()
        server.config.write_text(good.replace("workers = 1", "wrokers = 1"))
        before = server.pids("relayd")
        done = relayctl(server, "upgrade", "relayd")
        assert done.returncode == 3
        assert "wrokers" in done.stderr
        assert server.pids("relayd") == before
        server.config.write_text(good)
        assert server.ready()
        server.daemons["relayd"].send_signal(signal.SIGTERM)
        assert server.daemons["relayd"].wait(5) == 0


@pytest.mark.system
def test_relayd_upgrade_goes_on_as_before_for_who_comes_and_goes_later() -> None:
    """Twice in a row; then transceiverd is started anew, then workers die, and relayd stops as it always did."""
    with running(workers=2) as server:
        for round_ in (1, 2):
            assert relayctl(server, "upgrade", "relayd").returncode == 0
            assert server.status().upgrades == round_
        server.stop("transceiverd")
        wait_for(lambda: server.status().transceiverd is None, "it is detached")
        assert server.status().lanes == []
        server.start("transceiverd")
        server.await_ready()
        with calls_on(server, 2) as callers:
            for pid in server.pids("relayd").values():
                os.kill(pid, signal.SIGKILL)
            heard = len(callers[0].client.heard)
            assert step_until(callers, lambda: len(callers[0].client.heard) > heard + 25)
        assert server.stop("relayd") == 0
