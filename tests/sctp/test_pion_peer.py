"""Pion's SCTP as the other side, over UDP on loopback: INITs collide, everything comes back (bench/sctp_pion)."""

import select
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.go_program import built
from tests.sctp.peers import association
from transceiverd.engine import SECOND
from transceiverd.sctp.association import Association
from transceiverd.sctp.events import ChannelOpened, MessageReceived
from transceiverd.sctp.states import State

SOURCE = Path(__file__).parents[2] / "bench" / "sctp_pion"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Go program, built."""
    return built(SOURCE, tmp_path_factory.mktemp("pion"))


class UdpOwner:
    """Drives one association over a UDP socket."""

    def __init__(self, engine: Association, wire: socket.socket) -> None:
        self.engine = engine
        self.wire = wire
        self.events: list[object] = []

    def until(self, heard: int, seconds: float = 30) -> None:
        """Turn until so many messages arrived."""
        end = time.monotonic_ns() + int(seconds * SECOND)
        while sum(isinstance(event, MessageReceived) for event in self.events) < heard or not self.events:
            assert time.monotonic_ns() < end, (len(self.events), self.engine.drops)
            self.turn()

    def turn(self) -> None:
        now = time.monotonic_ns()
        while (data := self.engine.poll_datagram()) is not None:
            self.wire.send(data)
        self.events += iter(self.engine.poll_event, None)
        timeout = self.engine.next_timeout()
        wait = 0.1 if timeout is None else min(max((timeout.deadline - now) / 1e9, 0), 0.1)
        if select.select([self.wire], [], [], wait)[0]:
            self.engine.receive_datagram(self.wire.recv(4_000), time.monotonic_ns())
        self.engine.handle_timeout(time.monotonic_ns())


@pytest.fixture
def owner(program: Path) -> Iterator[UdpOwner]:
    with subprocess.Popen([program, "echo"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            wire.connect(("127.0.0.1", port))
            wire.send(b"knock")
            assert wire.recv(100) == b"ready"
            engine = association("client", now=time.monotonic_ns())
            engine.start(time.monotonic_ns())
            yield UdpOwner(engine, wire)
        process.kill()


@pytest.mark.system
def test_pion_peer_echoes_everything(owner: UdpOwner) -> None:
    engine, said = owner.engine, []
    for number in range(20):
        stream_id = engine.open_channel(f"c{number}", ordered=bool(number % 2))
        for size in (0, 1, 1_152, 5_000, 262_144 if number < 3 else 20_000):
            is_text = bool(size % 2)
            while not engine.send(stream_id, bytes([number]) * size, is_text, time.monotonic_ns()):
                owner.turn()
            said.append((stream_id, bytes([number]) * size, is_text))
    owner.until(heard=len(said))
    heard = [tuple(event) for event in owner.events if isinstance(event, MessageReceived)]
    assert sorted(heard) == sorted(said)  # type: ignore[type-var]
    assert sum(isinstance(event, ChannelOpened) for event in owner.events) == 20


@pytest.mark.system
def test_pion_peer_resets_and_reuses(owner: UdpOwner) -> None:
    engine = owner.engine
    for turn in range(3):
        stream_id = engine.open_channel(f"turn {turn}")
        assert stream_id == 0
        engine.send(stream_id, b"hello", True, time.monotonic_ns())
        owner.until(heard=turn + 1)
        engine.close_channel(stream_id, time.monotonic_ns())
        end = time.monotonic_ns() + 10 * SECOND
        while engine.channels and time.monotonic_ns() < end:
            owner.turn()
        assert not engine.channels
    assert engine.state is State.ESTABLISHED
