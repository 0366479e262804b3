"""Everybody redials in one moment, at more than the server takes: the excess is told when to come, comes then, nobody
is lost. A thousand at once are measured in bench/README.md; here the pace is small enough for a few to exceed it.
"""

import argparse
import json
from pathlib import Path

import pytest

from tests.daemons import running, wait_for
from transceiverd.load import command

pytestmark = pytest.mark.system

CALLS = 80
PACE = "setups_per_second = 40\nsetups_burst = 20\n"


def test_load_storm_beyond_the_pace_is_spread_by_retry_after_and_everybody_is_connected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--runtime-directory", type=Path)
    command.register(parser.add_subparsers())
    with running(workers=2) as server:
        server.config.write_text(server.config.read_text().replace("[signalling]\n", f"[signalling]\n{PACE}"))
        server.stop("transceiverd")
        server.start("transceiverd")
        server.await_ready()
        words = ["load", "--calls", str(CALLS), "--rate", "30", "--seconds", "2", "--silent", "--storm", "--json"]
        options = parser.parse_args([*words, "--patience", "20", server.url])
        assert options.run(options) == 0
        figures = json.loads(capsys.readouterr().out)
        wait_for(lambda: not server.sessions(), "everybody has hung up")
    storm = figures["storm"]
    assert storm["calls"] == storm["answered"] == storm["established"] == CALLS
    assert storm["paced"] >= CALLS - 20 - 40  # the burst, and what came in the first second
    assert storm["seconds"] < 10
    assert not figures["calls"]["failed"]
