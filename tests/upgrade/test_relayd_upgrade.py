"""relayd replaces its own code under live calls: the same process, port and lanes; new workers; no packet lost."""

import os
import signal

import pytest

from tests.daemons import running, wait_for
from tests.relayctl import relayctl, start_relayctl
from tests.upgrade.calls import assert_heard_on, assert_none_missing, calls_on, step_until

CALLS = 20


@pytest.mark.system
def test_relayd_upgrade_loses_no_packet_of_twenty_calls() -> None:
    with running(workers=2) as server, calls_on(server, CALLS) as callers:
        before = server.pids("relayd")
        process = server.daemons["relayd"].pid
        order = start_relayctl(server, "upgrade", "relayd")
        assert step_until(callers, lambda: order.poll() is not None, 60), "relayctl upgrade did not end"
        assert order.returncode == 0, server.log.read_text()
        assert_heard_on(callers)
        assert_none_missing(callers)
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
            assert_heard_on(callers)
        assert server.stop("relayd") == 0
