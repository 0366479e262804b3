"""The daemons' everyday life: pauses, stopped processes, few slots, wrong configurations, a proper goodbye."""

import concurrent.futures
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.daemons import Server, running, wait_for
from tests.udp_caller import UdpCaller, udp_socket

RTCP_BYE = 203


def _heard_bye(caller: UdpCaller) -> bool:
    """Whether any compound of the server's held a BYE."""
    for report in caller.client.reports:
        at = 0
        while at + 4 <= len(report):
            if report[at + 1] == RTCP_BYE:
                return True
            at += 4 + 4 * int.from_bytes(report[at + 2 : at + 4], "big")
    return False


def _everybody(server: Server) -> list[int]:
    return [pid for name, daemon in server.daemons.items() for pid in (daemon.pid, *server.pids(name).values())]


def test_life_hang_up_and_stop_say_bye_and_close_notify_to_every_caller() -> None:
    with running(workers=2) as server:
        callers = [UdpCaller(server.calls_url, seed=seed) for seed in range(8)]
        for caller in callers:
            caller.connect()
        for caller in callers[:4]:
            urllib.request.urlopen(f"{server.url}{caller.location}/hangup", b"", timeout=5).close()
        server.daemons["transceiverd"].terminate()
        for caller in callers:
            with caller:
                assert caller.run(lambda c=caller: c.client.closed and _heard_bye(c), 5), caller.client.closed


def test_life_pause_of_everything_ends_no_call() -> None:
    with running() as server, UdpCaller(server.calls_url) as caller:
        caller.connect()
        everybody = _everybody(server)
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4.5)  # longer than stuck_after_ms: what a frozen container or virtual machine looks like
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        heard = len(caller.client.heard)
        assert caller.run(lambda: len(caller.client.heard) > heard + 20, 5)
        time.sleep(1)
        assert [session["call_id"] for session in server.sessions()] == [caller.call_id]


@pytest.mark.parametrize(("name", "survives"), [("signalling", True), ("transceiver0", False)])
def test_life_stopped_process_is_found_and_replaced(name: str, survives: bool) -> None:
    with running() as server, UdpCaller(server.calls_url) as caller:
        caller.connect()
        stopped = server.pids("transceiverd")[name]
        os.kill(stopped, signal.SIGSTOP)
        wait_for(lambda: server.pids("transceiverd").get(name) not in (None, stopped), f"{name} is replaced", 10)
        server.await_ready()
        heard = len(caller.client.heard)
        assert bool(caller.run(lambda: len(caller.client.heard) > heard + 20, 2)) == survives
        with UdpCaller(server.calls_url, seed=2) as again:
            again.connect()


def test_life_burst_fills_every_slot_and_the_rest_is_told_when_to_come_again() -> None:
    def place(server: Server, end: socket.socket) -> tuple[int, str]:
        try:
            UdpCaller(server.calls_url, end)
        except urllib.error.HTTPError as error:
            with error:
                return error.code if error.headers["Retry-After"] else 0, error.read().decode()
        return 201, ""

    with running(transceivers=2, slots=2) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
        ends = [udp_socket() for _ in range(8)]
        answers = list(pool.map(lambda end: place(server, end), ends))
        for end in ends:
            end.close()
    codes = sorted(code for code, _ in answers)
    assert codes[:4] == [201] * 4, answers
    assert set(codes[4:]) <= {429, 503}, answers


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("[transceiver]\ncontrol_ring_bytes = 100000\n", "power"),
        ('[transceiver]\nadvertise = ["nonsense"]\n', "nonsense"),
        ("[transceiver]\nslotz = 3\n", "slots"),
        ('[signalling]\nlisten = "0.0.0.0"\n', "auth"),
    ],
)
def test_life_configuration_that_cannot_work_is_refused_with_the_reason(tmp_path: Path, lines: str, told: str) -> None:
    path = tmp_path / "ringline.toml"
    path.write_text(lines)
    done = subprocess.run([sys.executable, "-m", "transceiverd.main", "--check-config", "--config", str(path)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 78
    assert str(path) in done.stderr
    assert told in done.stderr
