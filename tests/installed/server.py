"""Ringline inside a machine, as a caller and an operator see it: HTTP, calls, a load beside what the test does."""

import contextlib
import http.client
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.daemons import wait_for
from tests.installed.machine import Machine

URL = "http://127.0.0.1:8080"
CALLS_URL = f"{URL}/v1/realtime/calls"
OPERATOR_URL = "http://127.0.0.1:9478"
READY_SECONDS = 30.0


def get(machine: Machine, url: str) -> str:
    """What is there, for somebody inside."""
    with machine.network(), urllib.request.urlopen(url, timeout=5) as reply:
        text: str = reply.read().decode()
        return text


def is_ready(machine: Machine) -> bool:
    """Whether a call made now would succeed."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        get(machine, f"{URL}/readyz")
        return True
    return False


def await_ready(machine: Machine) -> None:
    """Until it would."""
    wait_for(lambda: is_ready(machine), "/readyz", READY_SECONDS)


def sessions(machine: Machine) -> list[dict[str, Any]]:
    """All live calls."""
    found: list[dict[str, Any]] = json.loads(get(machine, f"{OPERATOR_URL}/v1/sessions"))["sessions"]
    return found


def hang_up(machine: Machine, call_id: str) -> None:
    """End a call."""
    request = urllib.request.Request(f"{CALLS_URL}/{call_id}/hangup", b"", method="POST")
    with machine.network(), urllib.request.urlopen(request, timeout=5):
        pass


def status(machine: Machine) -> dict[str, Any]:
    """`relayctl status --json` by root inside."""
    found: dict[str, Any] = json.loads(machine.run("relayctl", "status", "--json").stdout)
    return found


@dataclass
class Load:
    """`relayctl load` beside the test; `figures` once it has ended."""

    process: "subprocess.Popen[str]"
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def gap_ms(self) -> float:
        """The longest time that any call heard nothing."""
        return float(self.figures["departure_spacing_ms"]["max"])

    @property
    def lost(self) -> int:
        """Packets that did not come back."""
        return int(self.figures["packets"]["lost"])

    def assert_no_call_lost(self, calls: int) -> None:
        """All came up, none failed, none ended, each heard itself."""
        found = self.figures["calls"]
        assert (found["established"], found["unheard"]) == (calls, 0), found
        assert not found["failed"], found
        assert not found["ended_early"], found


@contextlib.contextmanager
def calls_up(machine: Machine, calls: int, seconds: float, *options: str, rate: int = 50) -> Iterator[Load]:
    """So many calls that talk; the body runs while all are up. Afterwards the figures are there."""
    before = len(sessions(machine))
    words = ("load", "--json", f"--calls={calls}", f"--rate={rate}", f"--seconds={seconds}", *options, URL)
    process = machine.start("relayctl", *words)
    load = Load(process)
    try:
        everywhere = before + calls
        wait_for(lambda: len(sessions(machine)) >= everywhere or process.poll() is not None, "calls are up", 60.0)
        assert process.poll() is None, process.communicate()
        time.sleep(1.0)  # of talking before anything happens
        yield load
        out, errors = process.communicate(timeout=120)
        assert out, errors
        load.figures = json.loads(out)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
