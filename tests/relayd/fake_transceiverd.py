"""A transceiverd of a few lines: attaches, accepts every check unseen, and sends every media packet back.

The supervisor's tests put it behind relayd, so that packets go the whole way: client, worker, ring, worker, client.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from relayd.config import SOCKET_NAME
from relayd.ufrag import mint
from relayd.ufrag_keys import UfragKeys
from shm import attach
from shm.lane import Lane
from shm.segment import SUPPORTED_MAJORS
from tests.relayd.packets import binding_request, rtp
from tests.relayd.relay_process import DEADLINE_SECONDS, wait_until
from tests.relayd.rig import PUBLISH, PUBLISH_AND_SEND, SEND, STUN, Call, TransceiverEnd

RING_BYTES = 1 << 18
ANSWER = b"\x01\x01answer"


def say_hello(
    directory: Path, role: str = "transceiverd", layouts: Sequence[int] = SUPPORTED_MAJORS
) -> tuple[socket.socket, attach.AnyMessage]:
    """A connection to the control socket, and relayd's answer to Hello."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(DEADLINE_SECONDS)
    sock.connect(str(directory / SOCKET_NAME))
    attach.send(sock, attach.Hello(role, list(layouts), os.getpid()))  # type: ignore[arg-type]
    return sock, attach.receive(sock)[0]


class FakeTransceiverd:
    """Transceiver 0 with one lane to each worker; `with` runs it in a thread."""

    def __init__(self, directory: Path, incarnation: int = 77) -> None:
        self.directory = directory
        self.sock, welcome = say_hello(directory)
        assert isinstance(welcome, attach.Welcome), welcome
        self.welcome = welcome
        self.incarnation = incarnation
        self.notices: list[attach.AnyMessage] = []
        self.ends = [TransceiverEnd(make_lane(worker, incarnation)) for worker in range(welcome.workers)]
        self._offer()
        self.keys = UfragKeys.load(directory / "ufrag.keys")
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def attach_again(self) -> None:
        """To the next relayd, with the same lanes."""
        self.sock.close()
        self.sock, welcome = say_hello(self.directory)
        assert isinstance(welcome, attach.Welcome), welcome
        self._offer()

    def _offer(self) -> None:
        for worker, end in enumerate(self.ends):
            reply = self.ask(attach.OfferLane(0, worker, self.incarnation), end.lane.fds)
            assert isinstance(reply, attach.Accepted), reply
        assert isinstance(self.ask(attach.Ready(1)), attach.Accepted)

    def ask(self, message: attach.AnyMessage, fds: Sequence[int] = ()) -> attach.AnyMessage:
        """Say something and wait for its answer; notices that come between are kept."""
        attach.send(self.sock, message, fds)
        while True:
            reply, _ = attach.receive(self.sock)
            if not isinstance(reply, attach.WorkerReplaced):
                return reply
            self.notices.append(reply)

    def ufrag(self, slot: int) -> str:
        """Of a call of this transceiver."""
        return mint(self.keys, self.welcome.machine, 0, slot, 1, 0xABCDEF)

    def turn(self) -> int:
        """Do what waits; gives how many records there were."""
        count = 0
        for end in self.ends:
            for record in end.take_handshake():
                count += 1
                if record.type == STUN:
                    self._publish(end, record.key, Call(0, record.slot, record.generation, self.welcome.machine))
            for record in end.take_media():
                count += 1
                call = Call(0, record.slot, record.generation, self.welcome.machine)
                end.ask(SEND, call, record.key, record.payload, media=True)
        return count

    def _publish(self, asked_at: TransceiverEnd, key: bytes, call: Call) -> None:
        for end in self.ends:
            if end is asked_at:
                end.ask(PUBLISH_AND_SEND, call, key, ANSWER)
            else:
                end.ask(PUBLISH, call, key)

    def _run(self) -> None:
        while not self._ending.is_set():
            if not self.turn():
                time.sleep(0.0005)

    def __enter__(self) -> "FakeTransceiverd":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """As the process's end would."""
        self.sock.close()
        for end in self.ends:
            end.lane.close()


def make_lane(worker: int, incarnation: int, transceiver: int = 0) -> Lane:
    """As transceiverd's supervisor makes them."""
    size = RING_BYTES
    return Lane.create(
        transceiver,
        worker,
        handshake_in=size,
        media_in=size,
        control_out=size,
        media_out=size,
        incarnation=incarnation,
    )


class Caller:
    """A client: one address, one call."""

    def __init__(self, port: int, slot: int) -> None:
        self.slot = slot
        self.sent = 0
        self.echoed: set[int] = set()
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.connect(("127.0.0.1", port))

    def check(self, ufrag: str) -> None:
        """A Binding request, repeated as ICE repeats it, until it is answered."""
        for _ in range(100):
            self._sock.send(binding_request(ufrag))
            self._sock.settimeout(0.5)
            try:
                while self._sock.recv(2048) != ANSWER:
                    pass
            except TimeoutError:
                continue
            return
        raise AssertionError("no check was answered")

    def speak(self) -> None:
        """One RTP packet; its number is in it."""
        self._sock.send(rtp(172, self.sent & 0xFFFF))
        self.sent += 1

    def listen(self) -> None:
        """Take what has come back."""
        self._sock.setblocking(False)
        try:
            while True:
                data = self._sock.recv(2048)
                if data[1] == 111:
                    self.echoed.add(int.from_bytes(data[2:4], "big"))
        except BlockingIOError:
            return

    def hear(self, packets: int) -> None:
        """Wait until so many packets have come back in all."""

        def heard() -> bool:
            self.listen()
            return len(self.echoed) >= packets

        wait_until(heard, f"{packets} echoed packets")

    def close(self) -> None:
        """Hang up."""
        self._sock.close()
