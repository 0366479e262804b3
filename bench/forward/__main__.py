"""Forwarding: our worker against the C floor, Go, coturn and rtpengine, in interleaved rounds.

    python -m bench.forward [--rounds 15] [--clients 1000] [--rates 2000,10000,25000] [--plot forward.png]

Saturated: the contender is stopped, a few thousand datagrams are put into its sockets' queues, it is let go, and the
CPU time until the last one has come back is its own: every batch is full, and how fast the sender is does not matter.
At a rate: so many datagrams a second, a millisecond's worth at a time, and their time from sending to arrival. CPU time
is the scheduler's exact run time. The ratio is that of the same round, its mean geometric, with a 95 % interval over
rounds (t distribution of logarithms). As root all runs in a network namespace of its own, with IPv6 too.
"""

import argparse
import os
import resource
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.forward import loopback, packages
from bench.forward.build import build_c, build_extension, build_go
from bench.forward.contenders import FILL, Aimed, Blaster, Contender, cpu_ns, sleeps, start_program, start_worker
from bench.forward.figures import draw, tell
from bench.machine import describe
from tests.daemons import free_port

SIZE = 160  # bytes of a datagram: Opus under SRTP
PACED_SECONDS = 0.5  # of a round at a rate
PATIENCE_MS = 5_000
SATURATED = "saturated"

Sample = dict[str, float]
Samples = dict[str, list[Sample]]
Work = Callable[[Contender, Aimed], Sample]
Running = list[tuple[Contender, Aimed]]


def main() -> None:
    """Build, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--rates", default="2000,10000,25000", help="packets a second, with commas between")
    parser.add_argument("--versions", default="4,6", help="of IP")
    parser.add_argument("--beside", action="store_true", help="the turner on the worker's CPU, as the media thread is "
                        "at light load; else on the clients'")  # fmt: skip
    parser.add_argument("--plot", type=Path, help="a picture of the CPU a packet by load (matplotlib)")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    versions = [int(word) for word in options.versions.split(",")]
    with tempfile.TemporaryDirectory(prefix="ringline-forward-") as name:
        programs = Programs(Path(name))
        if not loopback.enter():
            print("missing here: IPv6 (needs a network namespace, and for that root)")
            versions = [4]
        found = {}
        for version in versions:
            rates = [int(word) for word in options.rates.split(",")]
            found[version] = compare(programs, version, rates, options)
    if options.plot:
        draw(found, options.plot)


class Programs:
    """What is compiled once, and what is missing. Registries are asked before the namespace closes the door."""

    def __init__(self, directory: Path) -> None:
        self.blast, self.echo = build_c("blast", directory), build_c("echo", directory)
        turner = Path(__file__).with_name("turner.pyx")
        self.turner, self.go = build_extension(turner, directory), build_go(directory)
        self.coturn = packages.installed("turnserver", "coturn")
        self.rtpengine = packages.installed("rtpengine", "rtpengine-daemon")
        for name, found in (("Go", self.go), ("coturn", self.coturn), ("rtpengine", self.rtpengine)):
            if not found:
                print(f"missing here: {name}")


def compare(programs: Programs, version: int, rates: list[int], options: argparse.Namespace) -> dict[str, Samples]:
    """Every contender runs all the time, and sleeps unless it is its turn. Samples by load."""
    cpus = sorted(os.sched_getaffinity(0))
    cpu, other = cpus[0], cpus[-1]
    print(
        f"\nIPv{version}: {SIZE} bytes, {options.clients} client addresses; contender on CPU {cpu}, clients on {other}"
    )
    print(describe())
    blaster = Blaster(programs.blast, version, options.clients, SIZE, other)
    works: dict[str, Work] = {f"{rate} packets/s": partial(paced, rate) for rate in rates} | {SATURATED: saturated}
    running: Running = []
    found = {}
    try:
        running += start_all(programs, blaster, cpu, cpu if options.beside else other)
        for title, work in works.items():
            found[title] = measure(running, work, options.rounds)
            tell(title, found[title])
    finally:
        for contender, aimed in running:
            aimed.close()
            contender.end()
    print(describe())
    return found


def start_all(programs: Programs, blaster: Blaster, cpu: int, turner_cpu: int) -> Running:
    """All that are there; the packages speak IPv4 only here."""
    version = str(blaster.version)
    commands = {"C recvmmsg/sendmmsg(64)": ([str(programs.echo)], ["64"])}
    if programs.go:
        commands["Go ReadBatch/WriteBatch(64)"] = ([str(programs.go), "batch"], [])
        commands["Go, a call a packet"] = ([str(programs.go), "single"], [])
    running = []
    for name, (before, behind) in commands.items():
        port = free_port(socket.SOCK_DGRAM)
        command = [*before, str(port), *behind, version]
        running.append((start_program(name, command, port, cpu), blaster.aim(port)))
    if blaster.version == 4 and programs.coturn:
        running.append(packages.start_coturn(blaster, cpu))
    if blaster.version == 4 and programs.rtpengine:
        running.append(packages.start_rtpengine(blaster, cpu))
    # Flows need the clients' port, and clients the worker's: the clients begin without, and are told.
    aimed = blaster.aim(1)
    contender = start_worker(programs.turner, blaster, aimed.port, cpu, turner_cpu)
    aimed.ask(f"aim {contender.port}")
    return [*running, (contender, aimed)]


def measure(running: Running, work: Work, rounds: int) -> Samples:
    """Interleaved, each round beginning with another one; the first round only warms up."""
    samples: Samples = {contender.name: [] for contender, _ in running}
    for number in range(rounds + 1):
        for place in range(len(running)):
            contender, aimed = running[(place + number) % len(running)]
            sample = work(contender, aimed)
            if number:
                samples[contender.name].append(sample)
    return samples


def saturated(contender: Contender, aimed: Aimed) -> Sample:
    """Full batches, as many at a time as its sockets have room for."""
    got = used = 0
    beside = dict.fromkeys(contender.beside, 0)
    for _ in range(FILL // contender.fill):
        contender.pause()
        aimed.ask(f"fill {contender.fill}")
        before = usage(contender)
        contender.go_on()
        got += aimed.ask(f"drain {contender.fill} {PATIENCE_MS}")[0]
        after = usage(contender)
        used += after[""] - before[""]
        beside = {name: value + after[name] - before[name] for name, value in beside.items()}
    return per_packet({"": used} | beside, got, FILL)


def paced(rate: int, contender: Contender, aimed: Aimed) -> Sample:
    """A few packets a wake-up."""
    count = round(rate * PACED_SECONDS)
    slept, before = sleeps(contender.judged), usage(contender)
    got, middle, late = aimed.ask(f"pace {count} {rate}")
    used = {name: value - before[name] for name, value in usage(contender).items()}
    slept = sleeps(contender.judged) - slept
    return per_packet(used, got, count) | {"p50": middle / 1000, "p99": late / 1000, "sleeps": slept / max(got, 1)}


def usage(contender: Contender) -> dict[str, int]:
    """CPU time so far, of the judged process and those beside it."""
    return {"": cpu_ns(contender.judged)} | {name: cpu_ns(pid) for name, pid in contender.beside.items()}


def per_packet(used: dict[str, int], got: int, sent: int) -> Sample:
    """Microseconds, and the share of packets lost."""
    return {name: value / 1000 / max(got, 1) for name, value in used.items()} | {"lost": (sent - got) / sent}


if __name__ == "__main__":
    main()
