"""How `relayctl status` shows a Status to people: tables on a terminal, one after the other.

Called by relayctl.py. Uses rich; nothing here runs in the daemon.
"""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from relayd.status import LaneStatus, Outcomes, ProcessStatus, Ring, Status, TransceiverStatus, WorkerStatus

# A ring this full is about to refuse records; two thirds leave time to look.
FILL_WARNING = 0.66
# A worker that sleeps wakes every 20 ms (worker.pyx); a heartbeat this old is worth a look, relayd kills at 1 s.
HEARTBEAT_WARNING_MS = 200.0
OUTCOMES_SHOWN = 4


def render(status: Status) -> RenderableType:
    """The whole page."""
    parts: list[RenderableType] = [
        _head(status),
        _workers(status.workers, status.release),
        _outcomes("Packets received", status.packets()),
        _outcomes("Records from return rings", status.records()),
    ]
    if status.processes:
        parts.append(_processes(status.processes, status.release))
    if status.transceivers:
        parts.append(_transceivers(status.transceivers))
    if status.lanes:
        parts.append(_lanes(status.lanes))
    if status.omitted:
        parts.append(Text("left out: " + ", ".join(status.omitted), style="yellow"))
    parts += [sum_line("packets", status.packets()), sum_line("records", status.records())]
    return Group(*parts)


def sum_line(what: str, outcomes: Outcomes) -> Text:
    """Whether every packet, or record, has exactly one outcome (DESIGN 2.9)."""
    counts = f"{what}: {outcomes.taken} taken, {outcomes.booked} booked"
    if outcomes.adds_up:
        hand = outcomes.taken - outcomes.booked
        return Text(f"{counts}{f', {hand} in hand' if hand else ''}: outcomes add up", style="green")
    return Text(f"{counts}, {outcomes.missing} missing: OUTCOMES DO NOT ADD UP", style="bold red")


def _head(status: Status) -> Text:
    text = Text(f"relayd {status.release}", style="bold")
    text.append(f"  pid {status.pid}, up {duration(status.uptime_seconds)}, UDP port {status.port}", style="default")
    text.append(f", machine {status.machine}, {status.runtime_directory}", style="default")
    keys = ", ".join(f"{key_id} ({fingerprint})" for key_id, fingerprint in sorted(status.keys.items()))
    text.append(f"\nlayouts {', '.join(map(str, status.layouts))}; ufrag keys {keys or 'none'}", style="dim")
    attached = status.transceiverd
    if attached is None:
        text.append("\nno transceiverd is attached: no call can be made or kept", style="bold yellow")
    else:
        pid = attached.pid or "of another container"
        text.append(
            f"\ntransceiverd pid {pid} (uid {attached.uid}), attached for "
            f"{duration(attached.attached_seconds)}, {attached.ready_transceivers} transceivers ready",
            style="default",
        )
    if status.control:
        text.append("\ncontrol socket: " + _named_counts(status.control), style="dim")
    return text


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        text_column = column in ("last end", "outcomes", "outcome", "ring", "thread", "counters")
        table.add_column(column, justify="left" if text_column else "right", no_wrap=not text_column)
    return table


def _workers(workers: Iterable[WorkerStatus], release: str) -> Table:
    table = _table("Workers", "worker", "pid", "release", "CPU", "up", "heartbeat", "restarts", "flows", "received",
                   "outcomes", "last end")  # fmt: skip
    for worker in workers:
        stuck = f" ({worker.killed_stuck} stuck)" if worker.killed_stuck else ""
        table.add_row(
            str(worker.worker),
            Text("none", style="bold red") if worker.pid is None else str(worker.pid),
            Text(worker.release, style="default" if worker.release == release else "yellow"),
            "any" if worker.cpu is None else str(worker.cpu),
            duration(worker.uptime_seconds),
            _heartbeat(worker.heartbeat_age_ms),
            f"{worker.restarts}{stuck}",
            f"{worker.flows}/{worker.flows_max}",
            str(worker.packets.taken),
            _largest(worker.packets.outcomes),
            f"{worker.last_end}, replaced in {worker.last_gap_ms:.1f} ms" if worker.last_end else "",
        )
    return table


def _outcomes(title: str, outcomes: Outcomes) -> Table:
    table = _table(f"{title}, all workers", "outcome", "count", "share")
    for name, count in sorted(outcomes.outcomes.items(), key=lambda item: -item[1]):
        if count:
            table.add_row(name, str(count), f"{100 * count / max(outcomes.taken, 1):.2f} %")
    return table


def _processes(processes: Iterable[ProcessStatus], release: str) -> Table:
    """Two releases side by side during an upgrade; the one that is not relayd's own stands out."""
    table = _table("Processes of transceiverd", "process", "pid", "release", "state", "calls")
    for process in processes:
        shown = Text(process.release, style="default" if process.release == release else "yellow")
        calls = "" if process.calls is None else str(process.calls)
        table.add_row(process.name, str(process.pid), shown, process.state, calls)
    return table


def _transceivers(transceivers: Iterable[TransceiverStatus]) -> Table:
    table = _table("Transceivers", "transceiver", "incarnation", "lanes", "thread", "heartbeat", "counters")
    for transceiver in transceivers:
        first = [str(transceiver.transceiver), f"{transceiver.incarnation:x}", str(transceiver.lanes)]
        if not transceiver.owners:
            table.add_row(*first, "", "", "")
        for owner in transceiver.owners:
            counters = {name: count for name, count in owner.counters.items() if count}
            table.add_row(*first, owner.owner, _heartbeat(owner.heartbeat_age_ms), _named_counts(counters))
            first = ["", "", ""]
    return table


def _lanes(lanes: Iterable[LaneStatus]) -> Table:
    table = _table("Rings", "transceiver", "worker", "ring", "fill", "of", "full", "in", "out", "lost", "malformed")
    for lane in lanes:
        first = [str(lane.transceiver), str(lane.worker)]
        for ring in lane.rings:
            table.add_row(*first, ring.ring, _fill(ring), size(ring.capacity), _alarm(ring.full), str(ring.records_in),
                          str(ring.records_out), _alarm(ring.lost), _alarm(ring.malformed))  # fmt: skip
            first = ["", ""]
    return table


def _fill(ring: Ring) -> Text:
    share = ring.fill / ring.capacity if ring.capacity else 0.0
    return Text(f"{100 * share:.0f} %", style="yellow" if share >= FILL_WARNING else "default")


def _alarm(count: int) -> Text:
    return Text(str(count), style="yellow" if count else "dim")


def _heartbeat(age_ms: float | None) -> Text:
    if age_ms is None:
        return Text("never", style="yellow")
    return Text(f"{age_ms:.0f} ms", style="yellow" if age_ms >= HEARTBEAT_WARNING_MS else "default")


def _largest(outcomes: dict[str, int]) -> str:
    counted = sorted(((count, name) for name, count in outcomes.items() if count), reverse=True)
    more = f", {len(counted) - OUTCOMES_SHOWN} more" if len(counted) > OUTCOMES_SHOWN else ""
    return ", ".join(f"{name} {count}" for count, name in counted[:OUTCOMES_SHOWN]) + more


def _named_counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def duration(seconds: float) -> str:
    """Two units at most: `41 s`, `3 min 2 s`, `5 h 10 min`, `2 d 4 h`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def size(count: int) -> str:
    """Bytes in powers of two, as ring sizes are."""
    for unit, power in (("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count >> power} {unit}"
    return f"{count} B"
