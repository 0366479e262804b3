"""CPU time and memory of the server's processes and of ourselves, by process.

Used by a load run and by `bench/`. The server's processes are found through relayd's control socket, or named by pid.
CPU time comes from psutil, summed over threads; memory is PSS (shared pages shared out), which may be added up: heap,
stacks and shared memory.
"""

import contextlib
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]

from shm import attach
from shm.segment import SUPPORTED_MAJORS

RELAY_SOCKET = "relayd.sock"  # in the runtime directory
ANSWER_SECONDS = 5.0


class Usage(NamedTuple):
    """CPU seconds since a process began, and its memory in bytes."""

    user: float
    system: float
    pss: int = 0

    @property
    def cpu(self) -> float:
        """Both kinds together."""
        return self.user + self.system

    def since(self, before: "Usage") -> "Usage":
        """What was used between; the memory is that of now."""
        return Usage(self.user - before.user, self.system - before.system, self.pss)


Sample = dict[str, Usage]


class ProcessMeter:
    """Samples the processes it was given. One that ends drops out of later samples."""

    def __init__(self, pids: Iterable[int], *, own: bool = True) -> None:
        """`own`: also this process, as `load`."""
        self._processes: dict[str, psutil.Process] = {}
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                self._add(psutil.Process(pid))
        if own:
            self._processes["load"] = psutil.Process()

    def _add(self, process: psutil.Process) -> None:
        name = process.name()
        if name.startswith("python"):
            command = process.cmdline()
            name = next((word.removesuffix(".main") for word in command[1:] if not word.startswith("-")), name)
            name = os.path.basename(name)
        self._processes[name if name not in self._processes else f"{name} {process.pid}"] = process

    @property
    def names(self) -> list[str]:
        """Of the processes."""
        return list(self._processes)

    def sample(self, *, memory: bool = False) -> Sample:
        """Now. `memory` costs a walk over every page of every process."""
        found = {}
        for name, process in self._processes.items():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess, OSError):
                times = process.cpu_times()
                found[name] = Usage(times.user, times.system, pss_of(process.pid) if memory else 0)
        return found


def between(before: Sample, after: Sample) -> Sample:
    """What each process used between two samples."""
    return {name: usage.since(before[name]) for name, usage in after.items() if name in before}


def server_cpu(sample: Sample) -> float:
    """CPU seconds of all processes but ours."""
    return sum(usage.cpu for name, usage in sample.items() if name != "load")


def pss_of(pid: int) -> int:
    """Proportional set size in bytes, without file pages; OSError when the kernel does not let us look.

    Pages of programs and libraries are left out because their share depends on who else runs them just now.
    """
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def find_server(runtime_directory: Path) -> list[int]:
    """The pids of relayd, its workers, the attached transceiverd and its children; none when no relayd answers."""
    status = relay_status(runtime_directory)
    if status is None:
        return []
    found = [status["pid"], *(worker["pid"] for worker in status["workers"] if worker["pid"])]
    if status["transceiverd"]:
        found += with_children(status["transceiverd"]["pid"])
    return found


def with_children(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def kernel_drops(runtime_directory: Path) -> int | None:
    """Packets that the server's sockets had no room for; None when no relayd answers."""
    status = relay_status(runtime_directory)
    if status is None:
        return None
    beside = [worker["beside"] for worker in status["workers"]]
    names = ("kernel_dropped_v4", "kernel_dropped_v6")
    return sum(int(counters.get(name, 0)) for counters in beside for name in names)


def relay_status(runtime_directory: Path) -> dict[str, Any] | None:
    """What relayd tells an operator; None when none answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        end.settimeout(ANSWER_SECONDS)
        try:
            end.connect(str(runtime_directory / RELAY_SOCKET))
            attach.send(end, attach.Hello("operator", list(SUPPORTED_MAJORS), os.getpid()))
            _answer(end)
            attach.send(end, attach.StatusRequest())
            reply = _answer(end)
        except (OSError, EOFError, attach.MalformedMessage):
            return None
    return dict(reply.status) if isinstance(reply, attach.StatusReply) else None


def _answer(end: socket.socket) -> attach.AnyMessage:
    message, descriptors = attach.receive(end)
    attach.close_all(descriptors)
    return message
