"""The course of a load run as an SVG picture: calls, packets, round trip and server CPU over time.

Called by `command.py` for `--plot`. Written by hand, since a plotting library would be the largest dependency there is
for four lines on a page. Each panel has its own scale, named at its top.
"""

from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

WIDTH, PANEL, GAP, LEFT = 860, 150, 46, 60  # pixels
COLOURS = ("#1f77b4", "#d62728", "#2ca02c")


class Panel(NamedTuple):
    """A chart: its title and what it shows, by key of the series' points."""

    title: str
    lines: Sequence[tuple[str, str]]
    factor: float = 1.0


PANELS = (
    Panel("calls", (("established", "up"), ("failed", "failed"), ("asked", "asked"))),
    Panel("packets that came back, each second", (("packets", "packets"), ("missing", "missing so far"))),
    Panel("round trip, ms", (("round_trip_p50_ms", "p50"), ("round_trip_p99_ms", "p99"))),
    Panel("server CPU, % of one CPU", (("server_cpu_seconds", "all processes"),), 100.0),
)


def draw(figures: dict[str, Any]) -> str:
    """The text of the SVG."""
    series = figures["series"]
    height = len(PANELS) * (PANEL + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{escape(figures["url"])}</text>',
    ]
    for place, panel in enumerate(PANELS):
        parts += _panel(panel, series, GAP + place * (PANEL + GAP))
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, series: list[dict[str, Any]], top: int) -> list[str]:
    bottom = top + PANEL
    highest = max((point[key] * panel.factor for point in series for key, _ in panel.lines), default=0.0) or 1.0
    end = max((point["seconds"] for point in series), default=1.0)
    parts = [
        f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{escape(panel.title)}</text>',
        f'<path d="M{LEFT} {top}V{bottom}H{WIDTH - 20}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{highest:g}</text>',
        f'<text x="{LEFT - 6}" y="{bottom}" text-anchor="end">0</text>',
        f'<text x="{WIDTH - 20}" y="{bottom + 14}" text-anchor="end">{end:.0f} s</text>',
    ]
    for place, (key, name) in enumerate(panel.lines):
        points = " ".join(
            f"{LEFT + point['seconds'] / end * (WIDTH - 20 - LEFT):.1f},"
            f"{bottom - point[key] * panel.factor / highest * PANEL:.1f}"
            for point in series
        )
        colour = COLOURS[place]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{LEFT + 330 + 130 * place}" y="{top - 6}" fill="{colour}">{escape(name)}</text>')
    return parts
