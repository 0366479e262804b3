"""Builds the Status that answers a StatusRequest, from what the supervisor holds: counters, rings, tables, processes.

Called by control.py for each request. All is read from shared memory while workers go on; nothing waits for them.
A worker may be in the middle of a batch, so its counters are read again until its outcomes add up (`_settled`).
"""

import os
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from relayd.attachments import Attachments
from relayd.children import Children, WorkerPost
from relayd.holding import Holding
from relayd.key_confirmation import KeyConfirmation
from relayd.outcomes import OUT_OUTCOME_NAMES, OUTCOME_NAMES
from relayd.status import (
    AttachedStatus,
    LaneStatus,
    Outcomes,
    OwnerCounters,
    Ring,
    Status,
    TransceiverStatus,
    WorkerStatus,
)
from shm.attach import MESSAGE_MAX
from shm.daemon.release import RELEASE
from shm.lane import Lane
from shm.segment import SUPPORTED_MAJORS, Segment

if TYPE_CHECKING:
    from relayd.control import ControlServer

# Looks at a worker's counters until its outcomes add up, and the pause between two. A batch takes up to a millisecond;
# in all that is 8 ms in which the supervisor does nothing else, while a worker may be waiting for its successor.
READS_MAX = 8
READ_PAUSE_SECONDS = 0.001
# A worker that has nothing to do turns every 20 ms (worker.pyx); one that has not turned for so long may be stopped in
# the middle of a batch (ns).
STOPPED_NS = 200_000_000
# Around the status stand the message's own few bytes.
ENVELOPE_BYTES = 256

_PACKETS = frozenset(OUTCOME_NAMES)
_RECORDS = frozenset(OUT_OUTCOME_NAMES)


@dataclass
class Reporter:
    """Knows where everything is."""

    children: Children
    attachments: Attachments
    keys: KeyConfirmation
    runtime_directory: Path
    port: int
    machine: int
    batch: int
    started_ns: int = field(default_factory=time.monotonic_ns)
    upgrades: int = 0

    def report(self, control: "ControlServer") -> dict[str, Any]:
        """The Status as a message carries it, short enough for one."""
        now = time.monotonic_ns()
        status = Status(
            release=RELEASE,
            monotonic_ns=now,
            pid=os.getpid(),
            upgrades=self.upgrades,
            upgrading=self.children.swapping.at_work,
            uptime_seconds=(now - self.started_ns) / 1e9,
            runtime_directory=str(self.runtime_directory),
            port=self.port,
            machine=self.machine,
            layouts=list(SUPPORTED_MAJORS),
            keys=self.keys.keys.fingerprints(),
            workers=[self._worker(post, now) for post in self.children.posts],
            packets_to=self.children.steering.choice.workers,
            transceiverd=self._attached(control, now),
            transceivers=self._transceivers(now),
            lanes=[_lane(lane) for holding in self.attachments.holdings for _, lane in sorted(holding.lanes.items())],
            control=dict(control.events),
        )
        return _fitted(status)

    def _worker(self, post: WorkerPost, now: int) -> WorkerStatus:
        holding = post.holding
        counts, in_hand = self._settled(holding)
        return WorkerStatus(
            worker=post.index,
            pid=post.pid,
            release="" if post.process is None else post.process.release,
            cpu=holding.cpu,
            uptime_seconds=0.0 if post.process is None else (now - post.process.started_ns) / 1e9,
            heartbeat_age_ms=_age_ms(holding.counters.segment, now),
            restarts=post.restarts,
            killed_stuck=post.killed_stuck,
            last_end=post.last_end,
            last_gap_ms=post.last_gap_ns / 1e6,
            flows=holding.flows.occupied,
            flows_max=holding.flows.capacity,
            packets=Outcomes(counts.get("received", 0), _chosen(counts, _PACKETS), in_hand),
            records=Outcomes(counts.get("out_records", 0), _chosen(counts, _RECORDS), in_hand),
            beside=_chosen(counts, counts.keys() - _PACKETS - _RECORDS - {"received", "out_records"}),
        )

    def _settled(self, holding: Holding) -> tuple[dict[str, int], int]:
        """A worker's counters, and how many packets it may have had in hand at that moment.

        None, when the outcomes add up; and none either, when it turns and still nothing moves: then some are lost.
        """
        first = counts = holding.counters.read()
        for _ in range(READS_MAX):
            if _adds_up(counts):
                return counts, 0
            time.sleep(READ_PAUSE_SECONDS)
            counts = holding.counters.read()
        stopped = time.monotonic_ns() - holding.counters.segment.heartbeat_ns > STOPPED_NS
        return counts, self.batch if stopped or counts != first else 0

    @staticmethod
    def _attached(control: "ControlServer", now: int) -> AttachedStatus | None:
        connection = control.transceiverd
        if connection is None:
            return None
        attached_seconds = (now - connection.opened_ns) / 1e9
        return AttachedStatus(
            connection.peer.pid, connection.peer.uid, attached_seconds, control.attachments.ready_transceivers
        )

    def _transceivers(self, now: int) -> list[TransceiverStatus]:
        known: dict[int, TransceiverStatus] = {}

        def of(index: int) -> TransceiverStatus:
            return known.setdefault(index, TransceiverStatus(transceiver=index))

        for index, incarnation in self.attachments.incarnations.items():
            of(index).incarnation = incarnation
        for holding in self.attachments.holdings:
            for index in holding.lanes:
                of(index).lanes += 1
        for offered in self.attachments.counters.values():
            counters = offered.counters
            read = _chosen(counters.read(), None)
            owner = OwnerCounters(offered.owner, _age_ms(counters.segment, now), read)
            of(offered.transceiver).owners.append(owner)
        return [status for _, status in sorted(known.items())]


def _adds_up(counts: Mapping[str, int]) -> bool:
    packets = sum(counts.get(name, 0) for name in OUTCOME_NAMES)
    records = sum(counts.get(name, 0) for name in OUT_OUTCOME_NAMES)
    return counts.get("received", 0) == packets and counts.get("out_records", 0) == records


def _chosen(counts: Mapping[str, int], names: Collection[str] | None) -> dict[str, int]:
    """The counters of these names (None: all) that are not zero."""
    return {name: count for name, count in counts.items() if count and (names is None or name in names)}


def _age_ms(segment: Segment, now: int) -> float | None:
    return max(now - segment.heartbeat_ns, 0) / 1e6 if segment.heartbeat_ns else None


def _lane(lane: Lane) -> LaneStatus:
    rings = [
        Ring(
            ring=name.replace("_", " "),
            capacity=words["capacity"],
            fill=max(words["tail"] - words["head"], 0),
            full=words["full"],
            records_in=words["records_in"],
            records_out=words["records_out"],
            lost=words["lost"],
            malformed=words["malformed"],
        )
        for name, words in lane.status().items()
    ]
    return LaneStatus(lane.transceiver, lane.worker, lane.incarnation, rings)


def _fitted(status: Status) -> dict[str, Any]:
    """Leaves out the most voluminous parts, and says so, until the rest fits one datagram."""
    built = _built(status)
    for part in ("lanes", "transceivers", "control"):
        if len(msgspec.json.encode(built)) <= MESSAGE_MAX - ENVELOPE_BYTES:
            break
        status.omitted.append(f"{part} ({len(getattr(status, part))})")
        setattr(status, part, type(getattr(status, part))())
        built = _built(status)
    return built


def _built(status: Status) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(status, str_keys=True)
    return built
