"""`relayctl load` against the real daemons: calls up, audio back, figures for programs."""

import argparse
import importlib.util
import json
import socket
from pathlib import Path

import pytest

from tests.daemons import free_port, running, wait_for
from transceiverd.load import command


def test_load_finds_a_server_by_the_port_of_its_url_and_whip_is_as_good(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--runtime-directory", type=Path)
    command.register(parser.add_subparsers())
    with running() as server:
        options = parser.parse_args(["load", "--calls", "2", "--seconds", "0.5", "--json", f"{server.url}/whip"])
        assert options.run(options) == 0
        figures = json.loads(capsys.readouterr().out)
    assert figures["calls"]["established"] == 2
    assert {"transceiverd", "transceiver0", "signalling", "load"} <= set(figures["cpu"]["holding"]["processes"])


def test_load_where_nobody_listens_says_so_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """It used to place a hundred calls, and then to hold none of them for half a minute."""
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    port = free_port(socket.SOCK_STREAM)
    options = parser.parse_args(["load", f"http://127.0.0.1:{port}"])
    assert options.run(options) == 1
    said = capsys.readouterr()
    assert f"nobody answers at http://127.0.0.1:{port}: Connection refused" in said.err
    assert said.out == ""


def test_load_run_places_holds_storms_and_hangs_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--runtime-directory", type=Path)
    command.register(parser.add_subparsers())
    picture = tmp_path / "run.png"
    drawing = ["--plot", str(picture)] if importlib.util.find_spec("matplotlib") else []
    with running(workers=2, transceivers=2) as server:
        words = ["--config", str(server.config), "load", "--calls", "12", "--rate", "50", "--seconds", "1.5", "--storm"]
        words += ["--mix", "25%", "--json", *drawing, server.url]
        options = parser.parse_args(words)
        assert options.run(options) == 0
        figures = json.loads(capsys.readouterr().out)
        wait_for(lambda: not server.sessions(), "everybody has hung up")
    assert figures["calls"]["established"] == 9 + 9  # the fleet's own share, and all of it again
    assert figures["storm"]["established"] == 9
    assert not figures["calls"]["failed"]
    assert figures["packets"]["sent"] == figures["packets"]["received"] > 0
    assert figures["calls"]["setup_ms"]["heard"]["count"] == 18
    assert figures["aiortc"]["connected"] == 3
    assert figures["aiortc"]["received"] > 0
    assert figures["kernel_drops"] == {"load": 0, "server": 0}
    processes = figures["cpu"]["holding"]["processes"]
    assert {"relayd", "relayd-worker0", "transceiver1", "signalling", "load"} <= set(processes)
    assert not drawing or picture.read_bytes().startswith(b"\x89PNG")
    assert {point["own_cpu_seconds"] >= 0 for point in figures["series"]} == {True}
