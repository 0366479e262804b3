"""WATCHDOG=1 leaves only while every process's loops turn."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from shm.daemon.loop import EventLoop
from shm.daemon.post import Post
from shm.daemon.watchdog import Sign, Watchdog

SECOND = 1_000_000_000


class Place:
    """A post as far as the watchdog looks at it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid: int | None = 100
        self.beat = 0
        self.killed = 0

    def kill_stuck(self, _why: str) -> None:
        """As the real one: the end comes later."""
        self.killed += 1


class World:
    """Two processes, a manager that listens, 8 s between feedings."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(directory / "notify"))
        self.manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(directory / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "8000000")
        self.places = [Place("one"), Place("two")]
        self.dog = Watchdog(cast(EventLoop, None), self.signs)
        self.now = SECOND

    def signs(self) -> list[Sign]:
        """Of both, as of now."""
        return [Sign(cast("Post[Any]", place), "", place.beat) for place in self.places]

    def fed(self) -> bool:
        """One second and one look later: whether the manager heard of it."""
        self.now += SECOND
        self.dog.look(self.now)
        try:
            return self.manager.recv(100) == b"WATCHDOG=1"
        except BlockingIOError:
            return False


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    made.manager.close()


def test_watchdog_is_fed_while_all_turn(world: World) -> None:
    for _ in range(5):
        for place in world.places:
            place.beat += 1
        assert world.fed()


def test_watchdog_is_not_fed_once_one_stands_and_that_one_is_ended(world: World) -> None:
    assert world.fed()
    for _ in range(10):
        world.places[0].beat += 1
        assert not world.fed()
    assert world.places[0].killed == 0
    assert world.places[1].killed > 0


def test_watchdog_is_fed_again_when_a_successor_runs(world: World) -> None:
    assert world.fed()
    world.places[0].beat += 1
    assert not world.fed()
    world.places[1].pid = 101
    assert world.fed()  # the first has moved since the last feeding, the second is another process


def test_watchdog_is_not_fed_while_one_cannot_be_started(world: World) -> None:
    """Its end counts as a movement once, not for ever."""
    assert world.fed()
    world.places[1].pid = None
    results = []
    for _ in range(9):
        world.places[0].beat += 1
        results.append(world.fed())
    assert results == [True] + [False] * 8


def test_watchdog_is_silent_where_none_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    loop = EventLoop()
    Watchdog(loop, list).start()
    assert not loop._timers
    loop.close()
    assert "WATCHDOG_USEC" not in os.environ
