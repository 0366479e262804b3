"""What systemd is told to keep, and what comes back from it; a socket of the test's stands for systemd."""

import array
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm.daemon.descriptor_store import DescriptorStore

SUCCESSOR = """
import os
os.environ["LISTEN_PID"] = str(os.getpid())
from shm.daemon.descriptor_store import DescriptorStore
store = DescriptorStore()
fd = store.take("one")
print(sorted(store.names), os.read(fd, 100), store.take("one"), os.get_inheritable(fd), store.discard_rest())
print(sorted(name for name in os.environ if name.startswith("LISTEN")))
"""


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def receive(manager: socket.socket) -> tuple[list[str], list[int]]:
    """A datagram's lines and descriptors."""
    data, rights, _, _ = manager.recvmsg(1000, 100)
    fds = array.array("i")
    for _, _, content in rights:
        fds.frombytes(content)
    return data.decode().split("\n"), list(fds)


def test_descriptor_store_keeps_by_name_whatever_the_kernel_says_of_it(manager: socket.socket) -> None:
    left, right = os.pipe()
    DescriptorStore().keep("udp4.0", left)
    lines, fds = receive(manager)
    assert lines == ["FDSTORE=1", "FDNAME=udp4.0", "FDPOLL=0"]
    assert os.path.sameopenfile(fds[0], left)
    for fd in (left, right, *fds):
        os.close(fd)


def test_descriptor_store_discard_waits_until_it_is_done(manager: socket.socket) -> None:
    """A port is free again when the call returns: systemd has closed the barrier's descriptor, so all before it too."""
    child = os.fork()
    if child == 0:
        DescriptorStore().discard(["udp4.0"])
        os._exit(0)
    assert receive(manager)[0] == ["FDSTOREREMOVE=1", "FDNAME=udp4.0"]
    lines, (barrier,) = receive(manager)
    assert lines == ["BARRIER=1"]
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    os.close(barrier)
    assert os.waitpid(child, 0)[1] == 0


def test_descriptor_store_gives_a_successor_what_was_kept_by_name() -> None:
    ends = [os.pipe(), os.pipe()]
    os.write(ends[0][1], b"waiting")
    # As systemd passes them: 3 and 4, inheritable.
    script = f"import os; os.dup2({ends[0][0]}, 103); os.dup2({ends[1][0]}, 104); os.dup2(103, 3); os.dup2(104, 4);"
    done = subprocess.run(
        [sys.executable, "-c", script + SUCCESSOR],
        pass_fds=[ends[0][0], ends[1][0]],
        env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "one:two"},
        capture_output=True,
        text=True,
        check=False,
    )
    for end in (*ends[0], *ends[1]):
        os.close(end)
    assert done.stdout.splitlines() == ["['one', 'two'] b'waiting' None False ['two']", "[]"], done.stderr


def test_descriptor_store_is_empty_and_silent_outside_of_a_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"):
        monkeypatch.delenv(name, raising=False)
    store = DescriptorStore()
    assert store.take("udp4.0") is None
    store.keep("udp4.0", 0)
    assert store.discard_rest() == []
