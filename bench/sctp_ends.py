"""Both ends of an SCTP transfer over UDP in one process, for `bench.sctp_link`: ours, and aiortc's.

    python -m bench.sctp_ends ours|aiortc SIZE SECONDS LEFT LEFT_PEER RIGHT RIGHT_PEER

The left end sends messages of SIZE bytes for SECONDS from port LEFT to port LEFT_PEER; the right one sits at RIGHT.
Prints `bytes seconds user system` of what arrived. `bench/sctp_pion` does the same with Pion.
"""

import asyncio
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
from transceiverd.sctp.events import MessageReceived

BATCH = 32  # packets taken before the other end is looked at
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
    """Drives one of our associations over its socket."""

    def __init__(self, role: str, at: socket.socket) -> None:
        self.engine: Association = association(
            role, config=DataChannelConfig(), random_bytes=os.urandom, now=time.monotonic_ns()
        )
        self.socket = at
        self.engine.start(time.monotonic_ns())

    def send(self) -> None:
        """Put on the wire what there is."""
        while (data := self.engine.poll_datagram()) is not None:
            try:
                self.socket.send(data)
            except (BlockingIOError, ConnectionRefusedError):
                continue  # lost

    def receive(self) -> None:
        """Take what came, answer each as a session does."""
        for _ in range(BATCH):
            try:
                data = self.socket.recv(4_000)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue
            self.engine.receive_datagram(data, time.monotonic_ns())
            self.send()

    def turn(self) -> int:
        """Timers and events; bytes of messages that came."""
        timeout, now = self.engine.next_timeout(), time.monotonic_ns()
        if timeout is not None and timeout.deadline <= now:
            self.engine.handle_timeout(now)
        self.send()
        count = 0
        while (event := self.engine.poll_event()) is not None:
            count += len(event.data) if isinstance(event, MessageReceived) else 0
        return count

    def wait(self) -> float:
        """Seconds until it has something to do."""
        timeout = self.engine.next_timeout()
        return 0.1 if timeout is None else max(0.0, (timeout.deadline - time.monotonic_ns()) / 1e9)


def ours(size: int, seconds: float, sockets: list[socket.socket]) -> Meter:
    """A transfer."""
    left, right = (Owner(role, at) for role, at in zip(("client", "server"), sockets, strict=True))
    ends, message, stream_id, meter = (left, right), bytes(size), -1, Meter()
    while time.monotonic() < meter.begun + seconds:
        left.turn()
        meter.heard += right.turn()
        if stream_id < 0 and left.engine.state == 3:
            stream_id, meter = left.engine.open_channel("bulk"), Meter()
        while stream_id >= 0 and left.engine.send(stream_id, message, False, time.monotonic_ns()):
            pass
        left.send()
        for at in select.select(sockets, [], [], min(end.wait() for end in ends))[0]:
            (left if at is left.socket else right).receive()
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
    while time.monotonic() < meter.begun + seconds:
        while channel.bufferedAmount < AIORTC_AHEAD:
            channel.send(message)
        await asyncio.sleep(0.001)
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
