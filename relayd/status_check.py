"""What is not as it should be in a Status, one sentence each: `relayctl status --check`, for scripts and monitoring."""

from collections.abc import Iterator

from relayd.status import Status
from relayd.status_view import FILL_WARNING, HEARTBEAT_WARNING_MS


def complaints(status: Status) -> list[str]:
    """Empty when all is well."""
    return [*_of_workers(status), *_of_transceivers(status), *_of_rings(status), *_of_outcomes(status)]


def _of_workers(status: Status) -> Iterator[str]:
    for worker in status.workers:
        if worker.pid is None:
            yield f"worker {worker.worker} does not run ({worker.last_end})"
        elif worker.heartbeat_age_ms is None or worker.heartbeat_age_ms >= HEARTBEAT_WARNING_MS:
            age = (
                "has not turned yet"
                if worker.heartbeat_age_ms is None
                else f"last turned {worker.heartbeat_age_ms:.0f} ms ago"
            )
            yield f"worker {worker.worker} (pid {worker.pid}) {age}"


def _of_transceivers(status: Status) -> Iterator[str]:
    if status.transceiverd is None:
        yield "no transceiverd is attached"
    elif status.transceiverd.ready_transceivers == 0:
        yield "no transceiver is ready"


def _of_rings(status: Status) -> Iterator[str]:
    for lane in status.lanes:
        for ring in lane.rings:
            if ring.fill >= FILL_WARNING * ring.capacity:
                ends = f"transceiver {lane.transceiver}, worker {lane.worker}"
                yield f"ring {ring.ring} of {ends} is {100 * ring.fill // max(ring.capacity, 1)} % full"


def _of_outcomes(status: Status) -> Iterator[str]:
    for what, outcomes in (("packets", status.packets()), ("records", status.records())):
        if not outcomes.adds_up:
            yield f"outcomes of {what} do not add up: {outcomes.missing} missing of {outcomes.taken}"
