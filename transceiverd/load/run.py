"""One load run from the first call to the last word: dial, hold, storm if asked, hush, hang up; and the figures of it.

Called by `command.py`. What it gives is plain data (`report.py` shows it): one dictionary, the same as `--json`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from transceiverd.load.fleet import Fleet
from transceiverd.load.plan import Plan
from transceiverd.load.processes import OWN, ProcessMeter, Sample, between, server_cpu

LOOK_SECONDS = 1.0  # between two progress lines and two points of the plot
GOODBYE_SECONDS = 0.3  # close_notify is on its way

Progress = Callable[[dict[str, Any]], None]


class LoadRun:
    """Runs a plan. `progress` is called about once a second with the newest point of the series."""

    def __init__(self, plan: Plan, meter: ProcessMeter, progress: Progress, drops: Callable[[], int | None]) -> None:
        self._plan = plan
        self._meter = meter
        self._progress = progress
        self._drops = drops
        self._series: list[dict[str, Any]] = []
        self._samples: dict[str, tuple[float, Sample]] = {}
        self._packets_at: dict[str, int] = {}
        self._storm: dict[str, Any] | None = None

    async def run(self) -> dict[str, Any]:
        """The figures."""
        drops = self._drops()
        async with Fleet(self._plan) as fleet:
            looking = asyncio.create_task(self._look(fleet))
            try:
                async with self._other_callers() as others:
                    await self._story(fleet, others)
            finally:
                looking.cancel()
                fleet.hang_up_all()
                await asyncio.sleep(GOODBYE_SECONDS)
            figures = self._figures(fleet)
            figures["aiortc"] = others.summary() if others is not None else None
        after = self._drops()
        figures["kernel_drops"]["server"] = None if drops is None or after is None else after - drops
        return figures

    async def _story(self, fleet: Fleet, others: Any) -> None:
        plan = self._plan
        self._mark("start", fleet)
        ours = plan.calls - plan.aiortc_calls
        share = ours / plan.calls
        dialling = [fleet.dial(ours, plan.rate * share, talk=not plan.silent)] if ours else []
        if others is not None:
            dialling.append(others.dial(plan.aiortc_calls, plan.rate * (1 - share)))
        await asyncio.gather(*dialling)
        self._mark("dialled", fleet)
        if fleet.calls or others is not None:  # else there is nobody to hold
            await self._hold(fleet)
        self._mark("held", fleet)
        await fleet.hush()

    async def _hold(self, fleet: Fleet) -> None:
        seconds = self._plan.seconds
        if self._plan.storm:
            await asyncio.sleep(seconds / 2)
            await self._redial(fleet)
            await asyncio.sleep(seconds / 2)
        else:
            await asyncio.sleep(seconds)

    async def _redial(self, fleet: Fleet) -> None:
        """Everybody is cut off and calls again in the same moment. What was on its way has come: it is not lost."""
        await fleet.hush()
        count = len(fleet.calls)
        before = fleet.tally.established, fleet.tally.answered, fleet.dialer.paced
        start = time.monotonic()
        fleet.hang_up_all()
        await fleet.dial(count, float("inf"), talk=not self._plan.silent)
        self._storm = {
            "calls": count,
            "answered": fleet.tally.answered - before[1],
            "established": fleet.tally.established - before[0],
            "paced": fleet.dialer.paced - before[2],
            "seconds": time.monotonic() - start,
        }

    @contextlib.asynccontextmanager
    async def _other_callers(self) -> Any:
        """The share of calls that another implementation places."""
        if not self._plan.aiortc_calls:
            yield None
            return
        from transceiverd.load.aiortc_callers import AiortcCallers  # noqa: PLC0415 - an optional extra

        async with AiortcCallers(self._plan) as callers:
            yield callers

    # ------------------------------------------------------------------ figures

    def _mark(self, name: str, fleet: Fleet) -> None:
        self._samples[name] = time.monotonic(), self._meter.sample()
        self._packets_at[name] = fleet.packets.totals()["received"]

    async def _look(self, fleet: Fleet) -> None:
        start = time.monotonic()
        round_trip = fleet.packets.histograms()["round_trip"]
        before = self._meter.sample()
        received = 0
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            totals, newest = fleet.packets.totals(), fleet.packets.histograms()["round_trip"]
            sample = self._meter.sample()
            used = between(before, sample)
            recent = newest.since(round_trip)
            point = {
                "seconds": time.monotonic() - start,
                "asked": fleet.tally.asked,
                "established": fleet.up,
                "failed": sum(fleet.tally.failed.values()),
                "packets": totals["received"] - received,
                "missing": totals["sent"] - totals["received"],
                "round_trip_p50_ms": recent.percentile(50) / 1e6,
                "round_trip_p99_ms": recent.percentile(99) / 1e6,
                "server_cpu_seconds": server_cpu(used),
                "own_cpu_seconds": used[OWN].cpu if OWN in used else 0.0,
            }
            self._series.append(point)
            self._progress(point)
            round_trip, received, before = newest, totals["received"], sample

    def _figures(self, fleet: Fleet) -> dict[str, Any]:
        totals = fleet.packets.totals()
        histograms = fleet.packets.histograms()
        return {
            "url": self._plan.url,
            "calls": fleet.tally.summary() | {"paced": fleet.dialer.paced},
            "storm": self._storm,
            "packets": totals | {"lost": totals["sent"] - totals["received"]},
            "round_trip_ms": histograms["round_trip"].summary(),
            "departure_spacing_ms": histograms["spacing"].summary(),
            "own_spacing_ms": histograms["sent_spacing"].summary(),
            "spacing_change_ms": histograms["spacing_change"].summary(),
            "cpu": self._cpu(),
            "kernel_drops": {"load": totals["kernel_drops"]},
            "refused_by_us": dict(fleet.drops),
            "series": self._series,
        }

    def _cpu(self) -> dict[str, Any]:
        """By phase and process, seconds; and what that is for a call and for a packet."""
        phases = {}
        for name, (first, last) in {"dialling": ("start", "dialled"), "holding": ("dialled", "held")}.items():
            if last not in self._samples:
                continue
            (began, before), (ended, after) = self._samples[first], self._samples[last]
            used = between(before, after)
            packets = self._packets_at[last] - self._packets_at[first]
            phases[name] = {
                "seconds": ended - began,
                "packets": packets,
                "processes": {process: {"user": u.user, "system": u.system} for process, u in used.items()},
                "server_cpu": server_cpu(used),
                "server_cpu_us_a_packet": server_cpu(used) / packets * 1e6 if packets else None,
            }
        return phases
