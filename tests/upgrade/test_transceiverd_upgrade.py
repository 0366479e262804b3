"""transceiverd replaces its own code under live calls: they go on where they are, new ones go to new transceivers."""

import os
import re
import signal
import threading
import urllib.error
import urllib.request
from typing import Any

import pytest

from shm.daemon.orders import Order, give_order
from tests.daemons import Server, running, wait_for
from tests.relayctl import relayctl, start_relayctl
from tests.udp_caller import UdpCaller
from tests.upgrade.calls import assert_heard_on, assert_none_missing, calls_on, step_until

CALLS = 20


def releases(server: Server) -> dict[str, Any]:
    """What `relayctl` asks to know how far it is."""
    return give_order(server.directory, "transceiverd", Order("releases"), 10.0).details


def transceivers(server: Server) -> dict[int, str]:
    """State by number."""
    rows = [row for row in releases(server)["processes"] if row["name"].startswith("transceiver ")]
    return {int(row["name"].split()[1]): row["state"].split()[0] for row in rows}


class Knocking(threading.Thread):
    """Asks the public listener again and again, a new connection each time."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._url = f"{server.url}/readyz"
        self.failures: list[str] = []
        self.answers = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Until `over`."""
        while not self.over.wait(0.005):
            try:
                with urllib.request.urlopen(self._url, timeout=10):
                    self.answers += 1
            except OSError as error:
                self.failures.append(repr(error))


def test_transceiverd_upgrade_keeps_twenty_calls_and_refuses_no_request() -> None:
    with running(workers=2) as server, calls_on(server, CALLS) as callers:
        before = server.pids("transceiverd")
        process = server.daemons["transceiverd"].pid
        knocking = Knocking(server)
        knocking.start()
        order = start_relayctl(server, "upgrade", "transceiverd")
        assert step_until(callers, lambda: order.poll() is not None, 60), "relayctl upgrade did not end"
        knocking.over.set()
        knocking.join()
        assert order.returncode == 0, server.log.read_text()
        assert knocking.failures == []
        assert knocking.answers > 20
        assert_heard_on(callers)
        assert_none_missing(callers)
        assert server.daemons["transceiverd"].pid == process
        assert server.pids("transceiverd")["transceiver0"] == before["transceiver0"]
        assert server.pids("transceiverd")["signalling"] != before["signalling"]
        assert transceivers(server) == {0: "leaving", 1: "serving"}
        shown = relayctl(server, "status").stdout
        assert re.search(r"transceiver 0 .*leaving within \d+ s +20", shown), shown
        # A new call goes to a new transceiver; an old one is still explained and hung up.
        with UdpCaller(server.calls_url, seed=99) as new:
            new.connect()
            homes = {session["call_id"]: session["transceiver"] for session in server.sessions()}
            assert homes[new.call_id] == 1
            assert {homes[caller.call_id] for caller in callers} == {0}
            for caller in callers:
                urllib.request.urlopen(f"{server.url}{caller.location}/hangup", b"", timeout=5).close()
            assert step_until([*callers, new], lambda: all(c.client.closed for c in callers))
            assert step_until([new], lambda: transceivers(server) == {1: "serving"})
            assert_heard_on([new])
        assert [status.transceiver for status in server.status().transceivers] == [1]


@pytest.mark.system
def test_transceiverd_upgrade_again_and_again_uses_free_numbers_and_ends_calls_at_the_deadline() -> None:
    with running(transceivers=2) as server, calls_on(server, 4) as callers:
        for numbers in ({2, 3}, {4, 5}):
            order = start_relayctl(server, "upgrade", "transceiverd", "--deadline", "600")
            assert step_until(callers, lambda order=order: order.poll() is not None, 60)
            assert order.returncode == 0, server.log.read_text()
            serving = {number for number, state in transceivers(server).items() if state == "serving"}
            assert serving == numbers
        assert step_until(callers, lambda: transceivers(server).keys() == {0, 1, 4, 5}), "idle ones leave"
        assert_none_missing(callers)
        with UdpCaller(server.calls_url, seed=99) as new:
            new.connect()
            order = start_relayctl(server, "upgrade", "transceiverd", "--deadline", "1")
            assert step_until([*callers, new], lambda: order.poll() is not None, 60)
            assert step_until([*callers, new], lambda: new.client.closed, 10)
        assert not any(caller.client.closed for caller in callers)  # their deadline is the one they were given
        server.daemons["transceiverd"].send_signal(signal.SIGTERM)
        assert step_until(callers, lambda: all(caller.client.closed for caller in callers), 10)
        assert server.daemons["transceiverd"].wait(10) == 0


@pytest.mark.system
def test_transceiverd_upgrade_survives_what_comes_after_it() -> None:
    """relayd starts anew, an old transceiver dies, signalling dies: as always."""
    with running(workers=2) as server, calls_on(server, 2) as callers:
        assert relayctl(server, "upgrade", "transceiverd").returncode == 0
        assert_heard_on(callers)
        server.stop("relayd")
        server.start("relayd")
        wait_for(server.ready, "/readyz says yes")
        assert_heard_on(callers)
        pids = server.pids("transceiverd")
        os.kill(pids["signalling"], signal.SIGKILL)
        wait_for(lambda: server.pids("transceiverd").get("signalling") not in (None, pids["signalling"]), "a new one")
        os.kill(pids["transceiver0"], signal.SIGKILL)
        assert step_until(callers, lambda: all(caller.client.closed for caller in callers), 10)
        wait_for(lambda: transceivers(server) == {1: "serving"}, "the old transceiver has left for good")
        server.await_ready()


def test_transceiverd_upgrade_that_cannot_work_is_refused_and_nothing_changes() -> None:
    with running() as server:
        good = server.config.read_text()
        server.config.write_text(good.replace("slots = ", "slotz = "))
        before = server.pids("transceiverd")
        done = relayctl(server, "upgrade", "transceiverd")
        assert done.returncode == 3
        assert "slotz" in done.stderr
        assert server.pids("transceiverd") == before
        assert server.ready()


@pytest.mark.system
def test_transceiverd_upgrade_takes_options_that_wait_for_a_restart_and_no_call_ends() -> None:
    """The same code again, with another file: calls that are up go on under theirs, new ones have the new."""
    with running(slots=64) as server, calls_on(server, 4) as callers:
        text = server.config.read_text()
        server.config.write_text(text.replace("slots = 64", "slots = 96") + "[media]\nreport_interval_ms = 1000\n")
        waiting = relayctl(server, "reload", "transceiverd")
        assert "a restart is needed for: " in waiting.stdout
        for key in ("media.report_interval_ms", "transceiver.slots"):
            assert key in waiting.stdout
        order = start_relayctl(server, "upgrade", "transceiverd")
        assert step_until(callers, lambda: order.poll() is not None, 60)
        assert order.returncode == 0, server.logged()
        assert server.slots_free() == 96
        assert "no option changed" in relayctl(server, "reload", "transceiverd").stdout
        assert_heard_on(callers)
        assert_none_missing(callers)
