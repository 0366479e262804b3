"""CPU time and memory of the server's processes and of ourselves, by process.

Used by a load run and by `bench/`. The server's processes are found through relayd's control socket or the port of
its URL, or named by pid.
CPU time comes from psutil, summed over threads; memory is PSS (shared pages shared out), which may be added up: heap,
stacks and shared memory.
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil  # type: ignore[import-untyped]

from shm import attach
from shm.segment import SUPPORTED_MAJORS

RELAY_SOCKET = "relayd.sock"  # in the runtime directory
ANSWER_SECONDS = 5.0
OUR_PROGRAMS = ("transceiverd", "relayctl")
OWN = "load"  # what this process is called


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
            self._processes[OWN] = psutil.Process()

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
    return sum(usage.cpu for name, usage in sample.items() if name != OWN)


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


def find_listeners(port: int) -> list[int]:
    """The pids of whoever listens on this TCP port of this machine, with what runs beside and below: a server of any
    kind. Ours hands its listening sockets down from transceiverd, which `relayctl run` may have started with relayd."""
    holders = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port and one.pid
    }
    found = {child for pid in holders for child in with_children(_top(psutil.Process(pid)))}
    return sorted(found - {os.getpid()})


def _top(process: psutil.Process) -> int:
    """The highest ancestor that is a program of ours, the process itself when it is none."""
    with contextlib.suppress(psutil.Error):
        parent = process.parent()
        if parent is not None and parent.pid != os.getpid() and any(name in _program(parent) for name in OUR_PROGRAMS):
            return _top(parent)
    return int(process.pid)


def _program(process: psutil.Process) -> str:
    return " ".join([process.name(), *process.cmdline()[:3]])


def socket_drops(pids: Iterable[int]) -> int | None:
    """Packets for which the UDP sockets of these processes had no room (proc(5): /proc/net/udp); None without any.

    What sockets counted that are closed by now is gone, so for a server with a socket a call it is a lower bound.
    """
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    found = None
    for table in ("udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[9] in inodes:
                    found = (found or 0) + int(words[-1])
    return found


def _sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(descriptor.path)
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]


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
