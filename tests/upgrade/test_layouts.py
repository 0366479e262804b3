"""Layout majors (DESIGN 2.11): the highest common one, made anew at an attach; none in common: refused, both named."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from shm.daemon import handover
from shm.daemon.exits import EXIT_FAULT, EXIT_STOPPED
from tests.daemons import Server, running, wait_for
from tests.upgrade.calls import assert_heard_on, calls_on
from tests.upgrade.two_layouts import OTHER
from transceiverd.legacy import Legacy

TWO = ("-m", "tests.upgrade.two_layouts")


def lane_majors(server: Server) -> set[int]:
    """Of every lane that relayd holds, from the segments themselves."""
    found = set()
    place = f"/proc/{server.daemons['relayd'].pid}/fd"
    for name in os.listdir(place):
        if "ringline-lane" in os.readlink(f"{place}/{name}"):
            with open(f"{place}/{name}", "rb") as file:
                found.add(int.from_bytes(file.read(16)[8:10], "little"))
    return found


@pytest.mark.system
def test_layouts_highest_common_one_is_used_and_changes_at_an_attach_with_calls_up() -> None:
    """transceiverd speaks both. relayd speaks ours, then both, then ours: lanes are made anew and calls go on."""
    with (
        running(workers=2, launchers={"transceiverd": (*TWO, "transceiverd")}) as server,
        calls_on(server, 3) as callers,
    ):
        assert lane_majors(server) == {1}
        for launcher, major in (((*TWO, "relayd"), OTHER), (("-m", "relayd.main"), 1)):
            server.stop("relayd")
            server.launchers["relayd"] = launcher
            server.start("relayd")
            wait_for(server.ready, "/readyz says yes")
            assert lane_majors(server) == {major}
            assert_heard_on(callers)
        assert not any(caller.client.closed for caller in callers)


@pytest.mark.system
def test_layouts_without_a_common_one_are_named_by_readyz() -> None:
    server = Server(launchers={"relayd": ("-m", "tests.faults.other_layout")})
    try:
        server.start("relayd")
        server.start("transceiverd")
        wait_for(lambda: "speaks" in _reason(server) or "layout" in _reason(server), "the reason")
        reason = _reason(server)
        assert "found 1" in reason
        assert "99" in reason
    finally:
        server.close()


def _reason(server: Server) -> str:
    try:
        urllib.request.urlopen(f"{server.url}/readyz", timeout=5).close()
    except urllib.error.HTTPError as error:
        with error:
            return str(json.loads(error.read())["reasons"])
    except OSError:
        pass
    return ""


@pytest.mark.parametrize(("layouts", "status"), [([1], EXIT_STOPPED), ([1, 9], EXIT_FAULT)])
def test_layouts_that_new_code_does_not_speak_end_an_upgrades_rehearsal(layouts: list[int], status: int) -> None:
    state = Legacy(lock=0, upgrades=0, deadline_seconds=0, places=[], doors={})
    message = handover.write("transceiverd", handover.Left(state, (), layouts))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "transceiverd.main", "--check-config"],
            pass_fds=[message], env=handover.environment(message), capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(message)
    assert done.returncode == status
    assert ("layout 9, this one speaks 1" in done.stderr) == bool(status)
