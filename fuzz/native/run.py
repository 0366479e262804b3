"""Runs the native targets, each for its share of the time, and says what came of it.

`python -m fuzz.native.run --seconds 60 [target ...]`, or by `make fuzz`; `--executions 10000000` runs each target until
it has tried that many inputs, however long it takes (the nightly command). An input that breaks an invariant or makes a
sanitizer speak is kept under build/fuzz/findings; whoever mends the fault moves it to fuzz/corpus, where
test_native_corpus.py replays it for ever. New inputs of a run stay under build/fuzz/corpus for the next one.
"""

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NamedTuple

from fuzz.native.build import BUILD, REPOSITORY, NoCompiler, build

CORPUS = REPOSITORY / "fuzz" / "corpus"
# The targets of harness.pyx, and how long an input is worth making: bytes.
TARGETS = {
    "classify": 600,
    "route": 600,
    "rtp": 200,
    "rtp_value": 200,
    "rtcp": 300,
    "rtcp_value": 300,
    "stun": 600,
    "sctp": 400,
    "ring": 700,
}
INPUT_SECONDS_MAX = 5  # an input that takes longer is a finding: all of them take microseconds
MEMORY_MB_MAX = 2048


class Outcome(NamedTuple):
    """Of one target."""

    target: str
    executions: int
    seconds: int
    edges: int
    finding: str

    def line(self) -> str:
        """For the table."""
        rate = self.executions // max(self.seconds, 1)
        return (
            f"{self.target:<11} {self.executions:>12,} {self.seconds:>5} s {rate:>10,}/s {self.edges:>6} {self.finding}"
        )


HEADING = f"{'target':<11} {'executions':>12} {'time':>7} {'rate':>12} {'edges':>6} finding"


def environment(tree: Path, target: str) -> dict[str, str]:
    """What the fuzzer needs to know."""
    return {
        **os.environ,
        "RINGLINE_FUZZ_TARGET": target,
        "RINGLINE_FUZZ_PYTHON": sys.executable,
        "PYTHONPATH": f"{tree}{os.pathsep}{sysconfig.get_path('purelib')}",
        "PYTHONMALLOC": "malloc",  # so that every object is an allocation that AddressSanitizer sees
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter frees nothing at its end
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def run_target(tree: Path, target: str, seconds: int, executions: int = 0) -> Outcome:
    """Fuzz one target for that long, or for that many inputs when their number is given."""
    found, findings = BUILD / "corpus" / target, BUILD / "findings"
    found.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    command = [
        "nice", str(tree / "fuzzer"), str(found), str(CORPUS / target),
        f"-runs={executions}" if executions else f"-max_total_time={seconds}",
        f"-max_len={TARGETS[target]}", f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}",
        "-print_final_stats=1", f"-artifact_prefix={findings}/{target}-",
    ]  # fmt: skip
    start = time.monotonic()
    done = subprocess.run(
        command, env=environment(tree, target), capture_output=True, text=True, errors="replace", check=False
    )
    return _outcome(target, round(time.monotonic() - start), done.returncode, done.stderr)


def keep(tree: Path, target: str) -> int:
    """Commit what runs have found: inputs that reach what no committed one does. How many there are now."""
    command = [
        "nice", str(tree / "fuzzer"), "-merge=1", f"-max_len={TARGETS[target]}", str(CORPUS / target),
        str(BUILD / "corpus" / target),
    ]  # fmt: skip
    subprocess.run(command, env=environment(tree, target), capture_output=True, check=True)
    return len(list((CORPUS / target).iterdir()))


def keep_all(targets: list[str]) -> int:
    """For every target that was run."""
    tree = build()
    for target in targets:
        if (BUILD / "corpus" / target).exists():
            print(f"{target:<11} {keep(tree, target):>6} inputs")
    return 0


def replay(tree: Path, target: str, inputs: Path) -> str:
    """The committed inputs once each; what a sanitizer or an invariant said, or nothing."""
    command = ["nice", str(tree / "fuzzer"), "-runs=0", f"-timeout={INPUT_SECONDS_MAX}", str(inputs)]
    done = subprocess.run(
        command, env=environment(tree, target), capture_output=True, text=True, errors="replace", check=False
    )
    return done.stderr if done.returncode else ""


def _outcome(target: str, seconds: int, code: int, said: str) -> Outcome:
    executions = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    edges = re.findall(r"\bcov: (\d+)", said)
    finding = ""
    if code:
        told = [line for line in said.splitlines() if re.search(r"ERROR|runtime error|Error:|Test unit written", line)]
        finding = " | ".join(told[:3]) or said[-400:]
    return Outcome(target, int(executions[1]) if executions else 0, seconds, int(edges[-1]) if edges else 0, finding)


def run_all(targets: list[str], seconds: int, executions: int = 0) -> int:
    """Every target in turn, for its share of the time or its number of inputs. The number of those with a finding."""
    tree = build()
    share = max(1, seconds // len(targets))
    print(HEADING, flush=True)
    outcomes = []
    for target in targets:
        outcomes.append(run_target(tree, target, share, executions))
        print(outcomes[-1].line(), flush=True)
    return sum(bool(outcome.finding) for outcome in outcomes)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--executions", type=int, default=0, help="of each target, however long it takes")
    parser.add_argument(
        "--keep", action="store_true", help="run nothing: add the best of what was found to fuzz/corpus"
    )
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; default: all")
    arguments = parser.parse_args()
    if wrong := set(arguments.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(wrong))}")
    targets = arguments.targets or list(TARGETS)
    try:
        if arguments.keep:
            return keep_all(targets)
        return min(1, run_all(targets, arguments.seconds, arguments.executions))
    except NoCompiler as missing:
        print(f"native targets left out: {missing}")
        return 0


if __name__ == "__main__":
    sys.exit(main())
