"""What a call costs as calls grow: memory of an idle one, and the control thread's CPU for each consent check.

    python -m bench.growth [--steps 100,1000,5000,10000] [--rate 100] [--consent 5] [--hold 35]

One fresh server, the calls of `relayctl load`'s fleet in this process. Each call talks for a moment (one stream each
way), a hundred at a time, then only its checks go on. At the end all are held for `--hold` seconds, longer than consent
lasts without checks, and counted by the server.
"""

import argparse
import asyncio
import re

from bench.machine import describe
from tests.daemons import Server, running
from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan
from transceiverd.load.processes import ProcessMeter, between, with_children

SETTLE_SECONDS, WATCH_SECONDS = 2.0, 6.0
SOME, TALK_SECONDS = 100, 0.3
EVENT = re.compile(r'event="([\w-]+)",thread="control",transceiver="0"} ([\d.]+)')


def control_events(server: Server) -> dict[str, float]:
    """The control thread's counters, as /metrics has them."""
    return {name: float(count) for name, count in EVENT.findall(server.operator("/metrics"))}


def calls_live(server: Server) -> int:
    """Calls that the server holds, by the gauge: a list of 10,000 sessions takes seconds."""
    return int(float(re.findall(r"^ringline_calls\{.*\} (\S+)$", server.operator("/metrics"), re.MULTILINE)[0]))


async def dial(fleet: Fleet, calls: int, rate: float) -> None:
    """Up to `calls`, some at a time."""
    asked = len(fleet.calls)
    while asked < calls:
        some = min(SOME, calls - asked)
        for call in await fleet.dial(some, rate, talk=False):
            fleet.packets.talk(call.place, True)
        await asyncio.sleep(TALK_SECONDS)
        await fleet.hush()
        asked += some


async def watch(server: Server, meter: ProcessMeter, calls: int) -> float:
    """Print what the checks of `calls` silent calls cost; gives the memory in bytes."""
    memory = sum(usage.pss for usage in meter.sample(memory=True).values())
    before, events = meter.sample(), control_events(server)
    await asyncio.sleep(WATCH_SECONDS)
    used, after = between(before, meter.sample()), control_events(server)
    checks = max(after["records"] - events["records"], 1)
    lane = after["checks-answered-in-lane"] - events["checks-answered-in-lane"]
    control = used["transceiver0"].cpu
    print(f"{calls} calls: {memory / 1e6:.1f} MB; {checks / WATCH_SECONDS:.0f} checks/s, {lane / checks:.0%} answered "
          f"in the lane; transceiver {control / WATCH_SECONDS:.1%} of a CPU, {control / checks * 1e6:.0f} µs a check",
          flush=True)  # fmt: skip
    return memory


async def main(steps: list[int], rate: float, consent: float, hold: float) -> None:
    """All steps on one server."""
    print(f"growth: {describe()}")
    with running(workers=2, slots=steps[-1] + 16) as server:
        meter = ProcessMeter(
            [pid for daemon in server.daemons.values() for pid in with_children(daemon.pid)], own=False
        )
        plan = Plan(url=server.url, calls=steps[-1], consent_seconds=consent, patience_seconds=60.0)
        async with Fleet(plan) as fleet:
            memories = []
            for calls in steps:
                await dial(fleet, calls, rate)
                await asyncio.sleep(SETTLE_SECONDS)
                memories.append(await watch(server, meter, len(fleet.calls)))
            if len(steps) > 1:
                slope = (memories[-1] - memories[0]) / (steps[-1] - steps[0])
                print(f"memory of an idle call from {steps[0]} to {steps[-1]}: {slope / 1000:.1f} kB")
            await asyncio.sleep(hold)
            print(f"after {hold:g} s more: {calls_live(server)} of {fleet.tally.established} established calls live")
            fleet.hang_up_all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="100,1000,5000,10000", help="numbers of calls")
    parser.add_argument("--rate", type=float, default=100.0, help="calls dialled a second")
    parser.add_argument("--consent", type=float, default=5.0, help="seconds between checks of a call (RFC 7675: 5)")
    parser.add_argument("--hold", type=float, default=35.0, help="seconds that all are held at the end")
    asked = parser.parse_args()
    asyncio.run(main([int(n) for n in asked.steps.split(",")], asked.rate, asked.consent, asked.hold))
