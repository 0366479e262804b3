"""relayd as its own process, on a free port, in a runtime directory of its own; for tests of what others see of it."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from relayd.relay_client import NoRelay, RelayClient
from relayd.status import Status, WorkerStatus
from shm.daemon.lock import process_start_time

# Only turns a hang into a failure; every wait ends with its condition.
DEADLINE_SECONDS = 10.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll until it holds."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.002)


def is_alive(pid: int) -> bool:
    """A zombie is dead."""
    return process_start_time(pid) is not None


def wait_for_end(pid: int) -> None:
    """Of a process that need not be our child."""
    wait_until(lambda: not is_alive(pid), f"the end of process {pid}")


class RelayProcess:
    """A running relayd; `with` stops it and asserts that it left nothing behind."""

    def __init__(self, directory: Path, **options: object) -> None:
        self.directory = directory
        self.config = directory / "ringline.toml"
        self.log = directory / "log"
        self.options: dict[str, object] = {
            "port": 0,
            "workers": 2,
            "restart_burst": 1000,
            "receive_buffer_bytes": 212992,
            **options,
        }
        self.client = RelayClient(directory)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, and wait until its workers turn."""
        self.launch()
        wait_until(self._turns, f"relayd to serve; its log: {self.text()}")
        return self

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start it without waiting."""
        self.write_config()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "relayd.main", "--config", self.config], stderr=log)
        return self.process

    def write_config(self) -> None:
        """As the options are now."""
        values = "\n".join(f"{key} = {_toml(value)}" for key, value in self.options.items())
        self.config.write_text(f'[ringline]\nruntime_directory = "{self.directory}"\n[relay]\n{values}\n')

    def _turns(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"relayd ended: {self.text()}"
        with contextlib.suppress(NoRelay):
            return all(worker.heartbeat_age_ms is not None for worker in self.status().workers)
        return False

    def status(self) -> Status:
        """As relayctl gets it."""
        return self.client.status()

    def worker(self, index: int) -> WorkerStatus:
        """One worker's part of it."""
        return self.status().workers[index]

    def worker_pid(self, index: int) -> int:
        """The process that is this worker now."""
        pid = self.worker(index).pid
        assert pid is not None
        return pid

    def text(self) -> str:
        """The log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def kill(self) -> None:
        """As a power cut would, for this one process."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.client.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end, by a signal; gives the exit status."""
        assert self.process is not None
        self.client.close()
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            self.client.close()
            return
        assert self.stop() == 0
        if error is None:
            assert not (self.directory / "relayd.sock").exists()


class EndWatch:
    """Sees the end of a process by a pidfd, as its supervisor does."""

    def __init__(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)

    def wait(self) -> int:
        """CLOCK_MONOTONIC ns at which the end was seen."""
        readable, _, _ = select.select([self._fd], [], [], DEADLINE_SECONDS)
        seen_ns = time.monotonic_ns()
        os.close(self._fd)
        assert readable, "the process does not end"
        return seen_ns


def _toml(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
