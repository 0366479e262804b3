"""Starts the real daemons for a test, on free loopback ports, in a runtime directory of their own; stops them by pid.

Used by the tests that place real calls. What a test asserts comes from outside: HTTP, relayctl, /proc, the wire.
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from relayd.status import Status

READY_SECONDS = 30.0
STOP_SECONDS = 15.0


def free_port(kind: int) -> int:
    """A port that nobody has just now, and none of the range that connections take theirs from: who polls a port in
    there that is not listened on yet may be connected to itself."""
    for _ in range(1000):
        port = random.randrange(10_000, 32_000)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            return port
    raise AssertionError("no free port")


def wait_for(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Poll until `condition()` is true; fail saying `what` was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


@dataclass
class Server:
    """Both daemons."""

    workers: int = 1
    transceivers: int = 1
    slots: int = 1024
    bind4: str = "127.0.0.1"
    advertise: str = "127.0.0.1"
    extra: str = ""
    relay: str = ""
    """More lines for `[relay]`."""
    transceiver: str = ""
    """More lines for `[transceiver]`."""
    python: tuple[str, ...] = ()
    """Instead of `-m transceiverd.main`: how to start transceiverd, for tests that instrument it."""
    launchers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Likewise by daemon, at each start."""
    environment: dict[str, str] = field(default_factory=dict)
    """On top of this process's, for both daemons."""
    log_to: str = ""
    """Instead of the file in the directory."""
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ringline-test-")))
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.udp_port = free_port(socket.SOCK_DGRAM)
        self.http_port = free_port(socket.SOCK_STREAM)
        self.operator_port = free_port(socket.SOCK_STREAM)
        self.config = self.directory / "ringline.toml"
        self.log = Path(self.log_to or self.directory / "log")
        self.config.write_text(
            f'[ringline]\nruntime_directory = "{self.directory}"\n'
            f'[relay]\nport = {self.udp_port}\nworkers = {self.workers}\nbind4 = "{self.bind4}"\nbind6 = "::1"\n'
            f"{self.relay}\n"
            f'[transceiver]\ncount = {self.transceivers}\nadvertise = ["{self.advertise}"]\nslots = {self.slots}\n'
            f"{self.transceiver}\n"
            f"[signalling]\nport = {self.http_port}\n[operator]\nport = {self.operator_port}\n{self.extra}"
        )

    @property
    def url(self) -> str:
        """Of the public listener."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def calls_url(self) -> str:
        """Where offers go."""
        return f"{self.url}/v1/realtime/calls"

    def start(self, name: str) -> None:
        """Start `relayd` or `transceiverd`."""
        usual = self.python if name == "transceiverd" and self.python else ("-m", f"{name}.main")
        launch = self.launchers.get(name, usual)
        with self.log.open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [sys.executable, *launch, "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        """End a daemon; gives its exit status."""
        daemon = self.daemons.pop(name)
        daemon.send_signal(number)
        try:
            return daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
            raise AssertionError(f"{name} did not stop; its log:\n{self.logged()}") from None

    def logged(self) -> str:
        """What both daemons have said."""
        return self.log.read_text() if self.log.is_file() else ""

    def await_ready(self) -> None:
        """Until a call made now would succeed."""
        wait_for(self.ready, f"/readyz; the log:\n{self.logged()}", READY_SECONDS)
        # The first transceiver makes the server ready; tests count on all of them.
        everywhere = self.transceivers * self.slots
        wait_for(lambda: self.slots_free() + len(self.sessions()) >= everywhere, "every transceiver takes calls")

    def ready(self) -> bool:
        """What /readyz says."""
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            urllib.request.urlopen(f"{self.url}/readyz", timeout=2),
        ):
            return True
        return False

    def operator(self, path: str) -> str:
        """GET from the operator's listener."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.operator_port}{path}", timeout=5) as reply:
            text: str = reply.read().decode()
            return text

    def slots_free(self) -> int:
        """Calls that would still be taken, over all transceivers."""
        lines = self.operator("/metrics").splitlines()
        return sum(int(float(line.split()[1])) for line in lines if line.startswith("ringline_slots_free{"))

    def sessions(self) -> list[dict[str, object]]:
        """All live calls."""
        found: list[dict[str, object]] = json.loads(self.operator("/v1/sessions"))["sessions"]
        return found

    def status(self) -> Status:
        """`relayctl status --json`."""
        done = subprocess.run(
            [sys.executable, "-m", "relayd.relayctl", "--config", str(self.config), "status", "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return msgspec.json.decode(done.stdout, type=Status)

    def pids(self, name: str) -> dict[str, int]:
        """The children of a daemon by the name they gave themselves."""
        parent = self.daemons[name].pid
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    stat = (entry / "stat").read_text()
                    if int(stat.rpartition(")")[2].split()[1]) == parent:
                        found[stat[stat.index("(") + 1 : stat.rindex(")")]] = int(entry.name)
        return found

    def close(self) -> None:
        """End whatever runs; nothing is left behind."""
        for daemon in self.daemons.values():
            if daemon.poll() is None:
                daemon.terminate()
        for daemon in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_SECONDS)
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()
        if os.environ.get("RINGLINE_KEEP_LOG"):
            sys.stderr.write(self.logged())
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def running(**options: object) -> Iterator[Server]:
    """Both daemons, ready for calls; stopped afterwards."""
    server = Server(**options)  # type: ignore[arg-type]
    try:
        server.start("relayd")
        server.start("transceiverd")
        server.await_ready()
        yield server
    finally:
        server.close()
