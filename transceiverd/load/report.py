"""Shows the figures of a load run: the progress line, and the tables at the end.

Pure functions from the dictionary that `run.py` gives to rich renderables. What could not be measured is a dash.
"""

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

TIMES = ("p50", "p90", "p99", "p99.9", "max")
PHASE_WORDS = {
    "answered": "answer over HTTP",
    "checked": "first check answered (ICE)",
    "established": "keys (DTLS)",
    "heard": "first audio back",
}


def progress_line(point: dict[str, Any]) -> Text:
    """The newest second."""
    return Text(
        f"{point['seconds']:6.0f} s  {point['established']} of {point['asked']} calls up, {point['failed']} failed  "
        f"{point['packets']} packets/s, {point['missing']} missing  "
        f"round trip p50 {point['round_trip_p50_ms']:.2f} p99 {point['round_trip_p99_ms']:.2f} ms  "
        f"server CPU {point['server_cpu_seconds'] * 100:.0f} %"
    )


def summary(figures: dict[str, Any]) -> RenderableType:
    """Everything, at the end."""
    parts: list[RenderableType] = [_calls(figures), _times(figures)]
    if figures["storm"]:
        parts.append(_storm(figures["storm"]))
    if figures["aiortc"]:
        parts.append(_aiortc(figures["aiortc"]))
    parts += [_packets(figures), _processes(figures)]
    return Group(*parts)


def _calls(figures: dict[str, Any]) -> RenderableType:
    calls = figures["calls"]
    table = _table("calls", "", "number")
    for name in ("asked", "answered", "established", "unheard", "paced"):
        table.add_row(name, str(calls[name]))
    failed = sum(calls["failed"].values())
    table.add_row(Text("failed", "red" if failed else ""), str(failed))
    for reason, count in sorted(calls["failed"].items(), key=lambda item: -item[1]):
        table.add_row(Text(f"failed: {reason}", "red"), str(count))
    for reason, count in sorted(calls["ended_early"].items(), key=lambda item: -item[1]):
        table.add_row(Text(f"ended early: {reason}", "red"), str(count))
    return table


def _times(figures: dict[str, Any]) -> RenderableType:
    table = _table("times, ms", "", "count", *TIMES)
    for phase, words in PHASE_WORDS.items():
        _add_times(table, f"from dialling to {words}", figures["calls"]["setup_ms"][phase])
    _add_times(table, "round trip of a packet", figures["round_trip_ms"])
    _add_times(table, "departure spacing (what comes back)", figures["departure_spacing_ms"])
    _add_times(table, "our own spacing (what we sent)", figures["own_spacing_ms"])
    _add_times(table, "change of spacing on the way", figures["spacing_change_ms"])
    return table


def _add_times(table: Table, name: str, times: dict[str, float]) -> None:
    if times["count"]:
        table.add_row(name, f"{times['count']:.0f}", *(f"{times[one]:.2f}" for one in TIMES))


def _storm(storm: dict[str, Any]) -> RenderableType:
    return Text(
        f"storm: {storm['calls']} redialled at once; {storm['answered']} answered, {storm['established']} established "
        f"in {storm['seconds']:.1f} s; told to come again later {storm['paced']} times"
    )


def _aiortc(callers: dict[str, Any]) -> RenderableType:
    return Text(
        f"aiortc: {callers['asked']} asked, {callers['connected']} connected, {callers['failed'] or 'none'} failed; "
        f"{callers['sent']} packets sent, {callers['received']} came back"
    )


def _packets(figures: dict[str, Any]) -> RenderableType:
    packets, drops = figures["packets"], figures["kernel_drops"]
    table = _table("packets", "", "number")
    for name in ("sent", "received", "lost", "reordered", "duplicates", "foreign", "unauthentic", "reports"):
        alarm = name not in ("sent", "received", "reports") and packets[name]
        table.add_row(Text(name, "red" if alarm else ""), str(packets[name]) + _share(name, packets))
    for name in ("skipped", "early", "refused", "send_errors", "unprotectable", "inbox_full", "late_ticks"):
        if packets[name]:
            table.add_row(Text(f"our own: {name.replace('_', ' ')}", "yellow"), str(packets[name]))
    table.add_row("dropped by the kernel for us", str(drops["load"]))
    table.add_row("dropped by the kernel for the server", "-" if drops["server"] is None else str(drops["server"]))
    return table


def _share(name: str, packets: dict[str, Any]) -> str:
    return f" ({packets['lost'] / packets['sent']:.3%})" if name == "lost" and packets["lost"] else ""


def _processes(figures: dict[str, Any]) -> RenderableType:
    table = _table("CPU", "phase", "process", "user s", "system s", "% of a CPU")
    for phase, used in figures["cpu"].items():
        for name, times in used["processes"].items():
            share = (times["user"] + times["system"]) / used["seconds"] * 100 if used["seconds"] else 0
            table.add_row(phase, name, f"{times['user']:.2f}", f"{times['system']:.2f}", f"{share:.1f}")
        if used["server_cpu_us_a_packet"] and used["server_cpu"]:
            words = f"{used['server_cpu_us_a_packet']:.1f} µs for each of {used['packets']} packets that came back"
            table.add_row(phase, Text(f"server: {words}", "bold"))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 or column == "process" else "right")
    return table
