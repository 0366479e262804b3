"""`make fuzz SECONDS=60`: the targets of hypothesis for half of the time, the native ones for the other half.

Exit status 1 when anything was found. With RINGLINE_FUZZ_ONLY=native or =hypothesis one half gets all the time. The
nightly run is the same with SECONDS=36000.
"""

import argparse
import os
import subprocess
import sys

from fuzz.native.build import REPOSITORY

START_SECONDS = 5  # of pytest, imports and the committed number of examples: not counted in a test's own time


def count_tests() -> int:
    """How many tests share the time."""
    command = [sys.executable, "-m", "pytest", "fuzz", "-m", "not system", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return max(1, sum("::" in line for line in done.stdout.splitlines()))


def run_hypothesis(seconds: int) -> int:
    """Every target again and again for its share of `seconds`; pytest's exit status."""
    share = max(0.1, (seconds - START_SECONDS) / count_tests())
    environment = {**os.environ, "RINGLINE_FUZZ_SECONDS": f"{share:.2f}"}
    command = ["nice", sys.executable, "-m", "pytest", "fuzz", "-m", "not system", f"--timeout={share + 300:.0f}"]
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode


def run_native(seconds: int) -> int:
    """The same for what is compiled, in a process of its own; its exit status."""
    command = [sys.executable, "-m", "fuzz.native.run", "--seconds", str(seconds)]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    seconds = parser.parse_args().seconds
    halves = {"hypothesis": run_hypothesis, "native": run_native}
    only = os.environ.get("RINGLINE_FUZZ_ONLY")
    if only is not None and only not in halves:
        parser.error(f"RINGLINE_FUZZ_ONLY={only}: one of {', '.join(halves)}")
    chosen = [halves[only]] if only else list(halves.values())
    return max([half(seconds // len(chosen)) != 0 for half in chosen])


if __name__ == "__main__":
    sys.exit(main())
