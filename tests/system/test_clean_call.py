"""A call stays clean while the control side of its transceiver is blocked, collects garbage, or is rebuilt mid-call.

500 idle calls are held by the load generator's fleet (established, consent alive) and one call is measured: its packets
carry numbers and send times, and arrivals are stamped by the kernel, so that what is measured is when the server sent,
not how busy this process is. What must never happen is asserted for every packet. A hole can also come from other load
on the machine: so rounds are repeated until one has none, and a call that depended on the control thread would have
holes of a second in each of them. Percentiles over all rounds are printed beside those of an undisturbed call.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from tests.daemons import Server, running, wait_for
from transceiverd.load.fleet import TAIL_SECONDS, Fleet, Placement
from transceiverd.load.histogram import Histogram
from transceiverd.load.plan import Plan

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

LAUNCHER = ("-m", "tests.system.instrumented_transceiverd")
IDLE_CALLS = 500
REBUILT_CALLS = 20
RATE = 50.0  # calls a second
ROUNDS_LEAST, ROUNDS_MOST = 3, 10
DISTURBANCES = 3  # a round
GAP_NS = 60_000_000  # three packets: beyond it a listener would hear something
PAUSE_SECONDS = 0.7  # before, between and after disturbances
PACKET_NS = 20_000_000


@dataclass
class Measured:
    """The talking call of one round."""

    sent: int
    received: int
    duplicates: int
    reordered: int
    gap_max: int
    spacing: Histogram
    own_spacing: Histogram

    @property
    def is_clean(self) -> bool:
        """No hole but those that we sent ourselves."""
        return self.gap_max - max(self.own_spacing.highest - PACKET_NS, 0) <= GAP_NS

    def __str__(self) -> str:
        return (
            f"{self.received} of {self.sent} packets, longest gap {self.gap_max / 1e6:.1f} ms "
            f"(sent with {self.own_spacing.highest / 1e6:.1f} ms)"
        )


@contextmanager
def instrumented() -> Iterator[Server]:
    with running(python=LAUNCHER) as server:
        yield server


def transceiver_pid(server: Server) -> int:
    return server.pids("transceiverd")["transceiver0"]


async def said(server: Server, text: str, times: int) -> None:
    """Until the launcher has acknowledged so often."""
    await asyncio.to_thread(wait_for, lambda: server.log.read_text().count(text) >= times, f"{times} x {text!r}", 30)


@asynccontextmanager
async def idle_calls(server: Server, count: int) -> AsyncIterator[Fleet]:
    """The fleet with `count` silent calls; all of them are still there at the end."""
    async with Fleet(Plan(url=server.url, calls=count + 1, patience_seconds=30)) as fleet:
        await fleet.dial(count, RATE, talk=False)
        assert len(fleet.calls) == count, fleet.tally.summary()
        yield fleet
        assert not fleet.tally.ended, fleet.tally.ended
        assert not fleet.tally.failed, fleet.tally.failed
        fleet.hang_up_all()


async def measured_round(fleet: Fleet, disturb: Callable[[], Awaitable[None]]) -> Measured:
    """One talking call, disturbed a few times."""
    before = fleet.packets.histograms()
    (call,) = await fleet.dial(1, 1000.0, talk=True)
    for _ in range(DISTURBANCES):
        await asyncio.sleep(PAUSE_SECONDS)
        await disturb()
    await asyncio.sleep(PAUSE_SECONDS)
    fleet.packets.talk(call.place, False)
    await asyncio.sleep(TAIL_SECONDS)
    after = fleet.packets.histograms()
    counted = fleet.packets.caller(call.place)
    fleet.hang_up(call)
    return Measured(
        counted["sent"],
        counted["received"],
        counted["duplicates"],
        counted["reordered"],
        counted["gap_max"],
        after["spacing"].since(before["spacing"]),
        after["sent_spacing"].since(before["sent_spacing"]),
    )


def described(name: str, rounds: list[Measured]) -> str:
    """Percentiles of departure spacing over all rounds."""
    spacing = sum((one.spacing for one in rounds), Histogram())
    own = sum((one.own_spacing for one in rounds), Histogram())
    words = [f"  {name}: {spacing.total} departures, times in ms"]
    for label, one in (("departure spacing", spacing), ("as we sent", own)):
        words.append(
            f"{label} " + " ".join(f"{key} {value:.2f}" for key, value in one.summary().items() if key[0] != "c")
        )
    return "; ".join(words)


def assert_clean(rounds: list[Measured], fleet: Fleet) -> None:
    """Nothing lost, doubled or out of order in any round, and no hole in at least one."""
    totals = fleet.packets.totals()
    words = "\n".join(map(str, rounds))
    assert all(one.received == one.sent > 0 for one in rounds), words
    assert all(one.duplicates == one.reordered == 0 for one in rounds), words
    assert totals["foreign"] == totals["unauthentic"] == 0, totals
    assert any(one.is_clean for one in rounds), words


async def disturbed(server: Server, number: signal.Signals, word: str, calls: int) -> tuple[str, int]:
    """The story; gives what it measured, and how many disturbances there were."""
    acknowledged = 0

    async def disturb() -> None:
        nonlocal acknowledged
        acknowledged += 1
        os.kill(transceiver_pid(server), number)
        await said(server, f"instrumented: {word}", acknowledged)

    async with idle_calls(server, calls) as fleet:
        undisturbed = await measured_round(fleet, lambda: asyncio.sleep(1))
        rounds: list[Measured] = []
        while len(rounds) < ROUNDS_LEAST or (len(rounds) < ROUNDS_MOST and not any(one.is_clean for one in rounds)):
            rounds.append(await measured_round(fleet, disturb))
        await asyncio.to_thread(wait_for, lambda: len(server.sessions()) == calls, "only the idle calls are left")
        assert_clean(rounds, fleet)
    return f"\n{described('undisturbed', [undisturbed])}\n{described(word, rounds)}", acknowledged


def test_clean_call_has_no_gap_while_control_is_blocked_for_a_second_and_500_calls_are_held(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with instrumented() as server:
        words, _ = asyncio.run(disturbed(server, signal.SIGUSR2, "blocked", IDLE_CALLS))
    with capsys.disabled():
        print(words)


def test_clean_call_has_no_gap_while_garbage_is_collected_with_500_calls(capsys: pytest.CaptureFixture[str]) -> None:
    with instrumented() as server:
        words, _ = asyncio.run(disturbed(server, signal.SIGUSR1, "collected", IDLE_CALLS))
        collected = [line for line in server.log.read_text().splitlines() if "instrumented: collected" in line]
    with capsys.disabled():
        print(words, collected[-1], sep="\n  ")


def test_clean_call_goes_on_when_contexts_and_record_layer_are_rebuilt_from_the_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with instrumented() as server:
        words, rebuilds = asyncio.run(disturbed(server, signal.SIGRTMIN, "rebuilt", REBUILT_CALLS))
        owners = [owner for one in server.status().transceivers for owner in one.owners]
        rebuilt = sum(owner.counters.get("rebuilt", 0) for owner in owners)
        assert rebuilt == rebuilds * (REBUILT_CALLS + 1)
    with capsys.disabled():
        print(words)


def test_clean_call_rebuilt_mid_call_says_and_hears_close_notify() -> None:
    async def story(server: Server) -> None:
        async with Fleet(Plan(url=server.url, calls=2)) as fleet:
            first, second = await fleet.dial(2, 100.0)
            await asyncio.sleep(0.5)
            os.kill(transceiver_pid(server), signal.SIGRTMIN)
            await said(server, "instrumented: rebuilt 2 calls", 1)
            await asyncio.sleep(0.5)
            await _server_hangs_up(fleet, first)
            fleet.hang_up(second)
            await asyncio.to_thread(wait_for, lambda: not server.sessions(), "the server heard our close_notify", 5)

    async def _server_hangs_up(fleet: Fleet, call: Placement) -> None:
        async with aiohttp.ClientSession() as http, http.delete(call.location) as reply:
            assert reply.status == 200
        for _ in range(100):
            if fleet.tally.ended:
                break
            await asyncio.sleep(0.05)
        assert dict(fleet.tally.ended) == {"close notify": 1}

    with instrumented() as server:
        asyncio.run(story(server))
