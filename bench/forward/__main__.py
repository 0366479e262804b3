"""Forwarding: our worker against the C floor and Go, in interleaved rounds.

    python -m bench.forward [--rounds 15] [--clients 1000]

Saturated: the contender is stopped, a few thousand datagrams are put into its socket's queue, it is let go, and the
CPU time until the last one has come back is its own: every batch is full, and how fast the sender is does not matter.
Light: 2,000 datagrams a second, a millisecond's worth at a time. CPU time is the scheduler's exact run time. The
ratio is that of the same round, its mean geometric, with a 95 % interval over rounds (t distribution of logarithms).
"""

import argparse
import os
import shutil
import statistics
import tempfile
from pathlib import Path

from bench.forward.build import build_c, build_go, build_turner
from bench.forward.contenders import Aimed, Blaster, Contender, cpu_ns, start_program, start_worker
from bench.machine import describe
from bench.ratio import interval
from tests.daemons import free_port

SIZE = 160  # bytes of a datagram: Opus under SRTP
FILL = 4_000  # datagrams a saturated round
LIGHT, LIGHT_RATE = 2_000, 2_000  # datagrams a light round, a second
PATIENCE_MS = 5_000
FLOOR = "C recvmmsg/sendmmsg(64)"
MISSING = ("coturn ChannelData", "rtpengine in user space")

Samples = dict[str, list[dict[str, float]]]


def main() -> None:
    """Build, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clients", type=int, default=1000)
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ringline-forward-"))
    try:
        with_contenders(directory, options.rounds, options.clients)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def with_contenders(directory: Path, rounds: int, clients: int) -> None:
    """Every contender runs all the time, and sleeps unless it is its turn."""
    cpus = sorted(os.sched_getaffinity(0))
    cpu, other = cpus[0], cpus[-1]
    print(f"forwarding {SIZE} bytes, {clients} client addresses, IPv4; contender on CPU {cpu}, clients on {other}")
    print(describe())
    blaster = Blaster(build_c("blast", directory), clients, SIZE, other)
    running: list[tuple[Contender, Aimed]] = []
    try:
        for contender in programs(directory, cpu):
            running.append((contender, blaster.aim(contender.port)))
        running.append(our_worker(directory, blaster, clients, cpu, other))
        for title, work in (("saturated", saturated), ("light, 2,000 packets/s", light)):
            tell(title, measure(running, work, rounds))
    finally:
        for contender, aimed in running:
            aimed.close()
            contender.end()
    print(f"missing here: {', '.join(MISSING)}")
    print(describe())


def programs(directory: Path, cpu: int) -> list[Contender]:
    """C and Go."""
    port = free_port(2)
    found = [start_program(FLOOR, [str(build_c("echo", directory)), str(port), "64"], port, cpu)]
    go = build_go(directory)
    if go is None:
        print("missing here: Go")
        return found
    for mode, name in (("batch", "Go ReadBatch/WriteBatch(64)"), ("single", "Go, a call a packet")):
        port = free_port(2)
        found.append(start_program(name, [str(go), mode, str(port)], port, cpu))
    return found


def our_worker(directory: Path, blaster: Blaster, clients: int, cpu: int, other: int) -> tuple[Contender, Aimed]:
    """Flows need the clients' port, and clients the worker's: the clients begin without, and are told."""
    aimed = blaster.aim(1)
    contender = start_worker(build_turner(directory), aimed.port, clients, cpu, other)
    aimed.ask(f"aim {contender.port}")
    return contender, aimed


def measure(running: list[tuple[Contender, Aimed]], work: object, rounds: int) -> Samples:
    """Interleaved, each round beginning with another one; the first round only warms up."""
    samples: Samples = {contender.name: [] for contender, _ in running}
    for number in range(rounds + 1):
        for place in range(len(running)):
            contender, aimed = running[(place + number) % len(running)]
            sample = work(contender, aimed)  # type: ignore[operator]
            if number:
                samples[contender.name].append(sample)
    return samples


def saturated(contender: Contender, aimed: Aimed) -> dict[str, float]:
    """Full batches."""
    contender.pause()
    aimed.ask(f"fill {FILL}")
    before = usage(contender)
    contender.go_on()
    got = aimed.ask(f"drain {FILL} {PATIENCE_MS}")
    return per_packet(contender, before, got, FILL)


def light(contender: Contender, aimed: Aimed) -> dict[str, float]:
    """A few packets a wake-up."""
    before = usage(contender)
    got = aimed.ask(f"pace {LIGHT} {LIGHT_RATE}")
    return per_packet(contender, before, got, LIGHT)


def usage(contender: Contender) -> dict[str, int]:
    """CPU time so far, of the judged process and those beside it."""
    return {"": cpu_ns(contender.judged)} | {name: cpu_ns(pid) for name, pid in contender.beside.items()}


def per_packet(contender: Contender, before: dict[str, int], got: int, sent: int) -> dict[str, float]:
    """Microseconds."""
    if got < sent:
        print(f"  {contender.name}: {sent - got} of {sent} lost")
    return {name: (value - before[name]) / 1000 / max(got, 1) for name, value in usage(contender).items()}


def tell(title: str, samples: Samples) -> None:
    """A table."""
    floor = [one[""] for one in samples[FLOOR]]
    print(f"\n{title}: CPU of a forwarded packet, µs (median), and ratio to the floor with its 95 % interval")
    for name, values in samples.items():
        own = [one[""] for one in values]
        ratio = interval([mine / theirs for mine, theirs in zip(own, floor, strict=True)])
        beside = {other: statistics.median(one[other] for one in values) for other in values[0] if other}
        total = statistics.median(own) + sum(beside.values())
        words = "".join(f"; with {other} {total:.2f}" for other in beside)
        print(f"  {name:30} {statistics.median(own):6.2f}   {ratio}{words}")
    ours = next(name for name in samples if "ringline" in name)
    for name, values in samples.items():
        if name.startswith("Go"):
            pairs = zip(samples[ours], values, strict=True)
            print(f"  {ours} against {name}: {interval([mine[''] / theirs[''] for mine, theirs in pairs])}")


if __name__ == "__main__":
    main()
