"""One daemon of a kind a runtime directory: the lock names its holder and outlives it with its children."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shm.daemon.lock import (
    LockHeld,
    RuntimeDirectoryRefused,
    RuntimeLock,
    prepare_runtime_directory,
    process_start_time,
)

HOLDER = """
import os, sys, time
from pathlib import Path
from shm.daemon.lock import RuntimeLock
lock = RuntimeLock(Path(sys.argv[1]), "relayd.lock")
if sys.argv[2] == "with a child" and os.fork() == 0:
    os.write(1, f"{os.getpid()}\\n".encode())
    time.sleep(60)
os.write(1, b"held\\n")
time.sleep(60)
"""


def start_holder(directory: Path, kind: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(directory), kind], stdout=subprocess.PIPE, text=True)


def test_lock_second_holder_is_told_the_first_ones_pid(tmp_path: Path) -> None:
    lock = RuntimeLock(tmp_path, "relayd.lock")
    with pytest.raises(LockHeld) as caught:
        RuntimeLock(tmp_path, "relayd.lock", patience_seconds=0)
    assert caught.value.pid == os.getpid()
    assert str(os.getpid()) in str(caught.value)
    assert str(tmp_path / "relayd.lock") in str(caught.value)
    lock.release()
    RuntimeLock(tmp_path, "relayd.lock", patience_seconds=0).release()


def test_lock_of_a_dead_holder_without_children_is_free(tmp_path: Path) -> None:
    with start_holder(tmp_path, "alone") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
    RuntimeLock(tmp_path, "relayd.lock", patience_seconds=0).release()


def test_lock_stays_taken_while_a_child_of_the_dead_holder_lives(tmp_path: Path) -> None:
    with start_holder(tmp_path, "with a child") as holder:
        assert holder.stdout is not None
        words = {holder.stdout.readline().strip() for _ in range(2)}
        child = int((words - {"held"}).pop())
        holder.kill()
        holder.wait()
        with pytest.raises(LockHeld) as caught:
            RuntimeLock(tmp_path, "relayd.lock", patience_seconds=0)
        assert caught.value.pid is None  # the one who signed it is gone
        os.kill(child, signal.SIGKILL)
        RuntimeLock(tmp_path, "relayd.lock").release()  # waits for the kernel to finish with the child


def test_lock_start_time_tells_processes_apart() -> None:
    assert process_start_time(os.getpid()) is not None
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
        assert process_start_time(ended.pid) is None


def test_lock_directory_is_made_private(tmp_path: Path) -> None:
    directory = tmp_path / "run" / "ringline"
    prepare_runtime_directory(directory)
    prepare_runtime_directory(directory)
    assert directory.stat().st_mode & 0o7777 == 0o750


@pytest.mark.parametrize("kind", ["writable by all", "a link", "a file", "below a file"])
def test_lock_directory_that_others_could_swap_is_refused(tmp_path: Path, kind: str) -> None:
    directory = tmp_path / "run"
    if kind == "writable by all":
        directory.mkdir()
        directory.chmod(0o777)
    elif kind == "a link":
        (tmp_path / "elsewhere").mkdir()
        directory.symlink_to(tmp_path / "elsewhere")
    else:
        directory.write_text("")
        directory = directory / "under" if kind == "below a file" else directory
    with pytest.raises(RuntimeDirectoryRefused, match=str(directory)):
        prepare_runtime_directory(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_lock_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    with pytest.raises(RuntimeDirectoryRefused, match="uid 4711"):
        prepare_runtime_directory(tmp_path)


def test_lock_file_in_the_directory_s_place_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeDirectoryRefused, match="file is not a directory"):
        prepare_runtime_directory(tmp_path / "file")
