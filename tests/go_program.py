"""Builds the Go programs that tests talk to: Pion as the other side. Without a Go tool chain such a test is skipped."""

import shutil
import subprocess
from pathlib import Path

import pytest


def built(source: Path, directory: Path) -> Path:
    """The program of the module in `source`, in `directory`; skips the test, with the reason, where that cannot be."""
    if shutil.which("go") is None:
        pytest.skip("it is written in Go, and there is no `go` here")
    target = directory / source.name
    done = subprocess.run(["go", "build", "-o", str(target), "."], cwd=source, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{source.name} could not be built: {done.stderr.strip()[-300:]}")
    return target
