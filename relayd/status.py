"""What the running system looks like: the structs that relayd answers a StatusRequest with and `relayctl status` shows.

Built by status_report.py, shown by status_view.py. Plain data, no behaviour but sums; every field has a default, so
that a relayctl of another release still reads what it knows. Times are durations at the moment of the report.
"""

from collections.abc import Iterable

import msgspec


class Ring(msgspec.Struct, array_like=True):
    """One direction of one lane. An array in JSON, since there may be thousands; new fields go to the end."""

    ring: str = ""
    capacity: int = 0
    """Bytes."""
    fill: int = 0
    """Bytes waiting."""
    full: int = 0
    """Records refused because there was no room."""
    records_in: int = 0
    records_out: int = 0
    lost: int = 0
    """Taken up by a reader that died on them."""
    malformed: int = 0


class LaneStatus(msgspec.Struct):
    """The rings between one transceiver and one worker."""

    transceiver: int = 0
    worker: int = 0
    incarnation: int = 0
    rings: list[Ring] = []


class Outcomes(msgspec.Struct):
    """Where packets, or the records of return rings, went. Each ends in exactly one outcome, so the sum is `taken`."""

    taken: int = 0
    """Received from the kernel; or taken from the rings."""
    outcomes: dict[str, int] = {}
    """Those that are not zero."""
    in_hand: int = 0
    """At most so many belong to a batch that a worker was in the middle of when it was looked at."""

    @property
    def booked(self) -> int:
        """Packets that have an outcome."""
        return sum(self.outcomes.values())

    @property
    def missing(self) -> int:
        """Packets without an outcome beyond those a worker has in hand; negative: some have two."""
        apart = self.taken - self.booked
        return apart - min(max(apart, 0), self.in_hand)

    @property
    def adds_up(self) -> bool:
        """Whether each packet has exactly one."""
        return self.missing == 0

    def add(self, other: "Outcomes") -> None:
        """Count another worker's too."""
        self.taken += other.taken
        self.in_hand += other.in_hand
        for name, count in other.outcomes.items():
            self.outcomes[name] = self.outcomes.get(name, 0) + count


class WorkerStatus(msgspec.Struct):
    """One worker, and what it counted since relayd started, over all its processes."""

    worker: int = 0
    pid: int | None = None
    cpu: int | None = None
    uptime_seconds: float = 0.0
    heartbeat_age_ms: float | None = None
    restarts: int = 0
    killed_stuck: int = 0
    last_end: str = ""
    last_gap_ms: float = 0.0
    flows: int = 0
    flows_max: int = 0
    packets: Outcomes = msgspec.field(default_factory=Outcomes)
    """Received from clients."""
    records: Outcomes = msgspec.field(default_factory=Outcomes)
    """Taken from transceivers' return rings."""
    beside: dict[str, int] = {}
    """Its other counters that are not zero."""
    release: str = ""
    """The code that its process runs."""


class OwnerCounters(msgspec.Struct):
    """What one thread of a transceiver counts."""

    owner: str = ""
    heartbeat_age_ms: float | None = None
    counters: dict[str, int] = {}


class TransceiverStatus(msgspec.Struct):
    """One transceiver, as far as relayd is told."""

    transceiver: int = 0
    incarnation: int = 0
    lanes: int = 0
    owners: list[OwnerCounters] = []


class AttachedStatus(msgspec.Struct):
    """The transceiverd that is attached."""

    pid: int = 0
    uid: int = 0
    attached_seconds: float = 0.0
    ready_transceivers: int = 0


class ProcessStatus(msgspec.Struct):
    """One process of transceiverd."""

    name: str = ""
    pid: int = 0
    release: str = ""
    state: str = ""
    calls: int | None = None


class Status(msgspec.Struct):
    """Everything."""

    release: str = ""
    monotonic_ns: int = 0
    """CLOCK_MONOTONIC of the report; rates come from two of them."""
    pid: int = 0
    uptime_seconds: float = 0.0
    runtime_directory: str = ""
    port: int = 0
    machine: int = 0
    layouts: list[int] = []
    keys: dict[int, str] = {}
    workers: list[WorkerStatus] = []
    packets_to: list[int] = []
    """The workers that packets go to (steering.py)."""
    transceiverd: AttachedStatus | None = None
    transceivers: list[TransceiverStatus] = []
    processes: list[ProcessStatus] = []
    """Of transceiverd, as it says itself to those who may give it orders; relayctl asks it."""
    lanes: list[LaneStatus] = []
    control: dict[str, int] = {}
    """Events of the control socket: messages and peers refused, and why."""
    omitted: list[str] = []
    """What was left out, because a reply is one datagram."""
    upgrades: int = 0
    """How often the supervisor has replaced its own code."""
    upgrading: bool = False
    """Whether workers of the older code are still being swapped."""

    def packets(self) -> Outcomes:
        """All workers' received packets together."""
        return _sum(worker.packets for worker in self.workers)

    def records(self) -> Outcomes:
        """All workers' records from return rings together."""
        return _sum(worker.records for worker in self.workers)


def _sum(parts: Iterable[Outcomes]) -> Outcomes:
    total = Outcomes()
    for part in parts:
        total.add(part)
    return total
