"""Janus's echo test behind an offer by HTTP POST: speaks Janus's own HTTP API, and starts Janus.

    python -m bench.echo.janus_adapter PORT JANUS_PORT

Not counted as Janus: only the pids of `janus` are. One session holds all calls, each a handle on the echo test plugin;
answers come by the session's long poll. The offers have no candidate, on which Janus 1.1 does nothing: one that nobody
listens at is put in, the real one is found by the caller's first check.
"""

import asyncio
import itertools
import sys
from typing import Any

import aiohttp
from aiohttp import web

NOWHERE = "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n"
PLUGIN = "janus.plugin.echotest"
ANSWER_SECONDS = 20.0


class Janus:
    """One session."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.waiting: dict[int, asyncio.Future[str]] = {}
        self._numbers = itertools.count()
        connector = aiohttp.TCPConnector(limit=0)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60))

    async def ask(self, path: str, **what: Any) -> dict[str, Any]:
        """A request and its reply."""
        what["transaction"] = f"t{next(self._numbers)}"
        async with self._http.post(self.url + path, json=what) as reply:
            found: dict[str, Any] = await reply.json()
            return found

    async def open(self) -> None:
        """The session and its long poll."""
        self.path = f"/{(await self.ask('', janus='create'))['data']['id']}"
        self._polling = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        while True:
            async with self._http.get(f"{self.url}{self.path}?maxev=50") as reply:
                found = await reply.json()
            for event in found if isinstance(found, list) else [found]:
                waiting = self.waiting.get(event.get("sender", 0))
                if "jsep" in event and waiting is not None and not waiting.done():
                    waiting.set_result(event["jsep"]["sdp"])
                elif event.get("janus") == "hangup":  # the call is over, its handle is not
                    await self.ask(f"{self.path}/{event['sender']}", janus="detach")

    async def call(self, offer: str) -> str:
        """The answer."""
        handle = (await self.ask(self.path, janus="attach", plugin=PLUGIN))["data"]["id"]
        waiting = self.waiting[handle] = asyncio.get_running_loop().create_future()
        jsep = {"type": "offer", "sdp": offer + NOWHERE, "trickle": False}
        await self.ask(f"{self.path}/{handle}", janus="message", body={"audio": True, "video": False}, jsep=jsep)
        try:
            return await asyncio.wait_for(waiting, ANSWER_SECONDS)
        finally:
            del self.waiting[handle]


async def application(janus_port: int) -> web.Application:
    """The adapter, joined to a running Janus."""
    janus = Janus(f"http://127.0.0.1:{janus_port}/janus")
    await janus.open()

    async def call(request: web.Request) -> web.Response:
        text = await janus.call(await request.text())
        headers = {"Location": "/calls/0"}
        return web.Response(status=201, text=text, content_type="application/sdp", headers=headers)

    app = web.Application()
    app.router.add_post("/{path:.*}", call)
    return app


def main() -> None:
    """Until killed."""
    web.run_app(application(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()
