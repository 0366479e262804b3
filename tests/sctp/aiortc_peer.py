"""aiortc's RTCSctpTransport as the peer of one of our associations, over a pipe that stands for DTLS."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from aiortc import RTCDataChannel, RTCSctpTransport

from tests.sctp.peers import PORT, association
from transceiverd.sctp.config import DataChannelConfig


class Pipe:
    """What RTCSctpTransport needs of a DTLS transport; `receive` gets what it sends, `loss` eats some of it."""

    state = "connected"

    def __init__(self, role: str, loss: float = 0.0) -> None:
        self._role = role
        self.receiver: Any = None
        self.receive: Callable[[bytes], None] = lambda data: None
        self.random = random.Random(7)
        self.loss = loss

    def _register_data_receiver(self, receiver: Any) -> None:
        self.receiver = receiver

    def _unregister_data_receiver(self, receiver: Any) -> None:
        self.receiver = None

    async def _send_data(self, data: bytes) -> None:
        if self.random.random() >= self.loss:
            self.receive(data)


class AiortcCall:
    """Our association and aiortc's transport, joined; ours is driven by the running loop's clock."""

    def __init__(self, our_role: str, loss: float = 0.0, config: DataChannelConfig | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.ours = association(our_role, 3, config, now=self.now(), random_bytes=random.Random(3).randbytes)
        self.pipe = Pipe("client" if our_role == "server" else "server", loss)
        self.pipe.receive = self._received
        self.theirs = RTCSctpTransport(self.pipe, port=PORT)
        self.channels: list[RTCDataChannel] = []
        self.theirs.on("datachannel", self.channels.append)
        self.events: list[Any] = []
        self.on_event: Callable[[Any], None] = self.events.append
        self.timer: asyncio.TimerHandle | None = None
        self.changed = asyncio.Event()
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.task = self.loop.create_task(self._deliver())

    def now(self) -> int:
        return int(self.loop.time() * 1e9)

    async def start(self) -> None:
        await self.theirs.start(None, PORT)
        self.theirs._remote_max_message_size = 262_144
        self.ours.start(self.now())
        self.drain()

    async def stop(self) -> None:
        await self.theirs.stop()
        self.task.cancel()
        if self.timer is not None:
            self.timer.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    def _received(self, data: bytes) -> None:
        self.ours.receive_datagram(data, self.now())
        self.drain()

    async def _deliver(self) -> None:
        while True:
            data = await self.inbox.get()
            if self.theirs.transport.receiver is not None:
                await self.theirs.transport.receiver._handle_data(data)

    def drain(self) -> None:
        """What an owner does after every call."""
        while (data := self.ours.poll_datagram()) is not None:
            if self.pipe.random.random() >= self.pipe.loss:
                self.inbox.put_nowait(data)
        while (event := self.ours.poll_event()) is not None:
            self.on_event(event)
        self.changed.set()
        if self.timer is not None:
            self.timer.cancel()
        timeout = self.ours.next_timeout()
        self.timer = None if timeout is None else self.loop.call_at(timeout.deadline / 1e9, self._due)

    def _due(self) -> None:
        self.ours.handle_timeout(self.now())
        self.drain()

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until something is so."""
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 (aiortc has no event for most of it)
                await asyncio.sleep(0.005)
