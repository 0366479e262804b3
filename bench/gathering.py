"""Echo of whole calls by our server as it gathers packets and places threads, and as it does not, interleaved.

    python -m bench.gathering [--calls 40 200] [--rounds 10] [--only gathered spread]

All servers run at the same time, each with its calls up and silent; in a round one after the other is talked to for
`--seconds` and its CPU counted. `spread`: every worker gets packets, the media thread runs anywhere. `one worker`:
packets are gathered, the media thread runs anywhere. `gathered`: the default. `naps`: spread, the media thread naps
for up to 1 ms (`media.coalesce_us`). At the end: system calls of workers and media thread by their own counters.
"""

import argparse
import asyncio
import contextlib
import statistics
from typing import NamedTuple

from bench.echo.__main__ import Round, talk
from bench.machine import describe
from bench.ratio import against, spread
from tests.daemons import Server, running
from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan
from transceiverd.load.processes import ProcessMeter, with_children

NOT_GATHERED = "spread_above_percent = 0"
SERVERS = {  # lines for [relay], for [media]
    "spread": (NOT_GATHERED, "follow_worker = false"),
    "one worker": ("", "follow_worker = false"),
    "gathered": ("", ""),
    "naps": (NOT_GATHERED, "follow_worker = false\ncoalesce_us = 1000"),
}
DIAL_RATE = 60.0  # calls a second
SETTLE_SECONDS = 1.5  # of talking, until packets are where they stay
WORKER_CALLS, MEDIA_CALLS = ("sleeps", "receive_calls", "send_calls", "doorbells"), ("turns", "sleeps", "doorbells")


class Contender(NamedTuple):
    """One server and its callers."""

    name: str
    server: Server
    fleet: Fleet
    meter: ProcessMeter


def counted(server: Server) -> dict[str, int]:
    """Of all workers, and of the media thread."""
    status = server.status()
    found = {f"worker {key}": sum(worker.beside.get(key, 0) for worker in status.workers) for key in WORKER_CALLS}
    for owner in (owner for transceiver in status.transceivers for owner in transceiver.owners):
        if "turns" in owner.counters:
            found |= {f"media {key}": owner.counters.get(key, 0) for key in MEDIA_CALLS}
    return found


async def count(one: Contender, seconds: float) -> None:
    """How often each waits, receives, sends and rings for a packet that comes back."""
    for call in one.fleet.calls.values():
        one.fleet.packets.talk(call.place, True)
    await asyncio.sleep(SETTLE_SECONDS)
    before, received = await asyncio.to_thread(counted, one.server), one.fleet.packets.totals()["received"]
    await asyncio.sleep(seconds)
    after, packets = await asyncio.to_thread(counted, one.server), one.fleet.packets.totals()["received"] - received
    await one.fleet.hush()
    print(f"  {one.name}: " + ", ".join(f"{key} {(after[key] - before[key]) / packets:.2f}" for key in after))


async def measure(names: list[str], calls: int, rounds: int, seconds: float) -> None:
    """One load."""
    async with contextlib.AsyncExitStack() as stack:
        contenders = []
        for name in names:
            relay, media = SERVERS[name]
            server = stack.enter_context(running(workers=2, transceivers=1, relay=relay, extra=f"[media]\n{media}"))
            fleet = await stack.enter_async_context(Fleet(Plan(url=server.url, calls=calls, consent_seconds=15.0)))
            await fleet.dial(calls, DIAL_RATE, talk=False)
            pids = [pid for daemon in server.daemons.values() for pid in with_children(daemon.pid)]
            contenders.append(Contender(name, server, fleet, ProcessMeter(pids, own=False)))
        samples: dict[str, list[Round]] = {name: [] for name in names}
        for number in range(rounds + 1):
            for place in range(len(contenders)):
                one = contenders[(place + number) % len(contenders)]
                found = await talk(one.fleet, one.meter, seconds)
                if number:  # the first round only warms up
                    samples[one.name].append(found)
        tell(calls, samples)
        for one in contenders:
            await count(one, seconds)
            one.fleet.hang_up_all()


def tell(calls: int, samples: dict[str, list[Round]]) -> None:
    """A table."""
    first = [one.micros for one in next(iter(samples.values()))]
    print(f"\n{calls * 50} packets/s\n| | CPU of a packet, µs | to the first | p50, p99 ms | lost |")
    print("|---|---|---|---|---|")
    for name, rounds in samples.items():
        micros = [one.micros for one in rounds]
        times = (
            f"{statistics.median(one.p50 for one in rounds):.2f}, {statistics.median(one.p99 for one in rounds):.1f}"
        )
        lost = 1 - sum(one.received for one in rounds) / max(sum(one.sent for one in rounds), 1)
        print(f"| {name} | {spread(micros, 1)} | {against(micros, first)} | {times} | {lost:.2%} |")
    print(describe(), flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, nargs="+", default=(40, 200))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=list(SERVERS))
    options = parser.parse_args()
    print(describe())
    for calls in options.calls:
        asyncio.run(measure(options.only, calls, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
