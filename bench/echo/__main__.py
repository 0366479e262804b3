"""Echo of whole calls: both daemons together against Pion, str0m, Janus and aiortc, in interleaved rounds.

    python -m bench.echo [--rounds 15] [--peers ringline Pion] [--plot echo.svg]

The load is `relayctl load`'s fleet in this process: ICE, DTLS, SRTP, 50 packets a second a call, numbered and checked.
All servers run at the same time, each with its calls up and silent; in a round one after the other is talked to for a
few seconds and its CPU counted, its idle calls included. Then each gets more and more calls, until one fails or more
than a thousandth of the packets is lost. Round trip: from our send to the kernel's arrival stamp.
"""

import argparse
import asyncio
import contextlib
import statistics
from pathlib import Path
from typing import NamedTuple

from bench.bars import Bar, draw
from bench.echo.peers import PEERS, Peer, started
from bench.machine import describe
from bench.ratio import against, spread
from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan
from transceiverd.load.processes import ProcessMeter, Usage, between

LOADS = (40, 200)  # calls: 2,000 and 10,000 packets/s
DIAL_RATE = 20.0  # calls a second; aiortc takes no more
WARM_SECONDS, TALK_SECONDS = 0.4, 2.5
STEPS = (100, 200, 300, 400, 500, 600, 800, 1000, 1200, 1400)  # calls, for the most that hold
STEP_RATE, STEP_SECONDS = 40.0, 4.0
LOSS_MAX = 0.001
HEADER = """\
| | CPU of a packet, µs | system | ringline's ratio | round trip p50, p99 ms | lost |
|---|---|---|---|---|---|"""


class Round(NamedTuple):
    """One peer, one round. Times in ms."""

    sent: int
    received: int
    used: Usage
    p50: float
    p99: float

    @property
    def micros(self) -> float:
        """CPU of a packet that came back."""
        return self.used.cpu * 1e6 / max(self.received, 1)


Samples = dict[str, list[Round]]


def new_fleet(peer: Peer, calls: int) -> Fleet:
    """For calls of one peer."""
    return Fleet(Plan(url=peer.url, calls=calls, consent_seconds=15.0, patience_seconds=60.0))


def used(before: dict[str, Usage], after: dict[str, Usage]) -> Usage:
    """By all processes together."""
    found = between(before, after).values()
    return Usage(sum(one.user for one in found), sum(one.system for one in found))


async def talk(fleet: Fleet, meter: ProcessMeter, seconds: float) -> Round:
    """All calls of a fleet talk; then silence."""
    for call in fleet.calls.values():
        fleet.packets.talk(call.place, True)
    await asyncio.sleep(WARM_SECONDS)
    histogram, counted, before = fleet.packets.histograms()["round_trip"], fleet.packets.totals(), meter.sample()
    await asyncio.sleep(seconds)
    spent, received = used(before, meter.sample()), fleet.packets.totals()["received"] - counted["received"]
    round_trip = fleet.packets.histograms()["round_trip"].since(histogram)
    await fleet.hush()
    lost = fleet.packets.totals()
    missing = (lost["sent"] - lost["received"]) - max(counted["sent"] - counted["received"], 0)
    missing -= lost["kernel_drops"] - counted["kernel_drops"]  # those came back, and we were too slow to take them
    sent = received + max(missing, 0)
    return Round(sent, received, spent, round_trip.percentile(50) / 1e6, round_trip.percentile(99) / 1e6)


async def matched(peers: list[Peer], calls: int, rounds: int) -> Samples:
    """The same load for each in turn."""
    samples: Samples = {peer.name: [] for peer in peers}
    async with contextlib.AsyncExitStack() as stack:
        fleets = []
        for peer in peers:
            fleet = await stack.enter_async_context(new_fleet(peer, calls))
            placed = len(await fleet.dial(calls, DIAL_RATE, talk=False))
            print(f"  {peer.name}: {placed} of {calls} calls up {dict(fleet.tally.failed) or ''}", flush=True)
            fleets.append((peer, fleet, ProcessMeter(peer.pids, own=False)))
        for number in range(rounds + 1):
            for place in range(len(fleets)):
                peer, fleet, meter = fleets[(place + number) % len(fleets)]
                found = await talk(fleet, meter, TALK_SECONDS)
                if number:  # the first round only warms up
                    samples[peer.name].append(found)
        for _, fleet, _ in fleets:
            fleet.hang_up_all()
        await asyncio.sleep(0.5)
    return samples


async def most(peer: Peer) -> tuple[int, Round | None, str]:
    """The largest number of calls that held, how it went there, and what ended it."""
    held, last, reason = 0, None, "the last step held"
    meter = ProcessMeter(peer.pids, own=False)
    async with new_fleet(peer, max(STEPS)) as fleet:
        for calls in STEPS:
            await fleet.dial(calls - len(fleet.calls), STEP_RATE, talk=False)
            if len(fleet.calls) < calls:
                reason = f"{calls - len(fleet.calls)} of {calls} calls failed: {dict(fleet.tally.failed)}"
                break
            found = await talk(fleet, meter, STEP_SECONDS)
            if found.received < found.sent * (1 - LOSS_MAX):
                reason = f"{1 - found.received / found.sent:.1%} lost at {calls} calls"
                break
            held, last = calls, found
        fleet.hang_up_all()
        await asyncio.sleep(1)
    return held, last, reason


def tell(calls: int, rounds: int, samples: Samples) -> list[Bar]:
    """Rows of a table; what to draw of them."""
    print(f"\n{calls * 50} packets/s, {calls} calls, {rounds} rounds")
    print(HEADER)
    ours, bars = samples.get("ringline", []), []
    for name, found in samples.items():
        micros = [one.micros for one in found]
        system = sum(one.used.system for one in found) / max(sum(one.used.cpu for one in found), 1e-9)
        ratio = against([one.micros for one in ours], micros) if ours and name != "ringline" else ""
        lost = 1 - sum(one.received for one in found) / max(sum(one.sent for one in found), 1)
        times = f"{statistics.median(one.p50 for one in found):.2f}, {statistics.median(one.p99 for one in found):.1f}"
        print(f"| {name} | {spread(micros, 1)} | {system:.0%} | {ratio} | {times} | {lost:.2%} |")
        bars.append(Bar(f"{name}, {calls * 50}/s", statistics.median(micros), min(micros), max(micros)))
    return bars


async def measure(peers: list[Peer], loads: list[int], rounds: int, limits: bool) -> list[Bar]:
    """All parts."""
    bars = []
    for calls in loads:
        samples = await matched(peers, calls, rounds)
        bars += tell(calls, rounds, samples)
        print(describe(), flush=True)
    for peer in peers if limits else []:
        held, last, reason = await most(peer)
        figures = "" if last is None else f", {last.micros:.1f} µs a packet, p50 {last.p50:.2f} p99 {last.p99:.1f} ms"
        print(f"most that hold: {peer.name} {held} calls ({held * 50} packets/s{figures}); {reason}", flush=True)
    return bars


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--loads", type=int, nargs="*", default=LOADS, help="calls of each matched load; may be none")
    parser.add_argument("--no-limits", action="store_true", help="leave out the most that hold")
    parser.add_argument("--plot", type=Path, help="an SVG of CPU per packet")
    options = parser.parse_args()
    print(describe())
    with started(options.peers) as peers:
        bars = asyncio.run(measure(peers, options.loads, options.rounds, not options.no_limits))
    print(describe())
    if options.plot:
        options.plot.write_text(draw("CPU of an echoed packet, µs: median, least and most", bars))


if __name__ == "__main__":
    main()
