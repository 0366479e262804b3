"""A delaying link in front of an echo server: offers by HTTP and packets by UDP both take `delay` seconds one way.

Used by `bench.setup`, which counts round trips through it. The answer's candidates are replaced by one port of the link
for each call. The TCP connection is not delayed: a call is counted from its request on a connection that is open.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from transceiverd.load.offer import CANDIDATE


class End(asyncio.DatagramProtocol):
    """One side of a call's way. What it receives leaves at `other` after the delay."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.other: End
        self.peer: Any = None
        """Where to send to: fixed, or whoever was heard last."""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.peer = address
        asyncio.get_running_loop().call_later(self.delay, self.other.send, data)

    def send(self, data: bytes) -> None:
        """Out to this side's peer."""
        if self.peer is not None and not self.transport.is_closing():
            self.transport.sendto(data, self.peer)


class Link:
    """All calls of one server."""

    def __init__(self, url: str, delay: float) -> None:
        self.url = url
        self.delay = delay
        self.ends: list[End] = []

    async def offer(self, request: web.Request) -> web.Response:
        """There and back."""
        offer = await request.text()
        await asyncio.sleep(self.delay)
        headers = {"Content-Type": "application/sdp"}
        async with aiohttp.ClientSession() as http, http.post(self.url, data=offer, headers=headers) as reply:
            status, answer = reply.status, await reply.text()
        if status == 201:
            answer = await self.redirected(answer)
        await asyncio.sleep(self.delay)
        return web.Response(
            status=status, text=answer, content_type="application/sdp", headers={"Location": "/calls/0"}
        )

    async def redirected(self, answer: str) -> str:
        """The answer with a port of ours as its only candidate."""
        _, address, port = next(one for one in CANDIDATE.findall(answer) if one[1].startswith("127."))
        front, back = await self.end(), await self.end()
        front.other, back.other, back.peer = back, front, (address, int(port))
        ours = front.transport.get_extra_info("sockname")[1]
        lines = [line for line in answer.splitlines() if not line.startswith("a=candidate:")]
        place = next(number for number, line in enumerate(lines) if line.startswith("m=audio"))
        place = next((n for n in range(place + 1, len(lines)) if lines[n].startswith("m=")), len(lines))
        lines.insert(place, f"a=candidate:1 1 udp 2130706431 127.0.0.1 {ours} typ host")
        return "\r\n".join(lines) + "\r\n"

    async def end(self) -> End:
        """A socket."""
        loop = asyncio.get_running_loop()
        _, made = await loop.create_datagram_endpoint(lambda: End(self.delay), local_addr=("127.0.0.1", 0))
        self.ends.append(made)
        return made


@asynccontextmanager
async def delayed(url: str, delay: float) -> AsyncIterator[str]:
    """The URL of a link to the server at `url`."""
    link, app = Link(url, delay), web.Application()
    app.router.add_post("/{path:.*}", link.offer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}/calls"
    finally:
        for end in link.ends:
            end.transport.close()
        await runner.cleanup()
