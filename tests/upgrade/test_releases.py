"""From one release to another and back under live calls, each daemon first in turn: nothing is lost.

The other release is our own code under another build id, which proves the mechanism; and the commit before this one,
which proves that what two releases say to each other is understood.
"""

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons import Server, running, wait_for
from tests.relayctl import relayctl, start_relayctl
from tests.udp_caller import UdpCaller
from tests.upgrade.calls import SETTLING_PACKETS, assert_heard_on, assert_none_missing, calls_on, step_until
from tests.upgrade.trees import Installed, commit, copy_of_head

CALLS = 10
LEGS = (("relayd", "transceiverd"), ("transceiverd", "relayd"), ("transceiverd", "relayd"), ("relayd", "transceiverd"))
"""There, back, there, back: which daemon is upgraded first."""

OTHERS: dict[str, Callable[[Path], Path]] = {
    "another build": lambda place: copy_of_head(place, "the same code"),
    "the commit before": lambda place: commit(place, "HEAD~1"),
}


def upgrade(server: Server, callers: list[UdpCaller], daemon: str) -> None:
    """By relayctl, while the calls go on."""
    order = start_relayctl(server, "upgrade", daemon)
    assert step_until(callers, lambda: order.poll() is not None, 60), f"the upgrade of {daemon} did not end"
    assert order.returncode == 0, server.logged()


def shown_releases(server: Server) -> tuple[str, str]:
    """Of relayd's workers, and of the transceivers that take calls."""
    status = server.status()
    workers = {worker.release for worker in status.workers}
    serving = {process.release for process in status.processes if process.state == "serving"}
    assert len(workers) == len(serving) == 1, status
    return workers.pop(), serving.pop()


@pytest.mark.system
@pytest.mark.timeout(600)  # every extension may have changed
@pytest.mark.parametrize("other", OTHERS)
def test_releases_there_and_back_lose_no_packet_and_no_call(other: str, tmp_path: Path) -> None:
    trees = (OTHERS[other](tmp_path / "other"), copy_of_head(tmp_path / "head", "this one"))
    installed = Installed(tmp_path)
    installed.install(trees[0])
    with (
        running(workers=2, environment=installed.environment) as server,
        contextlib.ExitStack() as stack,
        calls_on(server, CALLS) as old,
    ):
        callers = list(old)
        releases = [shown_releases(server)]
        for leg, daemons in enumerate(LEGS, 1):
            installed.install(trees[leg % 2])
            for daemon in daemons:
                upgrade(server, callers, daemon)
            releases.append(shown_releases(server))
            new = stack.enter_context(UdpCaller(server.calls_url, seed=100 + leg))
            new.client.talking = True
            callers.append(new)
            assert step_until(callers, lambda new=new: len(new.client.heard) > SETTLING_PACKETS)
            assert_heard_on(callers)
        assert_none_missing(callers)
        assert len(server.sessions()) == len(callers)
        there, back = releases[0], releases[1]
        assert there[0] == there[1] != back[0] == back[1]
        assert releases == [there, back, there, back, there]
        assert server.status().packets().adds_up
        assert relayctl(server, "status", "--check").stdout == ""


@pytest.mark.system
def test_releases_reload_takes_newly_installed_code(tmp_path: Path) -> None:
    """`systemctl reload` after an installation: the units' ExecReload= is `relayctl reload`; SIGHUP does the same."""
    trees = (copy_of_head(tmp_path / "old", "the old one"), copy_of_head(tmp_path / "new", "the new one"))
    installed = Installed(tmp_path)
    installed.install(trees[0])
    with running(environment=installed.environment) as server:
        before = shown_releases(server)
        assert relayctl(server, "reload").returncode == 0  # nothing else is installed: the configuration is read
        assert shown_releases(server) == before
        installed.install(trees[1])
        assert relayctl(server, "reload", "relayd").returncode == 0
        wait_for(lambda: server.status().upgrades == 1 and not server.status().upgrading, "relayd's upgrade", 20)
        server.daemons["transceiverd"].send_signal(signal.SIGHUP)
        wait_for(lambda: _serving(server) not in (set(), {before[1]}), "transceiverd's upgrade", 20)
        after = shown_releases(server)
        assert after[0] == after[1] != before[0] == before[1]


def _serving(server: Server) -> set[str]:
    found = {process.release for process in server.status().processes if process.state == "serving"}
    return found if len(found) == 1 else set()
