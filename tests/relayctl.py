"""Runs relayctl for a test, against the daemons of a Server."""

import subprocess
import sys

from tests.daemons import Server

PATIENCE_SECONDS = 90.0


def command(server: Server, *words: str) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "relayd.relayctl", "--config", str(server.config),
            "--runtime-directory", str(server.directory), *words]  # fmt: skip


def relayctl(server: Server, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    return subprocess.run(
        command(server, *words), capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS
    )


def start_relayctl(server: Server, *words: str) -> "subprocess.Popen[bytes]":
    """Start it; what it says goes into the daemons' log."""
    with server.log.open("ab") as log:
        return subprocess.Popen(command(server, *words), stdout=log, stderr=log)
