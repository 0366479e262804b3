"""Where the server's Python spends its time while calls are set up, or while they are only held.

    python -m bench.profile setup|hold DIRECTORY

Writes a profile of each child of transceiverd into DIRECTORY (see profiled_transceiverd.py), named after the process.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.daemons import running
from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan
from transceiverd.load.processes import ProcessMeter, between

CALLS, RATE = 250, 50.0
HOLD_SECONDS = 10.0


async def main(what: str, directory: Path) -> None:
    """One run."""
    os.environ["RINGLINE_PROFILE"] = str(directory)
    with running(workers=1, python=("-m", "bench.profiled_transceiverd")) as server:
        children = server.pids("transceiverd")
        meter = ProcessMeter(children.values(), own=False)
        consent = 15.0 if what == "setup" else 2.5
        async with Fleet(Plan(url=server.url, calls=2 * CALLS, consent_seconds=consent, patience_seconds=30)) as fleet:
            await fleet.dial(50, RATE, talk=False)  # warm
            if what == "hold":
                await fleet.dial(CALLS, RATE, talk=False)
            _tell(children, signal.SIGUSR1)
            before = meter.sample()
            if what == "setup":
                await fleet.dial(CALLS, RATE, talk=False)
            else:
                await asyncio.sleep(HOLD_SECONDS)
            used = between(before, meter.sample())
            _tell(children, signal.SIGUSR2)
            await asyncio.sleep(1)
            for name, usage in used.items():
                print(f"{name}: {usage.cpu:.2f} s")
            fleet.hang_up_all()
            await asyncio.sleep(0.5)
        for name, pid in children.items():
            (directory / f"profile-{pid}.txt").rename(directory / f"{what}-{name}.txt")


def _tell(children: dict[str, int], number: int) -> None:
    for pid in children.values():
        os.kill(pid, number)


if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
