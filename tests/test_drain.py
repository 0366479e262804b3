"""The orderly end: readiness first, calls until a deadline, goodbyes at a pace; what the service manager is told."""

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import relayd.relayctl
from relayd import ordering
from tests.aiortc_caller import Caller
from tests.daemons import Server, running, wait_for
from tests.relayctl import relayctl
from tests.udp_caller import UdpCaller, udp_socket

CALLS = 8


@contextlib.contextmanager
def _calls(server: Server, count: int = CALLS) -> Iterator[list[UdpCaller]]:
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(UdpCaller(server.calls_url, seed=seed)) for seed in range(count)]
        for caller in callers:
            caller.connect()
        yield callers


def _step_all(callers: list[UdpCaller], until: Callable[[], object], seconds: float) -> bool:
    """Move all calls on, until it is true."""
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        for caller in callers:
            caller.step(0.001)
    return bool(until())


def _ended(server: Server) -> bool:
    return server.daemons["transceiverd"].poll() is not None


def _refusal(server: Server) -> tuple[int, str | None]:
    with udp_socket() as end, pytest.raises(urllib.error.HTTPError) as caught:
        UdpCaller(server.calls_url, end)
    with caught.value as answer:
        return answer.code, answer.headers["Retry-After"]


def test_drain_refuses_new_calls_keeps_the_others_and_ends_with_the_last() -> None:
    with running(transceivers=2) as server, _calls(server, 2) as callers:
        done = relayctl(server, "drain", "--deadline", "60")
        assert done.returncode == 0, done.stderr
        assert "2 calls" in done.stdout
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{server.url}/readyz", timeout=5)
        with caught.value as answer:
            assert answer.code == 503
            assert "drained" in json.loads(answer.read())["reasons"][0]
            assert answer.headers["Retry-After"] == "5"
            assert answer.headers["Server"] == "ringline"
        assert _refusal(server) == (503, "5")
        heard = [len(caller.client.heard) for caller in callers]
        assert _step_all(
            callers, lambda: all(len(c.client.heard) > n + 50 for c, n in zip(callers, heard, strict=True)), 10
        )
        diagnosis = urllib.request.urlopen(f"{server.url}{callers[0].location}/diagnosis", timeout=5)
        with diagnosis:
            assert json.loads(diagnosis.read())["failed"] is False
        for caller in callers:
            assert not caller.client.closed
            urllib.request.urlopen(f"{server.url}{caller.location}/hangup", b"", timeout=5).close()
        assert _step_all(callers, lambda: all(c.client.closed for c in callers) and _ended(server), 10)
        assert server.daemons["transceiverd"].returncode == 0


@pytest.mark.system
def test_drain_deadline_says_goodbye_to_every_caller_at_the_configured_pace() -> None:
    pace = 10.0
    with (
        running(transceivers=2, transceiver=f"drain_seconds = 1\ngoodbyes_per_second = {pace}\n") as server,
        _calls(server) as callers,
    ):
        began = time.monotonic()
        server.daemons["transceiverd"].terminate()
        ends: dict[int, float] = {}

        def note() -> bool:
            for at, caller in enumerate(callers):
                if caller.client.closed:
                    ends.setdefault(at, time.monotonic() - began)
            return len(ends) == CALLS

        assert _step_all(callers, note, 15)
        assert min(ends.values()) >= 1.0  # not before the deadline
        # Two transceivers share the pace, each begins with one at once.
        assert max(ends.values()) - min(ends.values()) >= (CALLS / 2 - 1) / (pace / 2) * 0.8
        assert server.daemons["transceiverd"].wait(10) == 0


def test_drain_second_sigterm_ends_at_once_and_still_says_goodbye() -> None:
    with (
        running(transceiver="drain_seconds = 600\ngoodbyes_per_second = 0.1\n") as server,
        _calls(server, 3) as callers,
    ):
        daemon = server.daemons["transceiverd"]
        daemon.terminate()
        wait_for(lambda: not server.ready(), "/readyz says no")
        assert not _step_all(callers, lambda: any(c.client.closed for c in callers), 1)
        daemon.terminate()
        assert _step_all(callers, lambda: all(c.client.closed for c in callers), 5)
        assert daemon.wait(5) == 0


@pytest.mark.system
def test_drain_killed_transceiver_still_has_its_callers_told() -> None:
    """Its successor is of no use to new calls, but only it can say goodbye to those of the dead."""
    with running(transceiver="drain_seconds = 600\n") as server, _calls(server, 2) as callers:
        daemon, victim = server.daemons["transceiverd"], server.pids("transceiverd")["transceiver0"]
        daemon.terminate()
        wait_for(lambda: not server.ready(), "/readyz says no")
        subprocess.run(["kill", "-9", str(victim)], check=True)
        assert _step_all(callers, lambda: all(c.client.closed for c in callers), 5)
        assert daemon.wait(5) == 0


def test_drain_tells_the_service_manager_how_it_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def hear() -> None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    told.append(manager.recv(4096).decode())

        with running(transceiver="drain_seconds = 600\n") as server, _calls(server, 1) as callers:
            hear()
            told.clear()
            server.daemons["transceiverd"].terminate()
            wait_for(lambda: hear() or any("1 calls left" in line for line in told), "the state of the drain")
            assert told[0] == "STOPPING=1"
            assert any("EXTEND_TIMEOUT_USEC=" in line for line in told)
            server.daemons["transceiverd"].terminate()
            assert _step_all(callers, lambda: callers[0].client.closed, 5)


def test_drain_order_that_makes_no_sense_is_refused_and_nothing_happens() -> None:
    with running() as server:
        done = relayctl(server, "drain", "--deadline", "-1")
        assert done.returncode == 3
        assert "allowed are 0 to" in done.stderr
        assert server.ready()


@pytest.mark.system
def test_drain_aiortc_call_hears_itself_to_the_end_and_is_closed() -> None:
    async def story(server: Server) -> None:
        caller = Caller(server.calls_url)
        await caller.call()
        await caller.await_connected()
        server.daemons["transceiverd"].send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, lambda: not server.ready(), "/readyz says no")
        caller.heard.clear()
        await asyncio.to_thread(wait_for, lambda: abs(caller.loudest() - caller.hertz) < 5, "it hears itself")
        server.daemons["transceiverd"].send_signal(signal.SIGTERM)
        await asyncio.wait_for(caller.ended.wait(), 10)
        await caller.close()
        assert await asyncio.to_thread(server.daemons["transceiverd"].wait, 5) == 0

    with running(transceiver="drain_seconds = 60\n") as server:
        asyncio.run(story(server))


def test_drain_refuses_an_upgrade_at_once_and_in_its_own_words() -> None:
    with running() as server, _calls(server, 1) as callers:
        assert relayctl(server, "drain", "--deadline", "60").returncode == 0
        refused = relayctl(server, "upgrade", "transceiverd")
        assert (refused.returncode, "being drained" in refused.stderr) == (3, True), refused
        pid = server.daemons["transceiverd"].pid
        server.daemons["transceiverd"].send_signal(signal.SIGTERM)
        server.daemons["transceiverd"].send_signal(signal.SIGTERM)
        assert _step_all(callers, lambda: _ended(server), 20), f"transceiverd {pid} did not end"


def test_orders_by_a_bad_file_reach_its_own_daemons_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never those of the default directory: a typo in a file for trying would have drained the installed server."""
    with running() as server:
        monkeypatch.setattr(ordering, "default_runtime_directory", lambda: server.directory)
        bad = tmp_path / "bad.toml"

        def drained(text: str) -> int:
            bad.write_text(text)
            return relayd.relayctl.main(["--config", str(bad), "drain", "--deadline", "60"])

        assert drained("[relay\n") == 2
        assert drained("[relay]\nprot = 1\n") == 2
        assert drained(f'prot = 1\n[ringline]\nruntime_directory = "{tmp_path}"\n') == 1
        with _calls(server, 1):  # it still takes them
            assert drained(f'prot = 1\n[ringline]\nruntime_directory = "{server.directory}"\n') == 0
