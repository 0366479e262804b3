"""Bars with their spread as an SVG picture; written by hand like `relayctl load --plot`, without a plotting library."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, ROW, TOP, LEFT, RIGHT = 860, 26, 44, 190, 70  # pixels


class Bar(NamedTuple):
    """A value and the least and most that were seen of it."""

    name: str
    value: float
    least: float
    most: float


def draw(title: str, bars: Sequence[Bar]) -> str:
    """The text of the SVG."""
    scale = (WIDTH - LEFT - RIGHT) / (max((bar.most for bar in bars), default=1.0) or 1.0)
    height = TOP + ROW * len(bars) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="24" font-size="14">{escape(title)}</text>',
    ]
    for place, bar in enumerate(bars):
        parts += _row(bar, TOP + place * ROW, scale)
    return "\n".join([*parts, "</svg>", ""])


def _row(bar: Bar, top: int, scale: float) -> list[str]:
    middle = top + ROW // 2
    colour = "#d62728" if bar.name.startswith("ringline") else "#1f77b4"
    return [
        f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(bar.name)}</text>',
        f'<rect x="{LEFT}" y="{top + 4}" width="{bar.value * scale:.1f}" height="{ROW - 8}" fill="{colour}"/>',
        f'<path d="M{LEFT + bar.least * scale:.1f} {middle}H{LEFT + bar.most * scale:.1f}" stroke="black"/>',
        f'<text x="{LEFT + bar.most * scale + 6:.1f}" y="{middle + 4}">{bar.value:.1f}</text>',
    ]
