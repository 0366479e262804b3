"""The contenders: each a process pinned to one CPU that sends every datagram back, and can be stopped and continued."""

import ctypes
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from bench.forward.build import load_extension
from shm.flowkey import TRANSPORT_UDP, FlowKey
from tests.relayd.rig import PUBLISH, Call, Rig, until

CLIENT_NETWORK4, CLIENT_NETWORK6 = 0x7F400001, IPv6Address("fd00:6c6f:6164::1")  # the first client, as in blast.c
RING_BYTES = 1 << 21
RECEIVE_BUFFER = 8 << 20
SO_RCVBUFFORCE = 33
READY_SECONDS = 10
FILL = 4_000  # datagrams that a receive buffer of 8 MiB has room for


class Contender:
    """One that runs. `judged` is the pid whose CPU is compared, `beside` those whose CPU is told."""

    def __init__(
        self, name: str, port: int, judged: int, beside: dict[str, int], end: Callable[[], None], fill: int = FILL
    ) -> None:
        self.name = name
        self.port = port
        self.judged = judged
        self.beside = beside
        self.end = end
        self.fill = fill
        """Datagrams that its sockets have room for while it is stopped."""

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


def sleeps(pid: int) -> int:
    """How often its threads have waited for something so far (proc(5): voluntary context switches)."""
    lines = [
        line for task in Path(f"/proc/{pid}/task").iterdir() for line in (task / "status").read_text().splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def pinned(command: list[str], cpu: int) -> list[str]:
    """On one CPU from the start (util-linux)."""
    return ["taskset", "-c", str(cpu), *command]


def start_program(name: str, command: list[str], port: int, cpu: int) -> Contender:
    """A program that says `ready`."""
    process = subprocess.Popen(pinned(command, cpu), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], READY_SECONDS)[0] or process.stdout.readline().strip() != "ready":
        raise SystemExit(f"{name} does not start")

    return Contender(name, port, process.pid, {}, lambda: kill(process))


def kill(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    """End a child of ours, stopped or not."""
    process.kill()
    process.wait()
    for end in (process.stdin, process.stdout):
        if end is not None:
            end.close()


def start_worker(turner: Path, blaster: "Blaster", client_port: int, cpu: int, other_cpu: int) -> Contender:
    """Our worker with the minimal turner behind it, each a process; flows of all clients are published."""
    clients = blaster.clients
    rig = Rig(ring_bytes=RING_BYTES, flows=4 * clients)
    for one in rig.sockets:
        one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    end = rig.ends[0]
    local = ip_address("127.0.0.1" if blaster.version == 4 else "::1")
    for client in range(clients):
        key = FlowKey(TRANSPORT_UDP, ip_address(blaster.address(client)), client_port, local, rig.port)
        assert end.ask(PUBLISH, Call(0, client, 1), key.pack(), state=2), "the control ring is too small"
    module = load_extension(turner)
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


class Blaster:
    """The clients: blast.c, told what to do a line at a time. `version` is that of IP."""

    def __init__(self, program: Path, version: int, clients: int, size: int, cpu: int) -> None:
        self.version = version
        self.clients = clients
        self.size = size
        self._program = program
        self._cpu = cpu

    def aim(self, port: int, prefix: bytes = b"") -> "Aimed":
        """Clients of one contender."""
        numbers = (self.version, port, self.clients, self.size)
        return Aimed([str(self._program), *map(str, numbers), *([prefix.hex()] if prefix else [])], self._cpu)

    def address(self, client: int) -> str:
        """Of one client, as in blast.c."""
        return str(IPv4Address(CLIENT_NETWORK4 + client) if self.version == 4 else CLIENT_NETWORK6 + client)


class Aimed:
    """Running clients. `port` is their own."""

    def __init__(self, command: list[str], cpu: int) -> None:
        self._process = subprocess.Popen(pinned(command, cpu), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split()[1])

    def ask(self, command: str) -> list[int]:
        """One command; gives its numbers."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()
        return [int(word) for word in self._process.stdout.readline().split()[1:]]

    def close(self) -> None:
        """End them."""
        kill(self._process)
