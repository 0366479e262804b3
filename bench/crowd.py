"""Cost of a packet among held calls, 100 to 10,000 of them, and whether all stay alive (checks alone: `bench.growth`).

    python -m bench.crowd [--steps 100,1000,5000,10000] [--talkers 100]

Two CPUs do not carry 10,000 voices: each call talks for about a second when it is set up, so that it has had one stream
each way, and then only keeps its consent alive (a check every 15 s, the rarest that is allowed). At each step the same
number of them talks, 50 packets a second each; the CPU of what the held calls cost in the same time, measured just
before, is taken off. At the last step all are held beyond the 30 s after which a server gives a call up.
"""

import argparse
import asyncio
import random
import statistics
from typing import NamedTuple

from bench.growth import calls_live
from bench.machine import describe
from bench.measure import SETTLE_SECONDS, by_process
from tests.daemons import Server, running
from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan
from transceiverd.load.processes import ProcessMeter, Sample, between, server_cpu, with_children

SLICE, RATE = 200, 100.0  # calls that talk while others are set up, and calls a second
IDLE_SECONDS, TALK_SECONDS = 5.0, 8.0
CONSENT_SECONDS = 15.0
EXPIRY_SECONDS = 35.0  # beyond RFC 7675's 30 s


class Step(NamedTuple):
    """What was seen with so many calls up."""

    calls: int
    bytes_all: int
    idle: float
    """CPU of the held calls and the server itself, seconds a second."""
    packet: float
    """CPU of an echoed packet without that, µs."""
    gross: float
    lost: int
    p50: float
    p99: float


def main() -> None:
    """Run and tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="100,1000,5000,10000", help="calls, with commas between")
    parser.add_argument("--talkers", type=int, default=100)
    options = parser.parse_args()
    steps = [int(word) for word in options.steps.split(",")]
    print(describe())
    with running(workers=2, transceivers=1, slots=max(steps) + 512) as daemons:
        found = asyncio.run(grow(daemons, steps, options.talkers))
    tell(found)
    print(describe())


async def grow(daemons: Server, steps: list[int], talkers: int) -> list[Step]:
    """All steps on one server."""
    plan = Plan(url=daemons.url, calls=max(steps), consent_seconds=CONSENT_SECONDS, patience_seconds=30.0)
    pids = [pid for daemon in daemons.daemons.values() for pid in with_children(daemon.pid)]
    meter = ProcessMeter(pids, own=False)
    found = []
    async with Fleet(plan) as fleet:
        for calls in steps:
            while len(fleet.calls) < calls and fleet.tally.asked < 1.1 * max(steps):
                await fleet.dial(min(SLICE, calls - len(fleet.calls)), RATE, talk=True)
                await fleet.hush()
            await asyncio.sleep(SETTLE_SECONDS)
            found.append(await look(fleet, meter, talkers))
            print(f"  {found[-1]}", flush=True)
        await asyncio.sleep(EXPIRY_SECONDS)
        known = calls_live(daemons)
        ended, failed = dict(fleet.tally.ended) or "none", dict(fleet.tally.failed) or "none"
        print(f"held {EXPIRY_SECONDS:.0f} s more: {fleet.up} of {found[-1].calls} up, {known} known to the server")
        print(f"  ended early: {ended}; never up: {failed}")
        fleet.hang_up_all()
        await asyncio.sleep(SETTLE_SECONDS)
    return found


async def look(fleet: Fleet, meter: ProcessMeter, talkers: int) -> Step:
    """One step: memory, what holding costs, what a packet costs."""
    memory = sum(usage.pss for usage in meter.sample(memory=True).values())
    before = meter.sample()
    await asyncio.sleep(IDLE_SECONDS)
    idle = server_cpu(between(before, meter.sample())) / IDLE_SECONDS
    quiet = fleet.packets.totals()
    chosen = random.Random(talkers).sample(list(fleet.calls.values()), min(talkers, len(fleet.calls)))
    for call in chosen:  # spread over the table and over time: packets of neighbours would leave together
        fleet.packets.talk(call.place, True)
    await asyncio.sleep(0.5)
    start, histogram = fleet.packets.totals()["received"], fleet.packets.histograms()["round_trip"]
    before = meter.sample()
    await asyncio.sleep(TALK_SECONDS)
    used: Sample = between(before, meter.sample())
    packets = fleet.packets.totals()["received"] - start
    times = fleet.packets.histograms()["round_trip"].since(histogram)
    await fleet.hush()
    end = fleet.packets.totals()
    print(f"  of a packet, idle cost within: {by_process(used, 1e6, packets)}")
    lost = end["sent"] - end["received"] - (quiet["sent"] - quiet["received"])
    net = (server_cpu(used) - idle * TALK_SECONDS) / packets * 1e6
    gross = server_cpu(used) / packets * 1e6
    middle, late = times.percentile(50) / 1e6, times.percentile(99) / 1e6
    return Step(fleet.up, memory, idle, net, gross, lost, middle, late)


def tell(found: list[Step]) -> None:
    """A table, and what it says of the targets."""
    heads = ("calls", "PSS, MB", "holding, % of a CPU", "a packet, µs", "with it", "lost", "p50 ms", "p99 ms")
    print("  ".join(heads))
    for step in found:
        figures = (
            step.calls,
            step.bytes_all / 1e6,
            step.idle * 100,
            step.packet,
            step.gross,
            step.lost,
            step.p50,
            step.p99,
        )
        print("  ".join(f"{figure:{len(head)}.{0 if isinstance(figure, int) else 2}f}"
                        for head, figure in zip(heads, figures, strict=True)))  # fmt: skip
    upto = [step for step in found if step.calls <= 5000]
    if len(upto) > 1:
        first, last = upto[0], upto[-1]
        slope, _ = statistics.linear_regression([step.calls for step in upto], [step.bytes_all for step in upto])
        print(f"memory of a call, {first.calls} to {last.calls}: {slope / 1000:.1f} kB (target: at most 60)")
        print(f"a packet at {last.calls} calls: {last.packet / first.packet:.2f} x one at {first.calls}, "
              f"{last.gross / first.gross:.2f} x with what holding costs (target: at most 1.2)")  # fmt: skip


if __name__ == "__main__":
    main()
