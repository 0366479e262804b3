"""Rings and tables: ns of a message and of a look-up, and how long a message is under way between two processes.

    python -m bench.rings [--rounds 15]

Each figure is the median of the rounds, with the least and the most: the least is that of an undisturbed round.
Rounds of all parts are interleaved. "Same core": one thread puts a batch in and takes it out, so that both sides'
instructions count and no cache line moves. "Across cores": producer and consumer are processes on a CPU each and
neither sleeps. "On the way": from the producer's clock reading to the consumer's, one message at a time; the consumer
spins, or sleeps on its doorbell and must be woken. As root the two run at a real-time priority, 50 ms at a time.
"""

import argparse
import contextlib
import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.forward.build import build_extension, load_extension
from bench.machine import describe
from bench.ratio import spread
from relayd.keyring import Keyring
from relayd.ufrag import UfragKeys, mint
from shm.flows import FlowTable
from shm.lane import Lane
from transceiverd.ice.stun import REQUEST, Message

SIZE = 160  # bytes of a payload
BATCHES = (1, 8, 64)
MESSAGES = 100_000  # of a round
LATENCY_MESSAGES, GAP_NS = 500, 100_000  # long enough to fall asleep in between
FLOWS = (1_000, 10_000)
LOOK_UPS = 200_000
INCARNATION = 7
RING_BYTES = 1 << 21


def main() -> None:
    """Build, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="ringline-rings-") as name:
        loops = load_extension(build_extension(Path(__file__).with_name("rounds.pyx"), Path(name)))
    print(describe())
    parts = all_parts(loops)
    figures: dict[str, list[float]] = {}
    for _ in range(rounds):
        for part in parts:
            for title, value in part().items():
                figures.setdefault(title, []).append(value)
    for title, values in figures.items():
        print(f"  {title:58} {spread(values, 0 if min(values) > 1000 else 1)} ns")
    print(describe())


Part = Callable[[], dict[str, float]]


def all_parts(loops: Any) -> list[Part]:
    """Everything that is measured, as functions of one round."""
    lane = Lane.create(0, 0, handshake_in=4096, media_in=RING_BYTES, control_out=4096, media_out=4096, incarnation=1)
    parts: list[Part] = []
    for batch in BATCHES:
        words = f"ring, batches of {batch}"
        parts.append(lambda batch=batch, words=words: {
            f"{words}, same core": loops.same_core(lane, batch, SIZE, MESSAGES)})  # fmt: skip
        parts.append(lambda batch=batch, words=words: {f"{words}, across cores": across(loops, lane, batch)})
    for spin, words in ((True, "consumer spins"), (False, "consumer asleep, doorbell")):
        parts.append(lambda spin=spin, words=words: on_the_way(loops, lane, spin, words))
    parts += [lambda flows=flows: table(loops, flows) for flows in FLOWS]
    return [*parts, headers(loops)]


def across(loops: Any, lane: Any, batch: int) -> float:
    """The consumer is a child on the last CPU, we are on the first."""
    with beside(lambda: loops.empty(lane, batch, MESSAGES)):
        return float(loops.fill(lane, batch, SIZE, MESSAGES))


def on_the_way(loops: Any, lane: Any, spin: bool, words: str) -> dict[str, float]:
    """p50 and p99; the sender is the child."""
    with beside(lambda: loops.tick(lane, SIZE, LATENCY_MESSAGES, GAP_NS)):
        times = sorted(loops.arrivals(lane, LATENCY_MESSAGES, spin))
    found = {"p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}
    return {f"on the way, {words}, {name}": value for name, value in found.items()}


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """A child works on the last CPU while we do on the first; both undisturbed, since who spins on a busy machine is
    put aside for milliseconds again and again, and they would be all that is measured."""
    first, last = placement()
    child = os.fork()
    if child == 0:
        run_alone(last, first != last)
        work()
        os._exit(0)
    run_alone(first, first != last)
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.waitpid(child, 0)
        os.sched_setaffinity(0, {first, last})


def run_alone(cpu: int, fixed: bool) -> None:
    """On one CPU, before all others when we may; not where two of us would share it and one wait for ever."""
    os.sched_setaffinity(0, {cpu})
    if fixed:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def placement() -> tuple[int, int]:
    """The CPUs of both sides."""
    cpus = sorted(os.sched_getaffinity(0))
    return cpus[0], cpus[-1]


def table(loops: Any, flows: int) -> dict[str, float]:
    """A fresh table of twice the room."""
    made = FlowTable.create(2 * flows)
    made.set_incarnation(0, INCARNATION)
    publish = loops.publish(made, flows, INCARNATION)
    hit, found = loops.look_up(made, flows, INCARNATION, 0, LOOK_UPS)
    miss, wrong = loops.look_up(made, flows, INCARNATION, 1 << 20, LOOK_UPS)
    assert found > 0.98, "the table has lost flows"
    assert wrong == 0
    words = f"flow table of {flows} calls"
    return {f"{words}, publish": publish, f"{words}, look-up": hit, f"{words}, look-up of a stranger": miss}


def headers(loops: Any) -> Part:
    """The Binding request of a browser: USERNAME, PRIORITY, ICE-CONTROLLING, USE-CANDIDATE, integrity, fingerprint."""
    keys = UfragKeys.generate()
    ufrag = mint(keys, 1, 0, 5, 1, 0xABCDEF).encode()
    request = Message(REQUEST, os.urandom(12))
    request.username, request.priority = ufrag + b":clie", 1
    (request.controlling,) = struct.unpack("!Q", os.urandom(8))
    request.use_candidate = True
    packet, ring = request.serialize(b"p" * 24), Keyring(keys)

    def part() -> dict[str, float]:
        took, place = loops.parse(packet, LOOK_UPS)
        assert packet[place : place + 30] == ufrag
        return {"STUN headers of a Binding request": took, "ufrag verified": loops.verify(ring, ufrag, LOOK_UPS // 4)}

    return part


if __name__ == "__main__":
    main()
