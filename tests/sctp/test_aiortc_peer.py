"""aiortc's own SCTP as the other side, in both DTLS roles: every kind of message and channel both ways."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiortc import RTCDataChannel
from aiortc.rtcdatachannel import RTCDataChannelParameters

from tests.sctp.aiortc_peer import AiortcCall
from transceiverd.engine import Closed
from transceiverd.sctp.events import AssociationEstablished, ChannelClosed, ChannelOpened, MessageReceived

MESSAGES: list[Any] = ["hello", "", b"", b"\0", "ü" * 1_000, bytes(range(256)) * 20, b"x" * 262_144]


def run(role: str, story: Callable[[AiortcCall], Awaitable[None]], loss: float = 0.0) -> None:
    """Tell `story` over a call."""

    async def main() -> None:
        call = AiortcCall(role, loss)
        try:
            await call.start()
            await call.until(lambda: AssociationEstablished() in call.events and call.theirs.state == "connected")
            await story(call)
        finally:
            await call.stop()

    asyncio.run(main())


def echo(call: AiortcCall) -> None:
    """Send back every message on its channel."""

    def on_event(event: Any) -> None:
        call.events.append(event)
        if isinstance(event, MessageReceived):
            assert call.ours.send(event.stream_id, event.data, event.is_text, call.now())
            call.loop.call_soon(call.drain)

    call.on_event = on_event


@pytest.mark.parametrize("role", ["client", "server"])
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_aiortc_peer_hears_its_echo(role: str, loss: float) -> None:
    async def story(call: AiortcCall) -> None:
        echo(call)
        channel = RTCDataChannel(call.theirs, RTCDataChannelParameters(label="events", protocol="json"))
        heard: list[Any] = []
        channel.on("message", heard.append)
        await call.until(lambda: channel.readyState == "open")
        for message in MESSAGES:
            channel.send(message)
        await call.until(lambda: len(heard) == len(MESSAGES))
        assert heard == MESSAGES
        opened = next(event for event in call.events if isinstance(event, ChannelOpened))
        assert (opened.label, opened.protocol, opened.stream_id % 2) == ("events", "json", int(role == "client"))

    run(role, story, loss)


@pytest.mark.parametrize("role", ["client", "server"])
def test_aiortc_peer_takes_our_channels(role: str) -> None:
    async def story(call: AiortcCall) -> None:
        stream_id = call.ours.open_channel("ours", "p", ordered=False, max_retransmits=5)
        call.drain()
        await call.until(lambda: bool(call.channels))
        theirs = call.channels[0]
        assert (theirs.id, theirs.label, theirs.protocol) == (stream_id, "ours", "p")
        assert (theirs.ordered, theirs.maxRetransmits) == (False, 5)
        heard: list[Any] = []
        theirs.on("message", heard.append)
        for message in MESSAGES:
            data = message.encode() if isinstance(message, str) else message
            assert call.ours.send(stream_id, data, isinstance(message, str), call.now())
            call.drain()
        await call.until(lambda: len(heard) == len(MESSAGES))
        assert sorted(map(str, heard)) == sorted(map(str, MESSAGES))
        call.ours.close_channel(stream_id, call.now())
        call.drain()
        await call.until(lambda: theirs.readyState == "closed")
        await call.until(lambda: ChannelClosed(stream_id) in call.events)

    run(role, story)


@pytest.mark.parametrize("role", ["client", "server"])
def test_aiortc_peer_closes_and_reuses(role: str) -> None:
    async def story(call: AiortcCall) -> None:
        for turn in range(3):
            channels = [RTCDataChannel(call.theirs, RTCDataChannelParameters(label=str(i))) for i in range(10)]
            await call.until(lambda channels=channels: all(one.readyState == "open" for one in channels))
            for channel in channels:
                channel.send(channel.label)
            expected = 10 * (turn + 1)
            await call.until(lambda n=expected: sum(isinstance(e, MessageReceived) for e in call.events) == n)
            for channel in channels:
                channel.close()
            await call.until(lambda channels=channels: all(one.readyState == "closed" for one in channels))
            assert not call.ours.channels

    run(role, story)


def test_aiortc_peer_negotiated() -> None:
    async def story(call: AiortcCall) -> None:
        echo(call)
        parameters = RTCDataChannelParameters(label="agreed", negotiated=True, id=11)
        channel = RTCDataChannel(call.theirs, parameters)
        heard: list[Any] = []
        channel.on("message", heard.append)
        channel.send("hi")
        await call.until(lambda: heard == ["hi"])

    run("server", story)


@pytest.mark.parametrize("role", ["client", "server"])
def test_aiortc_peer_aborts(role: str) -> None:
    async def story(call: AiortcCall) -> None:
        await call.theirs.stop()
        await call.until(lambda: Closed("peer aborted") in call.events)

    run(role, story)


@pytest.mark.parametrize("role", ["client", "server"])
def test_aiortc_peer_is_shut_down(role: str) -> None:
    async def story(call: AiortcCall) -> None:
        call.ours.shutdown(call.now())
        call.drain()
        await call.until(lambda: Closed("shut down") in call.events)
        assert call.theirs.state == "closed"

    run(role, story)
