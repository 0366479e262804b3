"""Real calls by aiortc through the real daemons: audio comes back, and it is the caller's own."""

import asyncio
import os
import signal
import time

import aiohttp

from tests.aiortc_caller import Caller
from tests.daemons import Server, running, wait_for


async def _kill_workers(server: Server) -> None:
    before = server.pids("relayd")
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while set((now := server.pids("relayd")).values()) & set(before.values()) or now.keys() != before.keys():
        assert time.monotonic() < deadline, (before, now)
        await asyncio.sleep(0.01)


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


def test_calls_twenty_callers_each_hear_their_own_also_after_three_kills_of_every_worker() -> None:
    async def story(server: Server) -> None:
        callers = [Caller(server.calls_url, hertz=300 + 60 * n) for n in range(20)]
        for caller in callers:
            await caller.call()
        await asyncio.gather(*(caller.await_connected(20) for caller in callers))
        await _all_hear_their_own(server, callers, 20)
        assert {session["transceiver"] for session in server.sessions()} == {0, 1}
        for _ in range(3):
            await _kill_workers(server)
            for caller in callers:
                caller.heard.clear()
        await _all_hear_their_own(server, callers, 30)
        assert all(caller.states[-1] == "connected" for caller in callers)
        await asyncio.gather(*(caller.close() for caller in callers))
        wait_for(lambda: not server.sessions(), "all calls are gone")

    with running(workers=2, transceivers=2) as server:
        asyncio.run(story(server))
