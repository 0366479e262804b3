"""Tables and pictures are made of any figures, and the command line refuses what it must."""

import argparse
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from transceiverd.load import command
from transceiverd.load.histogram import Histogram
from transceiverd.load.plot import draw, headline
from transceiverd.load.report import progress_line, summary
from transceiverd.load.tally import Tally

POINT = {
    "seconds": 1.0, "asked": 3, "established": 2, "failed": 1, "packets": 100, "missing": 1,
    "round_trip_p50_ms": 0.2, "round_trip_p99_ms": 2.0, "server_cpu_seconds": 0.1,
}  # fmt: skip
PACKETS = (
    "sent", "received", "lost", "reordered", "duplicates", "foreign", "unauthentic", "reports", "skipped", "early",
    "refused", "send_errors", "unprotectable", "inbox_full", "late_ticks",
)  # fmt: skip


def figures(**changes: Any) -> dict[str, Any]:
    times = Histogram()
    times.record(20_000_000)
    tally = Tally()
    tally.failed["http 503 <no>"] = 1
    found = {
        "url": "http://127.0.0.1/?a&b",
        "calls": tally.summary() | {"paced": 2},
        "storm": {"calls": 1, "answered": 1, "established": 1, "paced": 0, "seconds": 1.5},
        "aiortc": {"asked": 1, "connected": 1, "failed": {}, "sent": 5, "received": 5},
        "packets": dict.fromkeys(PACKETS, 1),
        "kernel_drops": {"load": 0, "server": None},
        "cpu": {
            "holding": {
                "seconds": 2.0, "packets": 10, "server_cpu": 0.1, "server_cpu_us_a_packet": 10.0,
                "processes": {"relayd": {"user": 0.1, "system": 0.2}},
            }
        },
        "series": [POINT, POINT | {"seconds": 2.0}],
    }  # fmt: skip
    for name in ("round_trip_ms", "departure_spacing_ms", "own_spacing_ms", "spacing_change_ms"):
        found[name] = times.summary()
    return found | changes


def shown(what: Any) -> str:
    console = Console(width=140, file=io.StringIO())
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def test_report_shows_failures_with_reasons_and_what_was_not_measured_as_a_dash() -> None:
    text = shown(summary(figures()))
    assert "failed: http 503 <no>" in text
    assert "dropped by the kernel for the server" in text
    assert "10.0 µs for each of 10 packets" in text
    assert "aiortc: 1 asked, 1 connected, none failed" in text
    assert "1 of" not in shown(progress_line(POINT | {"asked": 0, "established": 0}))
    assert "2 of 3 calls up" in shown(progress_line(POINT))


def test_report_without_calls_packets_or_server_is_shown_too() -> None:
    empty = Histogram().summary()
    bare = figures(storm=None, aiortc=None, cpu={}, series=[], round_trip_ms=empty, departure_spacing_ms=empty)
    assert "asked" in shown(summary(bare))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plot_is_a_picture_of_the_kind_its_name_says_even_of_nothing(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib", reason="the extra `load` draws pictures")
    empty = Histogram().summary()
    times = dict.fromkeys(("round_trip_ms", "departure_spacing_ms", "own_spacing_ms"), empty)
    for name, one in (("full", figures()), ("bare", figures(series=[], **times))):
        draw(one, tmp_path / f"{name}.{ending}")
        data = (tmp_path / f"{name}.{ending}").read_bytes()
        assert data.startswith(b"\x89PNG") if ending == "png" else b"<svg" in data


def test_plot_headline_names_the_url_and_what_was_lost() -> None:
    assert "http://127.0.0.1/?a&b\n0 of 0 calls established, 1 failed; 1 packets sent, 1 lost" in headline(figures())


def test_command_says_how_to_get_matplotlib_when_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda _name: None)
    assert command.run(options("http://127.0.0.1", "--plot", "a.png")) == command.EXIT_USAGE
    assert "pip install 'ringline[load]'" in capsys.readouterr().err


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--runtime-directory", type=Path)
    command.register(parser.add_subparsers())
    return parser.parse_args(["load", *words])


@pytest.mark.parametrize(
    "words",
    [
        ["http://192.0.2.1"],
        ["http://127.0.0.1", "--calls", "20001"],
        ["http://127.0.0.1", "--seconds", "3601"],
        ["nonsense"],
    ],
)
def test_command_refuses_with_status_2_and_says_what_is_allowed(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(options(*words)) == command.EXIT_USAGE
    said = capsys.readouterr().err
    assert "allowed" in said or "--allow-remote" in said


def test_command_says_how_to_get_aiortc_when_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda _name: None)
    assert command.run(options("http://127.0.0.1", "--mix", "5%")) == command.EXIT_USAGE
    assert "pip install 'ringline[load]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--plot", "a.gif"], ["--plot", "no/such/a.png"], ["--mix", "some"], ["--pids", "1,x"]]
)
def test_command_refuses_malformed_options(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        options("http://127.0.0.1", *words)
