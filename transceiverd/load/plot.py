"""The course of a load run as a picture (PNG or SVG by the file's name): calls, packets, times and CPU by second.

Called by `command.py` for `--plot`, which has looked for matplotlib first (the extra `load`): it is imported only here
and only when a picture is asked for, since it takes longer to load than a short run takes. Times are on a logarithmic
scale: what matters is how far the p99 stands from the median, and both from one bad second.
"""

from pathlib import Path
from typing import Any, NamedTuple

INCHES, DOTS = (10.0, 11.0), 110
GREY = "#666666"


class Line(NamedTuple):
    """One key of the series' points, what it is called, and how it is drawn."""

    key: str
    name: str
    colour: str
    style: str = "-"


class Panel(NamedTuple):
    """A chart of the series. `factor` turns the figures into the unit named."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    factor: float = 1.0
    logarithmic: bool = False


BLUE, RED, GREEN = "#1f77b4", "#c8382e", "#2f8f46"
PANELS = (
    Panel("Calls", "calls", (
        Line("asked", "asked", GREY, "--"), Line("established", "up", BLUE), Line("failed", "failed", RED))),
    Panel("Packets", "in the second before", (
        Line("packets", "came back", BLUE), Line("missing", "missing so far", RED))),
    Panel("Round trip of a packet", "ms", (
        Line("round_trip_p50_ms", "p50", BLUE), Line("round_trip_p99_ms", "p99", RED)), logarithmic=True),
    Panel("CPU, all processes together", "% of one CPU", (
        Line("server_cpu_seconds", "server", GREEN), Line("own_cpu_seconds", "load generator", GREY, "--")), 100.0),
)  # fmt: skip


def draw(figures: dict[str, Any], path: Path) -> None:
    """Write the picture; the ending of its name says which kind."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - an optional extra, and slow to import

    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    axes = figure.subplots(len(PANELS) + 1, 1)
    figure.suptitle(headline(figures), fontsize=11)
    series = figures["series"]
    for panel, axis in zip(PANELS, axes, strict=False):
        _panel(axis, panel, series)
        axis.sharex(axes[0])
        axis.tick_params(labelbottom=panel is PANELS[-1])
    axes[len(PANELS) - 1].set_xlabel("seconds since the first call was placed")
    _percentiles(axes[-1], figures)
    figure.savefig(path)


def headline(figures: dict[str, Any]) -> str:
    """What one must know of a run, in two lines."""
    calls, packets, times = figures["calls"], figures["packets"], figures["round_trip_ms"]
    return (
        f"relayctl load {figures['url']}\n"
        f"{calls['established']} of {calls['asked']} calls established, {sum(calls['failed'].values())} failed; "
        f"{packets['sent']} packets sent, {packets['lost']} lost; "
        f"round trip p50 {times['p50']:.2f}, p99 {times['p99']:.2f}, max {times['max']:.1f} ms"
    )


def _panel(axis: Any, panel: Panel, series: list[dict[str, Any]]) -> None:
    seconds = [point["seconds"] for point in series]
    for line in panel.lines:
        values = [point.get(line.key, 0) * panel.factor for point in series]
        if panel.logarithmic:
            values = [value or None for value in values]  # a second without packets has no times
        axis.plot(seconds, values, line.style, color=line.colour, label=line.name, linewidth=1.6)
    axis.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
    axis.set_ylabel(panel.unit)
    if panel.logarithmic and any(point.get(line.key) for point in series for line in panel.lines):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:g}")
    else:
        axis.set_ylim(bottom=0)
    _finish(axis)


def _percentiles(axis: Any, figures: dict[str, Any]) -> None:
    """The whole run: which share of the packets took longer than that."""
    rows = (
        ("round_trip_ms", "round trip", BLUE),
        ("departure_spacing_ms", "departure spacing (20 ms wanted)", RED),
        ("own_spacing_ms", "our own spacing when sending", GREY),
    )
    names = ("p50", "p90", "p99", "p99.9", "max")
    for key, label, colour in rows:
        times = figures[key]
        if times["count"]:
            values = [max(times[name], 1e-3) for name in names]
            axis.plot(names, values, "o-", color=colour, label=label, linewidth=1.6, markersize=4)
            axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_title("Times over the whole run", loc="left", fontsize=10, fontweight="bold")
    axis.set_ylabel("ms")
    _finish(axis)


def _finish(axis: Any) -> None:
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
