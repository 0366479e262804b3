"""Data channel transport over a link: throughput, CPU and memory of ours, aiortc's and Pion's SCTP, in one run.

    python -m bench.sctp_link [--rounds 5] [--seconds 8] [--size 16384]

Each contender is one process with both ends of a transfer on UDP sockets of loopback, without DTLS: straight into each
other, and through `bench.link` with 50 ms of round trip (25 each way), without and with 1 % loss each way. Rounds are
interleaved, every contender loses the same packets of a round. CPU is that of both ends, UDP calls included; ours and
aiortc may hold 512 KiB that is not acknowledged, Pion as much. Memory: resident bytes for each idle association.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import aiortc

from bench.machine import describe
from bench.ratio import against, spread
from bench.sctp import MEGABYTE, build_pion, in_a_process_of_its_own
from tests.daemons import free_port

PATIENCE_SECONDS = 30
PION_ASSOCIATIONS = 1_000
LINKS = {
    "loopback, no delay": None,
    "50 ms, no loss": (25.0, 0.0),
    "50 ms, 1 % loss": (25.0, 0.01),
}  # ms one way, chance of loss each way


class Transfer(NamedTuple):
    """What one round carried."""

    heard: int
    seconds: float
    user: float
    system: float

    @property
    def rate(self) -> float:
        """Megabytes a second."""
        return self.heard / MEGABYTE / self.seconds

    @property
    def cpu_ms(self) -> float:
        """Of a megabyte, both ends."""
        return (self.user + self.system) * 1000 / max(self.heard / MEGABYTE, 1e-3)


Samples = dict[str, list[Transfer]]


@contextmanager
def linked(conditions: tuple[float, float] | None, seed: int) -> Iterator[list[str]]:
    """Ports for both ends and where they send to."""
    left, right = free_port(2), free_port(2)
    if conditions is None:
        yield [str(port) for port in (left, right, right, left)]
        return
    words = [str(word) for word in (left, right, *conditions, seed)]
    process = subprocess.Popen([sys.executable, "-m", "bench.link", *words], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        left_peer, right_peer = process.stdout.readline().split()
        yield [str(left), left_peer, str(right), right_peer]
    finally:
        process.kill()
        process.wait()


def transfer(
    command: list[str], size: int, seconds: int, conditions: tuple[float, float] | None, seed: int
) -> Transfer:
    """One contender, one round."""
    with linked(conditions, seed) as ports:
        done = subprocess.run(
            [*command, str(size), str(seconds), *ports],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + PATIENCE_SECONDS,
        )
    heard, *times = done.stdout.split()
    return Transfer(int(heard), *map(float, times))


def tell(title: str, samples: Samples) -> None:
    """Rows of the table."""
    for name, found in samples.items():
        rates, costs = [one.rate for one in found], [one.cpu_ms for one in found]
        system = statistics.median(one.system / max(one.user + one.system, 1e-9) for one in found)
        ratios = ""
        if name != "ours":
            ratio = [against([one.rate for one in samples["ours"]], rates)]
            ratio.append(against([one.cpu_ms for one in samples["ours"]], costs))
            ratios = f"  ours/{name}: throughput {ratio[0]}, CPU {ratio[1]}"
        print(f"| {title} | {name} | {spread(rates)} | {spread(costs, 1)} | {system:.0%} |{ratios}", flush=True)


def contenders(folder: str) -> dict[str, list[str]]:
    """The command of each; Pion is missing where there is no Go."""
    ends = [sys.executable, "-m", "bench.sctp_ends"]
    found = {"ours": [*ends, "ours"], "aiortc": [*ends, "aiortc"]}
    try:
        found["Pion"] = [build_pion(folder), "transfer"]
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"missing: Pion ({error})")
    return found


def memory(commands: dict[str, list[str]]) -> None:
    """Of an idle association."""
    found = in_a_process_of_its_own("ours") | in_a_process_of_its_own("aiortc")
    if "Pion" in commands:
        words = [commands["Pion"][0], "memory", str(PION_ASSOCIATIONS)]
        found["pion_idle_bytes"] = int(subprocess.run(words, capture_output=True, check=True).stdout)
    print(f"memory: {found}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8, help="of each transfer")
    parser.add_argument("--size", type=int, default=16_384, help="of a message, bytes")
    parser.add_argument("--only", choices=LINKS, help="one link instead of all")
    options = parser.parse_args()
    modules = (Path(__file__).parent / "sctp_pion" / "go.mod").read_text().split()
    pion = modules[modules.index("github.com/pion/sctp") + 1]
    print(f"{describe()}\naiortc {aiortc.__version__}, Pion SCTP {pion}, messages of {options.size} bytes")
    with tempfile.TemporaryDirectory() as folder:
        commands = contenders(folder)
        memory(commands)
        for title, conditions in LINKS.items():
            if options.only not in (None, title):
                continue
            samples: Samples = {name: [] for name in commands}
            for number in range(options.rounds):
                for name, command in commands.items():
                    samples[name].append(transfer(command, options.size, options.seconds, conditions, 100 * number))
            tell(title, samples)
    print(describe())


if __name__ == "__main__":
    main()
