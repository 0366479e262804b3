"""A listening socket on the supervisor's loop."""

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shm.daemon import listener
from shm.daemon.listener import Listener
from shm.daemon.loop import EventLoop

PAUSE_NS = 20_000_000


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    made = EventLoop()
    yield made
    made.close()


def test_listener_out_of_descriptors_does_not_spin_and_takes_everybody_later(
    loop: EventLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story: a daemon out of descriptors was given an order, and turned its loop for nothing until one was free."""
    monkeypatch.setattr(listener, "ACCEPT_PAUSE_NS", PAUSE_NS)
    path = str(tmp_path / "thing")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    sock.bind(path)
    sock.listen(4)
    taken: list[socket.socket] = []
    failures: list[OSError] = []
    listening = Listener(loop, sock, taken.append, failures.append)
    peers = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    for peer in peers:
        peer.connect(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_free = os.dup(0)
    os.close(next_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_free, hard))
    try:
        for _ in range(100):
            loop.turn(0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert taken == []
    assert 1 <= len(failures) < 100, "it looks again after the pause, and not before"
    while len(taken) < 2:
        loop.turn(None)
    listening.close()
    for each in (*taken, *peers):
        each.close()
