"""Every part of `python -m bench.rings` runs on the project's own rings and tables, and gives a figure."""

from pathlib import Path

import pytest

from bench.crowd import Step, tell
from bench.forward.build import build_extension, load_extension
from bench.rings import __main__ as rings


def test_rings_every_part_gives_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rings, "MESSAGES", 2000)
    monkeypatch.setattr(rings, "LATENCY_MESSAGES", 20)
    monkeypatch.setattr(rings, "LOOK_UPS", 4000)
    loops = load_extension(build_extension(Path("bench/rings/rounds.pyx"), tmp_path))
    figures = {title: value for part in rings.all_parts(loops) for title, value in part().items()}
    assert len(figures) == 18
    assert min(figures.values()) > 0


def test_crowd_says_slope_and_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    tell([
        Step(calls, 50_000_000 + 40_000 * calls, 0.1, packet, packet + 1, 0, 0.2, 2.0)
        for calls, packet in ((100, 20.0), (1000, 21.0), (5000, 22.0), (10_000, 99.0))
    ])  # fmt: skip
    said = capsys.readouterr().out
    assert "100 to 5000: 40.0 kB" in said
    assert "a packet at 5000 calls: 1.10 x one at 100" in said
