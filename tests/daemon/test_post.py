"""A place that one process after another fills: never two at once, and a dead one is followed by the next."""

import errno
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from shm.daemon import child as module_child
from shm.daemon import post as module
from shm.daemon.child import EXIT_FAULT
from shm.daemon.loop import EventLoop
from shm.daemon.post import Post, end_all
from shm.daemon.restarts import RestartBackoff
from tests.daemon.no_descriptors import descriptors_left
from tests.shm.processes import KILLED, fork, reap

DEADLINE_NS = 10_000_000_000
LEAVE = b"leave"


class House:
    """A loop with one post, whose process answers its first message and leaves at `LEAVE`."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        self.told: list[bytes] = []
        self.seen: list[str] = []
        self.post = self.make(self.live)

    def make(self, live: Callable[[socket.socket], None], burst: int = 100) -> Post[bytes]:
        """A post with hooks that note what happens."""
        return Post(
            "child",
            self.loop,
            live,
            bytes,
            RestartBackoff(burst, DEADLINE_NS),
            before_start=lambda: self.seen.append("before start"),
            on_started=lambda: self.seen.append("started"),
            on_message=self.told.append,
            on_ended=lambda: self.seen.append("ended"),
            on_left=lambda: self.seen.append("left"),
        )

    @staticmethod
    def live(control: socket.socket) -> None:
        control.setblocking(True)
        while (message := control.recv(100)) not in (LEAVE, b""):
            control.send(b"heard " + message)

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Turn the loop until it holds."""
        deadline = time.monotonic_ns() + DEADLINE_NS
        while not condition():
            assert time.monotonic_ns() < deadline
            self.loop.turn(10_000_000)

    def close(self) -> None:
        self.post.retire(LEAVE)
        end_all(self.loop, [self.post], 0)
        self.loop.close()


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.close()


def test_post_process_is_told_and_heard(house: House) -> None:
    house.post.start()
    house.post.send(b"hello")
    house.run_until(lambda: house.told == [b"heard hello"])
    assert house.seen == ["before start", "started"]


def test_post_dead_process_is_reaped_before_its_successor_starts(house: House) -> None:
    house.post.start()
    first = house.post.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    house.run_until(lambda: house.post.pid not in (None, first))
    assert house.seen == ["before start", "started", "ended", "before start", "started"]
    assert house.post.restarts == 1
    assert house.post.last_end == "was killed by SIGKILL"
    assert house.post.last_gap_ns > 0
    with pytest.raises(ChildProcessError):
        os.waitpid(first, os.WNOHANG)
    house.post.send(b"again")
    house.run_until(lambda: house.told == [b"heard again"])


def test_post_fault_of_the_child_ends_the_child_alone(house: House, capfd: pytest.CaptureFixture[str]) -> None:
    def fault(_control: socket.socket) -> None:
        raise SystemExit("nothing of the supervisor may run after this")

    house.post = house.make(fault, burst=0)
    house.post.start()
    house.run_until(lambda: house.post.last_end != "")
    assert house.post.last_end == f"ended with status {EXIT_FAULT}"


def test_post_that_dies_too_often_waits(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.post = house.make(lambda _control: None, burst=2)
    house.post.start()
    house.run_until(lambda: "it dies too often" in caplog.text)
    assert house.post.process is None
    assert house.post.restarts == 2


def test_post_retired_process_has_no_successor(house: House) -> None:
    house.post.start()
    house.post.retire(LEAVE)
    house.run_until(lambda: house.post.process is None)
    assert house.post.last_end == "ended with status 0"
    house.loop.turn(0)
    assert house.post.restarts == 0


def _told_to_terminate(house: House) -> int:
    house.post.start()
    house.post.send(b"hello")
    house.run_until(lambda: house.told == [b"heard hello"])  # what came at its birth is forgotten
    pid = house.post.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    house.run_until(lambda: house.post.process is None)
    assert house.post.last_end == "was killed by SIGTERM"
    return pid


def test_post_process_that_alone_was_told_to_terminate_has_a_successor(house: House) -> None:
    first = _told_to_terminate(house)
    house.run_until(lambda: house.post.pid not in (None, first))
    assert house.seen == ["before start", "started", "ended", "before start", "started"]


@pytest.mark.parametrize("end", [Post.retire, Post.leave])
def test_post_process_that_was_told_to_terminate_with_its_supervisor_has_none(
    house: House, end: Callable[[Post[bytes], bytes], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The story: `pkill` of a daemon, or a signal to its group, had every child replaced and called a crash while the
    daemon stopped."""
    _told_to_terminate(house)
    end(house.post, LEAVE)
    assert house.seen == ["before start", "started", "ended", "left"]
    house.post.leave(LEAVE)
    assert house.seen.count("left") == 1  # its place is given up once
    late = time.monotonic_ns() + 2 * module.TERMINATION_GRACE_NS
    house.run_until(lambda: time.monotonic_ns() > late)
    assert (house.post.process, house.post.restarts, caplog.text) == (None, 0, "")


@pytest.mark.parametrize(("number", "last"), [(signal.SIGTERM, "left"), (signal.SIGKILL, "started")])
def test_post_process_that_dies_while_it_leaves_has_a_successor_unless_it_was_told_to(
    house: House, number: int, last: str
) -> None:
    def live(control: socket.socket) -> None:
        control.setblocking(True)
        control.send(control.recv(100))
        time.sleep(60)

    house.post = house.make(live)
    house.post.start()
    house.post.leave(LEAVE)
    house.run_until(lambda: house.told == [LEAVE])
    assert house.post.pid is not None
    os.kill(house.post.pid, number)
    house.run_until(lambda: house.seen[2:] == ["ended", *(["before start"] if last == "started" else []), last])


def test_post_process_is_a_group_of_its_own(house: House) -> None:
    """A terminal's signals, and `kill -- -PGID`, are the supervisor's to answer."""
    house.post.start()
    house.post.send(b"hello")
    house.run_until(lambda: house.told == [b"heard hello"])
    assert house.post.pid is not None
    assert os.getpgid(house.post.pid) == house.post.pid != os.getpgrp()


def test_post_stuck_process_is_killed_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.post.start()
    first = house.post.pid
    for _ in range(3):
        house.post.kill_stuck("stands still")
    house.run_until(lambda: house.post.pid not in (None, first))
    assert house.post.killed_stuck == 1
    assert caplog.text.count("is stuck: it stands still; killing it") == 1


def test_post_process_that_does_not_read_is_stuck(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES_MAX", 4)
    house.post = house.make(lambda _control: signal.pause())
    house.post.start()
    while not house.post.killed_stuck:
        house.post.send(bytes(10_000))
    house.run_until(lambda: house.post.restarts == 1)


@pytest.mark.parametrize("call", ["fork", "pidfd_open"])
def test_post_machine_without_room_is_asked_again(house: House, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """The story: a child that was forked but could not be watched lived on beside its successor, on the same rings."""
    real = getattr(os, call)
    children: list[int] = []

    def refuse(*arguments: int) -> int:
        children.extend(arguments)
        monkeypatch.setattr(os, call, real)
        raise OSError(errno.EMFILE, "no room")

    monkeypatch.setattr(module, "FORK_RETRY_NS", 1_000_000)
    monkeypatch.setattr(os, call, refuse)
    house.post.start()
    assert house.post.process is None
    for pid in children:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    house.run_until(lambda: house.post.process is not None)
    assert house.seen == ["before start", "before start", "started"]


def test_post_end_all_kills_what_does_not_leave(house: House) -> None:
    house.post = house.make(lambda _control: signal.pause())
    house.post.start()
    house.post.retire(LEAVE)
    end_all(house.loop, [house.post], 1_000_000)
    assert house.post.process is None
    assert house.post.last_end == "was killed by SIGKILL"


def test_post_child_dies_with_its_supervisor() -> None:
    """`settle` in the child, SIGKILL for the parent: the child's end of the pipe closes."""
    read_end, write_end = os.pipe()

    def supervise() -> None:
        supervisor = os.getpid()

        def live(_control: socket.socket) -> None:
            module_child.settle("child", "child", {write_end}, supervisor)
            os.write(write_end, b"settled")
            signal.pause()

        post = Post("child", EventLoop(), live, bytes, RestartBackoff(1, 1))
        post.start()
        os.close(write_end)
        signal.pause()

    supervisor = fork(supervise)
    os.close(write_end)
    assert os.read(read_end, 100) == b"settled"
    os.kill(supervisor, signal.SIGKILL)
    assert reap(supervisor) == KILLED
    assert os.read(read_end, 100) == b""
    os.close(read_end)


def test_post_that_cannot_be_told_is_born_anew(house: House) -> None:
    """Without a descriptor to spare a message cannot wait: its process must not live on without having heard it."""
    house.post.start()
    first = house.post.pid
    assert first is not None
    assert house.post.process is not None
    os.kill(first, signal.SIGSTOP)
    while not len(house.post.process.outbox):
        house.post.send(bytes(100))
    with descriptors_left(0):
        house.post.send(b"a lane", [0])
    house.run_until(lambda: house.post.pid not in (None, first))
    house.post.send(b"again")
    house.run_until(lambda: house.told == [b"heard again"])
