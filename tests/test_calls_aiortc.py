"""Real calls by aiortc through the real daemons: audio comes back, and it is the caller's own."""

import asyncio
import time

import aiohttp

from tests.aiortc_caller import Caller
from tests.daemons import Server, running, wait_for


async def _all_hear_their_own(server: Server, callers: list[Caller], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while any(abs(caller.loudest() - caller.hertz) > 5 for caller in callers):
        assert time.monotonic() < deadline, [(caller.hertz, caller.loudest()) for caller in callers]
        await asyncio.sleep(0.05)
    assert len(server.sessions()) == len(callers)


def test_calls_one_caller_hears_the_own_voice_and_hangs_up() -> None:
    async def story(server: Server) -> None:
        caller = Caller(server.calls_url, hertz=440)
        await caller.call()
        await caller.await_connected()
        await _all_hear_their_own(server, [caller])
        async with aiohttp.ClientSession() as http:
            assert (await http.post(f"{server.url}{caller.location}/hangup")).status == 200
            assert (await http.post(f"{server.url}{caller.location}/hangup")).status == 404
        await asyncio.wait_for(caller.ended.wait(), 5)  # close_notify reached it
        await caller.close()
        wait_for(lambda: not server.sessions(), "the call is gone")

    with running() as server:
        asyncio.run(story(server))


def test_calls_twenty_callers_over_two_workers_and_two_transceivers_each_hear_their_own() -> None:
    async def story(server: Server) -> None:
        callers = [Caller(server.calls_url, hertz=300 + 60 * n) for n in range(20)]
        for caller in callers:
            await caller.call()
        await asyncio.gather(*(caller.await_connected(20) for caller in callers))
        await _all_hear_their_own(server, callers, 20)
        assert {session["transceiver"] for session in server.sessions()} == {0, 1}
        await asyncio.gather(*(caller.close() for caller in callers))
        wait_for(lambda: not server.sessions(), "all calls are gone")

    with running(workers=2, transceivers=2) as server:
        asyncio.run(story(server))
