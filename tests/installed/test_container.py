"""What a container runs: the entry script makes a configuration that both daemons take, or says what it lacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "systemd" / "container" / "entry"


def run(directory: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The script, with commands of this checkout on its path."""
    commands = directory / "bin"
    commands.mkdir(exist_ok=True)
    for daemon in ("relayd", "transceiverd"):
        command = commands / daemon
        command.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m {daemon}.main "$@"\n')
        command.chmod(0o755)
    environment = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "RINGLINE_CONFIG": str(directory / "none.toml"),
        "RINGLINE_RUNTIME_DIRECTORY": str(directory),
        **variables,
    }
    return subprocess.run([ENTRY, *words], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("daemon", ["relayd", "transceiverd"])
def test_container_configures_both_daemons_by_variables(tmp_path: Path, daemon: str) -> None:
    done = run(
        tmp_path, daemon, "--check-config", RINGLINE_ADVERTISE="203.0.113.7, 2001:db8::7", RINGLINE_TOKEN="t" * 32
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
    text = (tmp_path / f"{daemon}.toml").read_text()
    assert 'advertise = ["203.0.113.7", "2001:db8::7"]' in text
    assert (tmp_path / f"{daemon}.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("variables", "lacking"), [({}, "RINGLINE_ADVERTISE"), ({"RINGLINE_ADVERTISE": "203.0.113.7"}, "RINGLINE_TOKEN")]
)
def test_container_says_what_is_lacking(tmp_path: Path, variables: dict[str, str], lacking: str) -> None:
    done = run(tmp_path, "transceiverd", **variables)
    assert done.returncode == 2
    assert lacking in done.stderr
    assert not (tmp_path / "transceiverd.toml").exists()


def test_container_runs_another_command_as_it_stands(tmp_path: Path) -> None:
    assert run(tmp_path, "echo", "hello").stdout == "hello\n"
