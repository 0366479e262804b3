"""The contenders: each a process pinned to one CPU that sends every datagram back, and can be stopped and continued."""

import ctypes
import importlib.util
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType

from shm.flowkey import TRANSPORT_UDP, FlowKey
from tests.relayd.rig import PUBLISH, Call, Rig, until

CLIENT_NETWORK = 0x7F400000  # as in blast.c
RING_BYTES = 1 << 21
RECEIVE_BUFFER = 8 << 20
SO_RCVBUFFORCE = 33
READY_SECONDS = 10


class Contender:
    """One that runs. `judged` is the pid whose CPU is compared, `beside` those whose CPU is told."""

    def __init__(self, name: str, port: int, judged: int, beside: dict[str, int], end: Callable[[], None]) -> None:
        self.name = name
        self.port = port
        self.judged = judged
        self.beside = beside
        self.end = end

    def pause(self) -> None:
        """Let datagrams wait in its socket."""
        os.kill(self.judged, signal.SIGSTOP)

    def go_on(self) -> None:
        """Handle what waits."""
        os.kill(self.judged, signal.SIGCONT)


def cpu_ns(pid: int) -> int:
    """Exact run time of all threads, user and system."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def pinned(command: list[str], cpu: int) -> list[str]:
    """On one CPU from the start (util-linux)."""
    return ["taskset", "-c", str(cpu), *command]


def start_program(name: str, command: list[str], port: int, cpu: int) -> Contender:
    """A program that says `ready`."""
    process = subprocess.Popen(pinned(command, cpu), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], READY_SECONDS)[0] or process.stdout.readline().strip() != "ready":
        raise SystemExit(f"{name} does not start")

    def end() -> None:
        process.kill()
        process.wait()

    return Contender(name, port, process.pid, {}, end)


def start_worker(turner: Path, client_port: int, clients: int, cpu: int, other_cpu: int) -> Contender:
    """Our worker with the minimal turner behind it, each a process; flows of all clients are published."""
    rig = Rig(ring_bytes=RING_BYTES, flows=4 * clients)
    for one in rig.sockets:
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    end = rig.ends[0]
    local = ip_address("127.0.0.1")
    for client in range(clients):
        key = FlowKey(TRANSPORT_UDP, ip_address(CLIENT_NETWORK + 1 + client), client_port, local, rig.port)
        assert end.ask(PUBLISH, Call(0, client, 1), key.pack(), state=2), "the control ring is too small"
    module = _load(turner)
    worker = _fork(lambda: rig.make_worker().run(rig.control), cpu)
    turning = _fork(lambda: module.run(end.lane), other_cpu)
    until(lambda: rig.count("publish_applied") == clients, "all flows are published")

    def finish() -> None:
        for pid in (worker, turning):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        rig.close()

    return Contender("ringline worker", rig.port, worker, {"turner": turning}, finish)


def _fork(work: Callable[[], object], cpu: int) -> int:
    """A child that dies with us."""
    pid = os.fork()
    if pid == 0:
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            os.sched_setaffinity(0, {cpu})
            work()
        finally:
            os._exit(1)
    return pid


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("turner", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Blaster:
    """The clients: blast.c, told what to do a line at a time."""

    def __init__(self, program: Path, clients: int, size: int, cpu: int) -> None:
        self._command = [str(program), "{port}", str(clients), str(size)]
        self._cpu = cpu

    def aim(self, port: int) -> "Aimed":
        """Clients of one contender."""
        command = [word.format(port=port) for word in self._command]
        return Aimed(command, self._cpu)


class Aimed:
    """Running clients. `port` is their own."""

    def __init__(self, command: list[str], cpu: int) -> None:
        self._process = subprocess.Popen(pinned(command, cpu), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split()[1])

    def ask(self, command: str) -> int:
        """One command; gives its number."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline().split()[1])

    def close(self) -> None:
        """End them."""
        self._process.kill()
        self._process.wait()


__all__ = ["Aimed", "Blaster", "Contender", "cpu_ns", "start_program", "start_worker"]
