"""The drill on the interface's address, in a network namespace of its own: `unshare -n python -m tests.faults.address`.

The server advertises an address of its loopback; it is taken away under live calls and comes back. Prints the
outcome as JSON for surroundings.py, which starts this.
"""

import json
import subprocess
import sys
from dataclasses import asdict

from tests.daemons import running
from tests.faults.callers import Callers
from tests.faults.field import Field, Outcome

ADDRESS = "192.0.2.7"  # RFC 5737, nobody's
AWAY_SECONDS = 1.0


def ip(*words: str) -> None:
    """ip(8)."""
    subprocess.run(["ip", *words], check=True)


def drill() -> Outcome:
    """Away, and back."""
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{ADDRESS}/32", "dev", "lo")
    with (
        running(workers=2, transceivers=1, bind4="0.0.0.0", advertise=ADDRESS) as server,
        Callers(server.url, allow_remote=True) as callers,
    ):
        return Field(server, callers).suffer(
            lambda: ip("address", "del", f"{ADDRESS}/32", "dev", "lo"),
            mend=lambda: ip("address", "add", f"{ADDRESS}/32", "dev", "lo"),
            hold_seconds=AWAY_SECONDS,
        )


if __name__ == "__main__":
    json.dump(asdict(drill()), sys.stdout)
