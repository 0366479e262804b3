"""Processes die under live calls (DESIGN 2.6 to 2.8): who must survive does, and the books still balance."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable

from tests.aiortc_caller import Caller
from tests.daemons import Server, running, wait_for
from tests.udp_caller import UdpCaller


async def _connect(server: Server, count: int) -> list[Caller]:
    callers = [Caller(server.calls_url, hertz=300 + 60 * n) for n in range(count)]
    for caller in callers:
        await caller.call()
    await asyncio.gather(*(caller.await_connected(20) for caller in callers))
    return callers


async def _hear_again(callers: list[Caller], seconds: float = 10.0) -> None:
    """Everybody hears the own tone in what comes from now on."""
    for caller in callers:
        caller.heard.clear()
    await _until(lambda: all(abs(c.loudest() - c.hertz) < 5 for c in callers), "everybody hears again", seconds)


async def _until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    await asyncio.to_thread(wait_for, condition, what, seconds)


async def _close(callers: list[Caller]) -> None:
    await asyncio.gather(*(caller.close() for caller in callers))


def _run(story: Callable[[Server], Awaitable[None]], **options: object) -> None:
    with running(**options) as server:
        asyncio.run(story(server))  # type: ignore[arg-type]


def _outcomes_add_up(server: Server) -> bool:
    return all(worker.packets.adds_up and worker.records.adds_up for worker in server.status().workers)


def test_kills_of_workers_end_no_call_and_the_outcomes_add_up() -> None:
    async def story(server: Server) -> None:
        callers = await _connect(server, 6)
        for _ in range(4):
            before = server.pids("relayd")
            for pid in before.values():
                os.kill(pid, signal.SIGKILL)
            await _until(lambda before=before: _all_replaced(server, before), "both workers are replaced")
            await _hear_again(callers)
        assert all(caller.states[-1] == "connected" for caller in callers)
        assert len(server.sessions()) == 6
        await _close(callers)
        await _until(lambda: _outcomes_add_up(server), "every packet has one outcome")

    _run(story, workers=2, transceivers=2)


def _all_replaced(server: Server, before: dict[str, int]) -> bool:
    now = server.pids("relayd")
    return now.keys() == before.keys() and not set(now.values()) & set(before.values())


def test_kills_of_one_transceiver_end_its_calls_and_no_other() -> None:
    async def story(server: Server) -> None:
        callers = await _connect(server, 6)
        by_transceiver: dict[int, set[str]] = {0: set(), 1: set()}
        for session in server.sessions():
            by_transceiver[session["transceiver"]].add(str(session["call_id"]))  # type: ignore[index]
        os.kill(server.pids("transceiverd")["transceiver0"], signal.SIGKILL)
        dead = [caller for caller in callers if caller.location.rpartition("/")[2] in by_transceiver[0]]
        alive = [caller for caller in callers if caller not in dead]
        assert dead
        assert alive
        await asyncio.wait_for(asyncio.gather(*(caller.ended.wait() for caller in dead)), 2)
        await _hear_again(alive)
        assert all(caller.states[-1] == "connected" for caller in alive)
        again = await _connect(server, 2)
        await _hear_again(again)
        await _close([*callers, *again])

    _run(story, workers=2, transceivers=2)


def test_kills_of_relayd_as_a_whole_keep_every_call() -> None:
    async def story(server: Server) -> None:
        callers = await _connect(server, 4)
        for number in (signal.SIGKILL, signal.SIGTERM):
            server.stop("relayd", number)
            await _until(lambda: not server.ready(), "/readyz says no")
            server.start("relayd")
            await _until(server.ready, "/readyz says yes")
            await _hear_again(callers)
        assert all(caller.states[-1] == "connected" for caller in callers)
        await _close(callers)

    _run(story, workers=2, transceivers=1)


def test_kills_of_transceiverds_supervisor_end_its_processes_and_a_new_one_serves_at_once() -> None:
    async def story(server: Server) -> None:
        callers = await _connect(server, 2)
        children = server.pids("transceiverd")
        assert len(children) == 2
        server.stop("transceiverd", signal.SIGKILL)
        for pid in children.values():
            await _until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), f"process {pid} died with its parent")
        server.start("transceiverd")
        await _until(server.ready, "/readyz says yes")
        again = await _connect(server, 2)
        await _hear_again(again)
        await _close([*callers, *again])

    _run(story, workers=1, transceivers=1)


def test_kills_of_one_transceiver_lose_no_packet_of_another_and_a_new_call_is_served_at_once() -> None:
    with running(workers=2, transceivers=2) as server, contextlib.ExitStack() as stack:
        callers = [stack.enter_context(UdpCaller(server.calls_url, seed=seed)) for seed in range(2)]
        for caller in callers:
            caller.connect()
        home = {session["call_id"]: session["transceiver"] for session in server.sessions()}
        victim, other = sorted(callers, key=lambda caller: home[caller.call_id] != 0)
        assert [home[victim.call_id], home[other.call_id]] == [0, 1]
        first = len(other.client.heard)
        os.kill(server.pids("transceiverd")["transceiver0"], signal.SIGKILL)
        again = stack.enter_context(UdpCaller(server.calls_url, seed=9))
        again.client.talking = True
        assert other.run(lambda: again.step(0.001) or len(again.client.heard) > 10, 5)
        assert other.run(lambda: len(other.client.heard) > first + 100, 10)
        numbers = [int(packet[12:].split()[1]) for packet in other.client.heard]
        assert numbers == [(numbers[0] + n) % 65536 for n in range(len(numbers))]  # none lost, none out of order
        assert victim.run(lambda: victim.client.closed, 5)
