"""Workers outlive their supervisor where systemd keeps their lease; a socket of the test's stands for systemd.

The story: `systemctl restart relayd`, and kill -9 of the supervisor, under calls. Nobody shall hear it.
"""

import array
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.relayd.fake_transceiverd import Caller, FakeTransceiverd
from tests.relayd.relay_process import RelayProcess, is_alive, wait_for_end, wait_until

# What systemd sets in the process that it passes descriptors to.
AS_SYSTEMD = """
import os, runpy, sys
os.environ["LISTEN_PID"] = str(os.getpid())
for place, fd in enumerate(eval(sys.argv.pop(1))):
    os.dup2(fd, 3 + place)
    os.close(fd)
sys.argv[0] = "relayd"
runpy.run_module("relayd.main", run_name="__main__")
"""
# Beyond those that are passed, so that none is overwritten while they take their places.
FIRST_KEPT = 200


class Manager:
    """The descriptor store of a service."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: list[tuple[str, int]] = []
        self._ends = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def names(self) -> list[str]:
        """What is kept now."""
        return [name for name, _ in self.kept]

    def empty(self) -> None:
        """As systemd does after a stop."""
        while self.kept:
            os.close(self.kept.pop()[1])

    def close(self) -> None:
        """Nothing is kept, nothing is listened to."""
        self._ends = True
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.path))
        self._thread.join()
        self._socket.close()
        self.empty()

    def _serve(self) -> None:
        while not self._ends:
            data, rights, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(64))
            fds = array.array("i")
            for _, _, content in rights:
                fds.frombytes(content)
            lines = dict(line.partition("=")[::2] for line in data.decode().split("\n"))
            if "FDSTORE" in lines:
                known = any(os.path.sameopenfile(fd, fds[0]) for _, fd in self.kept)
                if not known:
                    place = FIRST_KEPT + 2 * len(self.kept)
                    self.kept.append((lines["FDNAME"], os.dup2(fds[0], _free_from(place), inheritable=False)))
            elif "FDSTOREREMOVE" in lines:
                for name, fd in [kept for kept in self.kept if kept[0] == lines["FDNAME"]]:
                    self.kept.remove((name, fd))
                    os.close(fd)
            for fd in fds:
                os.close(fd)


def _free_from(fd: int) -> int:
    while os.path.exists(f"/proc/self/fd/{fd}"):
        fd += 1
    return fd


class Service(RelayProcess):
    """relayd as a service of that manager."""

    def __init__(self, directory: Path, manager: Manager, **options: object) -> None:
        super().__init__(directory, **options)
        self.manager = manager

    def launch(self) -> "subprocess.Popen[bytes]":
        """With what is kept for it."""
        self.write_config()
        fds, names = [fd for _, fd in self.manager.kept], self.manager.names
        variables = {"NOTIFY_SOCKET": str(self.manager.path), "LISTEN_FDS": str(len(fds)),
                     "LISTEN_FDNAMES": ":".join(names)}  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", AS_SYSTEMD, repr(fds), "--config", self.config],
                stderr=log,
                pass_fds=fds,
                env={**os.environ, **variables},
            )
        return self.process

    def workers(self) -> list[int]:
        """Their pids, as soon as all run."""
        wait_until(lambda: all(worker.pid for worker in self.status().workers), "all workers run")
        return [self.worker_pid(worker.worker) for worker in self.status().workers]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Not started."""
    manager = Manager(tmp_path / "notify")
    made = Service(tmp_path, manager)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.kill()
    made.client.close()
    manager.close()  # and with the lease the workers end


@contextlib.contextmanager
def talking(fake: FakeTransceiverd, port: int) -> Iterator[Caller]:
    """A call through the workers to `fake` and back."""
    caller = Caller(port, slot=3)
    try:
        caller.check(fake.ufrag(caller.slot))
        caller.speak()
        caller.hear(1)
        yield caller
    finally:
        caller.close()


def say_and_hear(caller: Caller, packets: int = 10) -> None:
    """None of them is lost."""
    for _ in range(packets):
        caller.speak()
    caller.hear(caller.sent)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_lease_workers_go_on_until_the_successor_is_ready(tmp_path: Path, service: Service, number: int) -> None:
    relay = service.start()
    with FakeTransceiverd(tmp_path) as fake:
        old, port = relay.workers(), relay.status().port
        wait_until(lambda: "lease" in relay.manager.names, "the lease is kept")
        with talking(fake, port) as caller:
            relay.stop(number)
            say_and_hear(caller)  # nobody supervises
            relay.start()
            assert "go on until ours are ready" in relay.text()
            say_and_hear(caller)
            assert all(is_alive(pid) for pid in old)
            fake.attach_again()
            wait_until(lambda: not any(is_alive(pid) for pid in old), "the old ones have left")
            say_and_hear(caller)
            assert not set(relay.workers()) & set(old)
            assert relay.status().port == port
            assert relay.status().packets().adds_up
    end(relay)


def end(relay: Service) -> None:
    """As `systemctl stop`: nothing is left."""
    pids, port = relay.workers(), relay.status().port
    assert relay.stop() == 0
    relay.manager.empty()
    for pid in pids:
        wait_for_end(pid)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", port))


def test_lease_stopped_worker_is_killed_by_who_leaves_and_by_who_comes(service: Service) -> None:
    """It would never hear that a successor is ready."""
    relay = service.start()
    wait_until(lambda: "lease" in relay.manager.names, "the lease is kept")
    first, second = relay.workers()
    os.kill(first, signal.SIGSTOP)
    assert relay.stop() == 0
    assert not is_alive(first)
    assert is_alive(second)
    os.kill(second, signal.SIGSTOP)
    relay.start()
    wait_until(lambda: not is_alive(second), "it is killed when the time for transceiverd is over")
    assert f"process {second}, did not leave; killed" in relay.text()
    end(relay)


@pytest.mark.parametrize(
    "change", [{"workers": 3}, pytest.param({"flow_table_entries": 8192}, marks=pytest.mark.system)]
)
def test_lease_ends_first_when_what_they_hold_does_not_fit(service: Service, change: dict[str, int]) -> None:
    """A port can only be bound anew when they have left it; and flows that are published to them would be lost."""
    relay = service.start()
    wait_until(lambda: "lease" in relay.manager.names, "the lease is kept")
    old, port = relay.workers(), relay.status().port
    assert relay.stop() == 0
    assert all(is_alive(pid) for pid in old)
    relay.options.update(change, port=port)
    relay.start()
    assert not any(is_alive(pid) for pid in old)
    assert relay.status().port == port
    end(relay)


def test_lease_nobody_keeps_it_and_workers_end_with_their_supervisor(service: Service) -> None:
    """A manager that has no store for us, as with FileDescriptorStoreMax=0."""
    relay = service.start()
    wait_until(lambda: "lease" in relay.manager.names, "the lease is sent")
    pids = relay.workers()
    relay.manager.empty()
    relay.stop(signal.SIGKILL)
    for pid in pids:
        wait_for_end(pid)
