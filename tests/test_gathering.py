"""Few packets go to one worker, with the media thread on its CPU; from a worker that stands still they go elsewhere."""

import asyncio
import os
import signal
from pathlib import Path

from tests.daemons import Server, running, wait_for
from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan

CALLS = 8  # 400 packets a second


async def _until(fleet: Fleet, packets: int) -> None:
    """So many more came back."""
    wanted = fleet.packets.totals()["received"] + packets
    await asyncio.to_thread(wait_for, lambda: fleet.packets.totals()["received"] >= wanted, f"{packets} packets more")


async def _goes_to(server: Server, workers: list[int]) -> None:
    await asyncio.to_thread(wait_for, lambda: server.status().packets_to == workers, f"packets go to {workers}")


async def _only_this_one_gets_any(server: Server, worker: int, packets: int) -> None:
    """Between two looks far enough apart; a busy machine may have spread them for a while before."""

    def seen() -> bool:
        before, gained = _received(server), [0, 0]
        while sum(gained) < packets:
            gained = [now - then for now, then in zip(_received(server), before, strict=True)]
        return gained[1 - worker] == 0

    await asyncio.to_thread(wait_for, seen, f"only worker {worker} gets packets", 20)


def _received(server: Server) -> list[int]:
    return [worker.packets.outcomes.get("forwarded_rtp", 0) for worker in server.status().workers]


def _shares_cpu(server: Server, worker: int) -> bool:
    """Whether a thread of the transceiver may run on the worker's CPU only."""
    home = os.sched_getaffinity(server.pids("relayd")[f"relayd-worker{worker}"])
    threads = Path(f"/proc/{server.pids('transceiverd')['transceiver0']}/task").iterdir()
    return len(home) == 1 and any(os.sched_getaffinity(int(thread.name)) == home for thread in threads)


def test_gathering_one_worker_gets_all_packets_until_it_stands_still() -> None:
    async def story(server: Server) -> None:
        async with Fleet(Plan(url=server.url, calls=CALLS)) as fleet:
            assert len(await fleet.dial(CALLS, 50.0, talk=True)) == CALLS
            await _goes_to(server, [0])
            await _only_this_one_gets_any(server, 0, 200)
            await asyncio.to_thread(wait_for, lambda: _shares_cpu(server, 0), "media is on worker 0's CPU")

            first = server.pids("relayd")["relayd-worker0"]
            os.kill(first, signal.SIGSTOP)
            await _goes_to(server, [1])
            await _until(fleet, 200)
            await asyncio.to_thread(wait_for, lambda: _shares_cpu(server, 1), "media is on worker 1's CPU")
            os.kill(first, signal.SIGCONT)
            await _until(fleet, 200)
            assert server.pids("relayd")["relayd-worker0"] == first
            fleet.hang_up_all()

    with running(workers=2, relay="stuck_after_ms = 30000") as server:
        asyncio.run(story(server))


def test_gathering_is_off_when_configured_so() -> None:
    async def story(server: Server) -> None:
        async with Fleet(Plan(url=server.url, calls=CALLS * 2)) as fleet:
            await fleet.dial(CALLS * 2, 50.0, talk=True)
            await _until(fleet, 1500)
            assert server.status().packets_to == [0, 1]
            assert min(_received(server)) > 0
            fleet.hang_up_all()

    with running(workers=2, relay="spread_above_percent = 0") as server:
        asyncio.run(story(server))
