"""Both ends of an SCTP transfer over UDP in one process, for `bench.sctp_link`: ours, and aiortc's.

    python -m bench.sctp_ends ours|aiortc SIZE SECONDS LEFT LEFT_PEER RIGHT RIGHT_PEER

The left end sends messages of SIZE bytes for SECONDS from port LEFT to port LEFT_PEER; the right one sits at RIGHT.
Prints `bytes seconds user system` of what arrived. `bench/sctp_pion` does the same with Pion.
"""

import asyncio
import contextlib
import os
import resource
import select
import socket
import sys
import time
from typing import Any, cast

from aiortc import RTCDataChannel, RTCSctpTransport
from aiortc.rtcdatachannel import RTCDataChannelParameters

from tests.sctp.peers import association
from transceiverd.sctp.association import Association
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.events import AssociationEstablished, BufferedAmountLow, MessageReceived
from transceiverd.sctp.states import State

BATCH = 32  # packets taken before the other end is looked at
TOGETHER = 4  # packets of a batch that are answered together: well below Max.Burst, so that no sender waits
PACKET_BYTES = 4_000
BUFFER_BYTES = 4 << 20
SO_RCVBUFFORCE = 33
AIORTC_AHEAD = 524_288  # bytes that wait in its queue: as much as ours may hold


def wire(port: int, peer: int) -> socket.socket:
    """A socket of one end."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    made.bind(("127.0.0.1", port))
    made.connect(("127.0.0.1", peer))
    made.setblocking(False)
    return made


class Meter:
    """CPU and time since it was made."""

    def __init__(self) -> None:
        self.begun, self.usage, self.heard = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF), 0

    def tell(self) -> None:
        """The line."""
        now = resource.getrusage(resource.RUSAGE_SELF)
        user, system = now.ru_utime - self.usage.ru_utime, now.ru_stime - self.usage.ru_stime
        print(self.heard, time.monotonic() - self.begun, user, system, flush=True)


class Owner:
    """Drives one of our associations over its socket: whatever has come, then whatever is to go, then what is told."""

    def __init__(self, role: str, at: socket.socket) -> None:
        now = time.monotonic_ns()
        self.engine: Association = association(role, config=DataChannelConfig(), random_bytes=os.urandom, now=now)
        self.socket = at
        self.heard = 0
        self.deadline = 0
        self.engine.start(now)
        self.settle()

    def receive(self) -> None:
        """Take what came; what it gives rise to leaves when all of it is taken."""
        take, receive, now = self.socket.recv, self.engine.receive_datagram, time.monotonic_ns()
        for number in range(1, BATCH + 1):
            try:
                receive(take(PACKET_BYTES), now)
            except BlockingIOError:
                break
            except ConnectionRefusedError:
                continue
            if number % TOGETHER == 0:
                self.settle()
        self.settle()

    def expire(self, now: int) -> None:
        """A timer is due."""
        self.engine.handle_timeout(now)
        self.settle()

    def settle(self) -> None:
        """Put on the wire what there is, take the events, see what is next."""
        poll, send = self.engine.poll_datagram, self.socket.send
        while (data := poll()) is not None:
            try:
                send(data)
            except (BlockingIOError, ConnectionRefusedError):
                continue  # lost
        while (event := self.engine.poll_event()) is not None:
            self.on_event(event)
        timeout = self.engine.next_timeout()
        self.deadline = sys.maxsize if timeout is None else timeout.deadline

    def on_event(self, event: object) -> None:
        """Count what came."""
        if isinstance(event, MessageReceived):
            self.heard += len(event.data)


class Sender(Owner):
    """The end that sends, as much as its association takes."""

    def __init__(self, at: socket.socket, size: int) -> None:
        self.message, self.stream_id = bytes(size), -1
        super().__init__("client", at)

    def on_event(self, event: object) -> None:
        """Open the channel; go on when there is room again."""
        if isinstance(event, AssociationEstablished):
            self.stream_id = self.engine.open_channel("bulk")
        if isinstance(event, AssociationEstablished | BufferedAmountLow):
            while self.engine.send(self.stream_id, self.message, False, time.monotonic_ns()):
                pass
            self.settle()


def ours(size: int, seconds: float, sockets: list[socket.socket]) -> Meter:
    """A transfer."""
    ends: list[Owner] = [Sender(sockets[0], size), Owner("server", sockets[1])]
    of, meter, until = dict(zip(sockets, ends, strict=True)), None, 0.0
    while meter is None or time.monotonic() < until:
        due = min(ends[0].deadline, ends[1].deadline)
        for at in select.select(sockets, [], [], max(0, due - time.monotonic_ns()) / 1e9)[0]:
            of[at].receive()
        now = time.monotonic_ns()
        for end in ends:
            if end.deadline <= now:
                end.expire(now)
        if meter is None and ends[1].engine.state == State.ESTABLISHED:
            meter = Meter()
            until = meter.begun + seconds
    meter.heard = ends[1].heard
    return meter


class UdpPipe(asyncio.DatagramProtocol):
    """What aiortc's SCTP needs of a DTLS transport, on a socket."""

    state = "connected"

    def __init__(self, role: str) -> None:
        self._role = role
        self.receiver: Any = None
        self.transport: asyncio.DatagramTransport | None = None
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.task = asyncio.get_running_loop().create_task(self._deliver())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, _address: object) -> None:
        self.inbox.put_nowait(data)

    def _register_data_receiver(self, receiver: Any) -> None:
        self.receiver = receiver

    def _unregister_data_receiver(self, receiver: Any) -> None:
        self.receiver = None

    async def _send_data(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.sendto(data)

    async def _deliver(self) -> None:
        while True:
            data = await self.inbox.get()
            if self.receiver is not None:
                await self.receiver._handle_data(data)


async def aiortc(size: int, seconds: float, sockets: list[socket.socket]) -> Meter:
    """The same transfer."""
    loop, pipes = asyncio.get_running_loop(), [UdpPipe("client"), UdpPipe("server")]
    for pipe, at in zip(pipes, sockets, strict=True):
        await loop.create_datagram_endpoint(lambda pipe=pipe: pipe, sock=at)  # type: ignore[misc]
    ends = [RTCSctpTransport(pipe) for pipe in pipes]  # type: ignore[arg-type]
    meter = Meter()

    def on_message(message: bytes) -> None:
        meter.heard += len(message)

    ends[1].on("datachannel", lambda channel: channel.on("message", on_message))
    for end in ends:
        await end.start(None, 5000)
        end._remote_max_message_size = 262_144
    channel, opened = RTCDataChannel(ends[0], RTCDataChannelParameters(label="bulk")), asyncio.Event()
    channel.on("open", opened.set)
    await opened.wait()
    meter.__init__()  # type: ignore[misc]
    message = bytes(size)
    room = asyncio.Event()
    channel.bufferedAmountLowThreshold = AIORTC_AHEAD // 2
    channel.on("bufferedamountlow", room.set)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:  # told when there is room, as ours is: looking every millisecond would be half of its CPU
                room.clear()
                while channel.bufferedAmount < AIORTC_AHEAD:
                    channel.send(message)
                await room.wait()
    return meter


def main() -> None:
    """See above."""
    who, size, seconds, *ports = sys.argv[1:]
    numbers = list(map(int, ports))
    sockets = [wire(numbers[0], numbers[1]), wire(numbers[2], numbers[3])]
    if who == "ours":
        ours(int(size), float(seconds), sockets).tell()
    else:
        asyncio.run(aiortc(int(size), float(seconds), sockets)).tell()
    sys.stdout.flush()
    os._exit(0)  # whatever still runs in there is of no use


if __name__ == "__main__":
    main()
