"""Memory of an idle call, CPU of a set-up and of an echoed packet: the real daemons under the load generator.

    python -m bench.measure memory setup echo      # or any of them

Each starts fresh daemons on free loopback ports, with calls by `relayctl load`'s fleet in this process, which is not
counted. CPU time is the kernel's exact run time, user and system together (their split is sampled and not exact).
"""

import argparse
import asyncio
import statistics
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from bench.machine import describe
from tests.daemons import Server, running
from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan
from transceiverd.load.processes import ProcessMeter, Sample, between, server_cpu, with_children

MEMORY_STEPS = (50, 250, 500, 1000)  # calls
SETUP_CALLS, SETUP_RATES, SETUP_ROUNDS = 150, (50.0, 200.0), 4  # calls a round, calls a second
ECHO_CALLS = (40, 200)  # 2,000 and 10,000 packets/s
ECHO_SECONDS, ECHO_ROUNDS = 4.0, 3
SETTLE_SECONDS = 1.5


@contextmanager
def server() -> Iterator[tuple[Server, ProcessMeter]]:
    """Both daemons as `make run` would start them on two CPUs, and a meter for all of their processes."""
    with running(workers=2, transceivers=1) as daemons:
        pids = [pid for daemon in daemons.daemons.values() for pid in with_children(daemon.pid)]
        yield daemons, ProcessMeter(pids, own=False)


def plan(daemons: Server, calls: int) -> Plan:
    """Consent checks as rare as they may be, so that they do not count as something else."""
    return Plan(url=daemons.url, calls=calls, consent_seconds=15.0, patience_seconds=30.0)


def by_process(used: Sample, unit: float, per: int) -> str:
    """Parts of a figure."""
    parts = {name: usage.cpu / per * unit for name, usage in used.items()}
    return ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if value >= 0.01)


async def memory() -> None:
    """PSS of all server processes at several numbers of calls that talked and fell silent; its slope is a call's."""
    with server() as (daemons, meter):
        async with Fleet(plan(daemons, max(MEMORY_STEPS))) as fleet:
            points = []
            for calls in MEMORY_STEPS:
                await fleet.dial(calls - len(fleet.calls), 100.0, talk=True)  # one stream each way, then silence
                await asyncio.sleep(SETTLE_SECONDS)
                await fleet.hush()
                sample = meter.sample(memory=True)
                points.append((len(fleet.calls), sum(usage.pss for usage in sample.values())))
                parts = ", ".join(f"{name} {usage.pss / 1e6:.1f}" for name, usage in sample.items())
                print(f"  {points[-1][0]} calls: {points[-1][1] / 1e6:.2f} MB ({parts})", flush=True)
            fleet.hang_up_all()
    slope, _ = statistics.linear_regression([x for x, _ in points], [y for _, y in points])
    (first, low), (last, high) = points[0], points[-1]
    print(f"memory of an idle call: {slope / 1000:.1f} kB (regression), {(high - low) / (last - first) / 1000:.1f} kB "
          f"from {first} to {last} calls")  # fmt: skip


async def setup() -> None:
    """Server CPU of an established call at a steady rate; what the idle server uses in the same time is taken off."""
    with server() as (daemons, meter):
        before = meter.sample()
        await asyncio.sleep(SETTLE_SECONDS)
        idle = server_cpu(between(before, meter.sample())) / SETTLE_SECONDS
        print(f"  idle: {idle * 1000:.1f} ms a second")
        figures: dict[float, list[float]] = {rate: [] for rate in SETUP_RATES}
        for rate in SETUP_RATES * SETUP_ROUNDS:
            async with Fleet(plan(daemons, SETUP_CALLS)) as fleet:
                before = meter.sample()
                await fleet.dial(SETUP_CALLS, rate, talk=False)
                used = between(before, meter.sample())
                established = fleet.tally.established
                figures[rate].append((server_cpu(used) - idle * SETUP_CALLS / rate) / established * 1000)
                parts = by_process(used, 1000, established)
                print(f"  {established} calls, {rate:g}/s: {figures[rate][-1]:.2f} ms ({parts})", flush=True)
                fleet.hang_up_all()
                await asyncio.sleep(SETTLE_SECONDS)
    for rate, values in figures.items():
        print(f"CPU of a set-up at {rate:g} calls/s: {statistics.median(values):.2f} ms (median of {SETUP_ROUNDS}; "
              f"{min(values):.2f} to {max(values):.2f})")  # fmt: skip


async def echo() -> None:
    """Server CPU of a packet that comes back, both daemons together, at two loads in turn."""
    figures: dict[int, list[float]] = {calls: [] for calls in ECHO_CALLS}
    with server() as (daemons, meter):
        async with Fleet(plan(daemons, max(ECHO_CALLS))) as fleet:
            calls = await fleet.dial(max(ECHO_CALLS), 100.0, talk=False)
            for _ in range(ECHO_ROUNDS):
                for talkers in ECHO_CALLS:
                    for call in calls[:talkers]:
                        fleet.packets.talk(call.place, True)
                    await asyncio.sleep(0.5)
                    before, histogram = meter.sample(), fleet.packets.histograms()["round_trip"]
                    received = fleet.packets.totals()["received"]
                    await asyncio.sleep(ECHO_SECONDS)
                    used = between(before, meter.sample())
                    packets = fleet.packets.totals()["received"] - received
                    round_trip = fleet.packets.histograms()["round_trip"].since(histogram)
                    await fleet.hush()
                    figures[talkers].append(server_cpu(used) / packets * 1e6)
                    print(
                        f"  {packets / ECHO_SECONDS:.0f} packets/s: {figures[talkers][-1]:.1f} µs a packet "
                        f"({by_process(used, 1e6, packets)}), round trip p50 {round_trip.percentile(50) / 1e6:.2f} "
                        f"p99 {round_trip.percentile(99) / 1e6:.2f} ms",
                        flush=True,
                    )
            totals = fleet.packets.totals()
            print(f"  {totals['sent']} packets sent, {totals['sent'] - totals['received']} lost")
            fleet.hang_up_all()
    for talkers, values in figures.items():
        print(f"CPU of an echoed packet at {talkers * 50} packets/s: {statistics.median(values):.1f} µs "
              f"(median of {ECHO_ROUNDS}; {min(values):.1f} to {max(values):.1f})")  # fmt: skip


MEASURES: dict[str, Callable[[], Awaitable[None]]] = {"memory": memory, "setup": setup, "echo": echo}


def main() -> None:
    """All that were named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=MEASURES)
    for name in parser.parse_args().what:
        print(f"{name}: {describe()}")
        asyncio.run(MEASURES[name]())  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
