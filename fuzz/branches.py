"""`python -m fuzz.branches`: how many branches of each parser the fuzz targets reach, and which they do not.

Runs the hypothesis targets (for `--seconds`, or once) and the native corpus under coverage.py. Compiled parsers are
counted in their uncompiled twins, which are the same file; `test_corpus_twins.py` holds both against each other on
every input. Functions that only write, print or build are left out: a parser is what reads.

Exit status 1 when a parser is below 95 %.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fuzz.native.build import REPOSITORY

PERCENT_MIN = 95.0
# What reads, by file: a pattern of the functions.
EVERYTHING = r".*"
PARSERS = {
    "relayd/headers.py": EVERYTHING,
    "relayd/ufrag.py": r"decode|body_byte|unpack_body",
    "transceiverd/ice/stun.py": r"parse|read_\w+|check_\w+|Message\.(verify|unknown_required)|require|xor_address",
    "transceiverd/media/rtp.py": r"parse_\w+|payload_\w+|_?read\w*",
    "transceiverd/media/rtcp.py": r"parse_\w+|check_\w+|_?read\w*",
    "transceiverd/sctp/packet.py": r"parse_\w+|read_\w+|packet_checksum",
    "transceiverd/sctp/dcep.py": r"parse_\w+",
    "transceiverd/dtls/messages.py": EVERYTHING,
    "transceiverd/dtls/records.py": r"parse_\w+|RecordLayer12\.(open|_decrypt|_is_fresh|_mark_seen)",
    "transceiverd/sdp/parse.py": EVERYTHING,
    "transceiverd/sdp/attributes.py": EVERYTHING,
    "transceiverd/sdp/candidate.py": EVERYTHING,
    "transceiverd/sdp/sections.py": EVERYTHING,
    "transceiverd/sdp/payloads.py": EVERYTHING,
    "transceiverd/sdp/transport.py": EVERYTHING,
    "transceiverd/signalling/multipart.py": EVERYTHING,
    "transceiverd/callid.py": EVERYTHING,
    "shm/attach.py": r"receive|_\w+",
    "shm/daemon/config.py": r"parse|_\w+|ConfigurationError.*",
    "shm/daemon/config_text.py": EVERYTHING,
    "shm/flowkey.py": r".*unpack\w*|_endpoint",
}
WRITES = re.compile(r"(^|\.)(__repr__|__eq__|__hash__|serialize\w*|fields)$")


class Reached(NamedTuple):
    """Of one parser."""

    file: str
    branches: int
    reached: int
    missing: tuple[str, ...]
    """`function: from line -> to line`; a negative line is the function's end."""

    @property
    def percent(self) -> float:
        """100 for a parser without branches."""
        return 100.0 * self.reached / self.branches if self.branches else 100.0

    def line(self) -> str:
        """For the table."""
        return f"{self.file:<34} {self.branches:>8} {self.reached:>8} {self.percent:>7.1f} %"


HEADING = f"{'parser':<34} {'branches':>8} {'reached':>8}"


def measure(seconds: float) -> dict[str, Any]:
    """Run every target under coverage.py; its report as JSON. RuntimeError with pytest's words when a target fails."""
    with tempfile.TemporaryDirectory() as directory:
        settings, data, report = (Path(directory) / name for name in ("settings", "data", "report.json"))
        files = "\n    ".join(PARSERS)
        settings.write_text(f"[run]\nbranch = True\ninclude =\n    {files}\n")
        common = [f"--rcfile={settings}", f"--data-file={data}"]
        coverage = [sys.executable, "-m", "coverage"]
        tests = ["-m", "pytest", "fuzz", "-m", "not system", "--timeout=3000"]
        environment = {**os.environ, "RINGLINE_FUZZ_SECONDS": str(seconds)}
        _run([*coverage, "run", *common, *tests], environment)
        _run([*coverage, "json", *common, "-o", str(report)], environment)
        found: dict[str, Any] = json.loads(report.read_text())
    return found


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stdout[-4000:])


def summarise(report: dict[str, Any]) -> Iterator[Reached]:
    """One line a parser."""
    for file, pattern in PARSERS.items():
        functions = report["files"].get(file, {}).get("functions", {})
        chosen = {
            name: facts for name, facts in functions.items() if re.fullmatch(pattern, name) and not WRITES.search(name)
        }
        missing = tuple(
            f"{name or 'module'}: {start} -> {end}"
            for name, facts in chosen.items()
            for start, end in facts["missing_branches"]
        )
        branches = sum(facts["summary"]["num_branches"] for facts in chosen.values())
        yield Reached(file, branches, branches - len(missing), missing)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=0, help="for each hypothesis target; default: its few examples"
    )
    parser.add_argument("--missing", action="store_true", help="name the branches that were not reached")
    arguments = parser.parse_args()
    print(HEADING)
    worst = 100.0
    for reached in summarise(measure(arguments.seconds)):
        print(reached.line())
        if arguments.missing:
            print("".join(f"    {each}\n" for each in reached.missing), end="")
        worst = min(worst, reached.percent)
    return int(worst < PERCENT_MIN)


if __name__ == "__main__":
    sys.exit(main())
