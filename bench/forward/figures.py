"""Tables and the picture of a forwarding comparison: CPU of a packet by load, with ratios to the floor and to ours."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.ratio import against

Samples = Mapping[str, Sequence[Mapping[str, float]]]
TIMES = ("p50", "p99", "sleeps")
NOT_CPU = ("", "lost", *TIMES)
COLOURS = ("#444444", "#2f8f46", "#8fbf4f", "#8a5fb0", "#d98a2b", "#1f77b4", "#c8382e")
OURS = "ringline worker"


def tell(title: str, samples: Samples) -> None:
    """One load: medians, ratios to the floor (who comes first) and of ours to everybody. `sleeps`: a packet's."""
    floor = column(samples, next(iter(samples)))
    print(f"\n{title}: CPU of a packet, µs (median); to the floor and ours to it, with their 95 % intervals")
    print(f"  {'':28} {'own':>6} {'+beside':>7}  {'to the floor':18} {'ours to it':18} {'p50 µs':>7} {'p99 µs':>8} "
          f"{'sleeps':>7}")  # fmt: skip
    for name in samples:
        own = column(samples, name)
        beside = [key for key in samples[name][0] if key not in NOT_CPU]
        total = statistics.median(own) + sum(statistics.median(column(samples, name, key)) for key in beside)
        ours = against(column(samples, OURS), own)
        times = [statistics.median(column(samples, name, key)) if key in samples[name][0] else 0 for key in TIMES]
        lost = statistics.mean(column(samples, name, "lost"))
        words = f"  lost {lost:.2%}" if lost else ""
        print(f"  {name:28} {statistics.median(own):6.2f} {total if beside else 0:7.2f}  {against(own, floor):18} "
              f"{ours:18} {times[0]:7.0f} {times[1]:8.0f} {times[2]:7.2f}{words}", flush=True)  # fmt: skip


def column(samples: Samples, name: str, key: str = "") -> list[float]:
    """One figure of every round."""
    return [sample[key] for sample in samples[name]]


def draw(found: Mapping[int, Mapping[str, Samples]], path: Path) -> None:
    """A panel for each IP version: CPU of a packet by load, from light to saturated; the bars are the middle half."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import, and not always there

    figure = Figure(figsize=(6.4 * len(found), 5.2), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
    for axis, (version, loads) in zip(axes, found.items(), strict=True):
        for colour, name in zip(COLOURS, next(iter(loads.values())), strict=False):
            columns = [column(samples, name) for samples in loads.values()]
            middles = [statistics.median(values) for values in columns]
            quarters = [statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3 for values in columns]
            spread = [[m - q[0] for m, q in zip(middles, quarters, strict=True)],
                      [q[2] - m for m, q in zip(middles, quarters, strict=True)]]  # fmt: skip
            ours = name == OURS
            axis.errorbar(
                list(loads), middles, yerr=spread, marker="o", markersize=4, capsize=3, label=name,
                color=COLOURS[-1] if ours else colour, linewidth=2.4 if ours else 1.3, zorder=3 if ours else 2,
            )  # fmt: skip
        axis.set_yscale("log")
        axis.set_yticks([5, 10, 20, 50, 100])
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.set_title(f"IPv{version}", loc="left", fontweight="bold")
        axis.tick_params(axis="x", rotation=20)
        axis.grid(visible=True, color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("CPU of a forwarded packet, µs (the judged process)")
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(path)
