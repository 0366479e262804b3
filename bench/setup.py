"""Set-up of calls: server CPU of an established call, calls a second until the first failure, round trips to audio.

    python -m bench.setup [--rounds 10] [--peers ringline Pion]

The servers and the client are those of `bench.echo`. CPU: each in turn gets some calls at a steady rate, what it uses
when idle is taken off; Janus without the adapter that speaks HTTP for it. Rates: every step begins with no calls, and
one call that is not established in time ends it. Round trips: first audio through a link that delays offers and
packets alike (`bench/delay.py`), the least of some calls, counted from the offer on an open connection.
"""

import argparse
import asyncio
import statistics
from collections import Counter
from typing import NamedTuple

from bench.delay import delayed
from bench.echo.peers import PEERS, Peer, started
from bench.machine import describe
from bench.ratio import against, spread
from transceiverd.load.fleet import Fleet, Placement
from transceiverd.load.plan import Plan
from transceiverd.load.processes import ProcessMeter, between, server_cpu

CALLS, RATE = 40, 20.0  # a round; aiortc takes no more a second
PARTS = ("trips", "cpu", "rates")
IDLE_SECONDS, SETTLE_SECONDS = 2.0, 0.5
RATES = (10, 20, 40, 60, 80, 100, 150, 200, 250, 300, 400)  # calls a second
RATE_SECONDS, PATIENCE_SECONDS = 3.0, 5.0
DELAY_SECONDS, DELAYED_CALLS = 0.05, 5  # one way


class Load(NamedTuple):
    """Of a round: how many calls, and how many a second."""

    calls: int = CALLS
    rate: float = RATE


class WatchingFleet(Fleet):
    """Remembers what was negotiated."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        self.negotiated: Counter[str] = Counter()

    def _establish(self, call: Placement) -> None:
        keys = call.caller.secured
        assert keys is not None
        self.negotiated[f"{keys.version} {keys.cipher} SRTP {keys.srtp_profile}"] += 1
        super()._establish(call)


def new_fleet(url: str, calls: int, patience: float = 30.0) -> WatchingFleet:
    """For one step."""
    return WatchingFleet(Plan(url=url, calls=calls, consent_seconds=15.0, patience_seconds=patience))


async def idle_share(meter: ProcessMeter) -> float:
    """CPU seconds of a second without calls."""
    before = meter.sample()
    await asyncio.sleep(IDLE_SECONDS)
    return server_cpu(between(before, meter.sample())) / IDLE_SECONDS


async def cpu_of_calls(peer: Peer, meter: ProcessMeter, idle: float, load: Load) -> tuple[float, Counter[str]]:
    """CPU ms of an established call, and what the calls negotiated."""
    async with new_fleet(peer.url, load.calls) as fleet:
        before, begun = meter.sample(), asyncio.get_running_loop().time()
        await fleet.dial(load.calls, load.rate, talk=False)
        await asyncio.sleep(SETTLE_SECONDS)
        spent = server_cpu(between(before, meter.sample()))
        spent -= idle * (asyncio.get_running_loop().time() - begun)
        established = max(fleet.tally.established, 1)
        fleet.hang_up_all()
        await asyncio.sleep(SETTLE_SECONDS)
        return spent / established * 1000, fleet.negotiated


async def compare(peers: list[Peer], rounds: int, load: Load) -> None:
    """CPU, interleaved."""
    meters = {peer.name: ProcessMeter(peer.pids, own=False) for peer in peers}
    idle = {peer.name: await idle_share(meters[peer.name]) for peer in peers}
    samples: dict[str, list[float]] = {peer.name: [] for peer in peers}
    negotiated: dict[str, Counter[str]] = {peer.name: Counter() for peer in peers}
    for number in range(rounds + 1):
        for place in range(len(peers)):
            peer = peers[(place + number) % len(peers)]
            found, seen = await cpu_of_calls(peer, meters[peer.name], idle[peer.name], load)
            negotiated[peer.name] += seen
            if number:  # the first round only warms up
                samples[peer.name].append(max(found, 0.01))
    print(f"\nserver CPU of an established call, {load.rate:g} calls/s, {rounds} rounds of {load.calls}\n"
          "| | ms | ringline's ratio | negotiated |\n|---|---|---|---|")  # fmt: skip
    for name, values in samples.items():
        ratio = against(samples["ringline"], values) if "ringline" in samples and name != "ringline" else ""
        print(f"| {name} | {spread(values)} | {ratio} | {dict(negotiated[name])} |", flush=True)


async def fastest(peer: Peer) -> str:
    """Calls a second until the first that fails."""
    held = 0
    for rate in RATES:
        count = int(rate * RATE_SECONDS)
        async with new_fleet(peer.url, count, PATIENCE_SECONDS) as fleet:
            await fleet.dial(count, rate, talk=False)
            failed, times = dict(fleet.tally.failed), fleet.tally.summary()["setup_ms"]["established"]
            fleet.hang_up_all()
            await asyncio.sleep(2 * SETTLE_SECONDS)
        if failed:
            return f"{held}/s; at {rate}/s: {failed} of {count}"
        held, last = rate, times
    return f"{held}/s held, no more tried (set-up p50 {last['p50']:.0f} ms, p99 {last['p99']:.0f} ms)"


async def round_trips(peer: Peer) -> str:
    """From the offer to the first audio that came back."""
    async with delayed(peer.url, DELAY_SECONDS) as url, new_fleet(url, DELAYED_CALLS + 1) as fleet:
        times = []
        for _ in range(DELAYED_CALLS + 1):  # the first one opens the connection
            for call in await fleet.dial(1, 1000.0, talk=True):
                await asyncio.sleep(10 * DELAY_SECONDS)
                heard = fleet.heard_at(call)
                if heard:
                    times.append((heard - call.asked_at) / 1e6)
        fleet.hang_up_all()
        failed = dict(fleet.tally.failed)
    times = times[1:]
    if not times:
        return f"nothing heard {failed}"
    trip = 2 * DELAY_SECONDS * 1000
    return f"{min(times) / trip:.1f} round trips (least {min(times):.0f} ms, median {statistics.median(times):.0f} ms)"


async def measure(peers: list[Peer], parts: list[str], rounds: int, load: Load) -> None:
    """Those parts."""
    if "trips" in parts:
        print(f"\nfirst audio through {2 * DELAY_SECONDS * 1000:g} ms of round trip, least of {DELAYED_CALLS} calls")
        for peer in peers:
            print(f"| {peer.name} | {await round_trips(peer)} |", flush=True)
    if "cpu" in parts:
        await compare(peers, rounds, load)
        print(describe())
    if "rates" in parts:
        print(f"\ncalls a second until the first is not established in {PATIENCE_SECONDS:g} s")
        for peer in peers:
            print(f"| {peer.name} | {await fastest(peer)} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=CALLS, help="of a round of the part cpu")
    parser.add_argument("--rate", type=float, default=RATE, help="calls a second of the part cpu")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    options = parser.parse_args()
    print(describe())
    with started(options.peers) as peers:
        asyncio.run(measure(peers, options.parts, options.rounds, Load(options.calls, options.rate)))
    print(describe())


if __name__ == "__main__":
    main()
