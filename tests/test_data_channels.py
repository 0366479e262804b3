"""Data channels of real calls: every message comes back on its channel, while audio runs."""

import asyncio
import time

from aiortc import RTCDataChannel

from tests.aiortc_caller import Caller
from tests.daemons import Server, running

MESSAGES: tuple[str | bytes, ...] = (
    "hello", b"\x00\x01binary", "", b"", "ü" * 1000, bytes(range(256)) * 200, bytes(262_144),
)  # fmt: skip


async def _open(channel: RTCDataChannel, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while channel.readyState != "open":
        assert time.monotonic() < deadline, channel.readyState
        await asyncio.sleep(0.01)


def test_data_channels_echo_text_binary_empty_and_long_messages_beside_audio() -> None:
    async def story(server: Server) -> None:
        caller = Caller(server.calls_url, hertz=440, channels=("events", "bulk"))
        await caller.call()
        await caller.await_connected()
        for channel in caller.data:
            await _open(channel)
        got: list[str | bytes] = []
        events, bulk = caller.data
        events.on("message", got.append)
        other: list[str | bytes] = []
        bulk.on("message", other.append)
        for message in MESSAGES:
            events.send(message)
        bulk.send("apart")
        deadline = time.monotonic() + 20
        while len(got) < len(MESSAGES) or abs(caller.loudest() - caller.hertz) > 5:
            assert time.monotonic() < deadline, (len(got), caller.loudest())
            await asyncio.sleep(0.02)
        assert got == list(MESSAGES)
        assert other == ["apart"]
        await caller.close()

    with running() as server:
        asyncio.run(story(server))
