"""The life of one worker process.

Entered by children.py in the forked process (shm/daemon/child.py is around it). The packet loop itself is worker.pyx;
this file gives it what the worker was born with, and serves the supervisor's messages between two runs of the loop.
"""

import contextlib
import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass

from relayd.check_gate import CheckGate
from relayd.child_messages import (
    AttachLane,
    DetachLane,
    KeysLoaded,
    Leave,
    LoadKeys,
    SetLogLevel,
    encode,
    receive_from_supervisor,
)
from relayd.config import Relay
from relayd.holding import Holding
from relayd.ufrag_keys import KeyFileError, UfragKeys
from relayd.worker import Worker
from shm.daemon.child import settle
from shm.daemon.logs import set_log_level
from shm.errors import LayoutRefused
from shm.lane import Lane

log = logging.getLogger("worker")


@dataclass(frozen=True)
class CheckBounds:
    """See check_gate.pyx, and the keys `checks_per_second...` of `[relay]`."""

    per_second: int
    per_second_slot: int
    per_second_flow: int

    @classmethod
    def of(cls, config: Relay) -> "CheckBounds":
        """As configured."""
        return cls(config.checks_per_second, config.checks_per_second_slot, config.checks_per_second_flow)


@dataclass(frozen=True)
class Birth:
    """What a worker is born with: all that its predecessor had."""

    holding: Holding
    others: Collection[Holding]
    keys: UfragKeys
    machine: int
    batch: int
    checks: CheckBounds
    nice: int
    supervisor: int
    """pid of the parent."""
    control: socket.socket
    """The worker's end of the socket pair."""
    lock_fd: int
    """Inherited and kept: the workers' lock is free only when the last worker is gone (lease.py)."""
    lease_fd: int | None
    """What it listens to instead of `control` when the supervisor is gone; None: it dies with the supervisor."""


def run_worker(birth: Birth) -> None:
    """Be the worker until told to leave. Called in the forked child."""
    holding = birth.holding
    for other in birth.others:
        other.close()
    keep = {birth.control.fileno(), birth.lock_fd, *holding.fds()}
    dies_with: int | None = birth.supervisor
    if birth.lease_fd is not None:
        keep.add(birth.lease_fd)
        dies_with = None
    settle(f"worker {holding.index}", f"relayd-worker{holding.index}", keep, dies_with, holding.cpu,
           birth.nice)  # fmt: skip
    _serve(birth)


def _serve(birth: Birth) -> None:
    holding = birth.holding
    worker = Worker(
        holding.index,
        holding.sockets.fds,
        holding.flows.segment,
        holding.counters.segment,
        birth.keys,
        machine=birth.machine,
        batch=birth.batch,
        gate=CheckGate(
            per_second=birth.checks.per_second,
            per_second_slot=birth.checks.per_second_slot,
            per_second_flow=birth.checks.per_second_flow,
        ),
    )
    for lane in holding.lanes.values():
        worker.attach_lane(lane)
    birth.control.setblocking(True)
    going_on = True
    while going_on:
        worker.run(birth.control.fileno())
        going_on = _obey(worker, birth)


def _obey(worker: Worker, birth: Birth) -> bool:
    """Take one message; False when this process is to end."""
    received = receive_from_supervisor(birth.control)
    if received is None:
        _outlive(worker, birth)
        return False
    message, fds = received
    lanes = birth.holding.lanes  # this process's own copy, as all that it was born with
    match message:
        case AttachLane(transceiver):
            replaced = lanes.pop(transceiver, None)
            lanes[transceiver] = _attached(transceiver, fds)
            worker.attach_lane(lanes[transceiver])
            _close(replaced)
        case DetachLane(transceiver):
            worker.detach(transceiver)
            _close(lanes.pop(transceiver, None))
        case LoadKeys(path):
            _load_keys(worker, birth, path)
        case SetLogLevel(level):
            set_log_level(level)
        case Leave():
            return False
    return True


def _attached(transceiver: int, fds: list[int]) -> Lane:
    """The lane, if it is still the one that the supervisor looked at. LayoutRefused ends this process; its successor is
    born with what the supervisor saw."""
    lane = Lane.attach(fds)
    if lane.transceiver != transceiver:
        raise LayoutRefused("transceiver of a lane", lane.transceiver, transceiver)
    return lane


def _outlive(worker: Worker, birth: Birth) -> None:
    """The supervisor is gone: forward until its successor is ready, or there will be none (lease.py)."""
    if birth.lease_fd is not None:
        log.info("worker %d goes on without a supervisor", birth.holding.index)
        worker.run(birth.lease_fd)


def _close(lane: Lane | None) -> None:
    """Give up a lane that the worker does not look at any more."""
    if lane is not None:
        lane.close()


def _load_keys(worker: Worker, birth: Birth, path: str) -> None:
    """A file that cannot be used changes nothing here; the supervisor has logged it, or will at its next look."""
    with contextlib.suppress(KeyFileError, OSError):
        keys = UfragKeys.load(path)
        worker.set_keys(keys)
        birth.control.send(encode(KeysLoaded(keys.fingerprints())))
