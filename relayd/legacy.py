"""What relayd's supervisor leaves to itself when it replaces its own code (shm/daemon/handover.py), and takes.

Made and read by supervisor.py. Numbers of descriptors, and what only the old code's memory knew. Another release may
read it: fields are only added, each with a default, and mean the same for ever.
"""

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from relayd.attachments import Attachments, OfferedCounters
from relayd.children import WorkerPost
from relayd.connection import Connection
from relayd.control import ControlServer
from relayd.holding import Holding
from relayd.lease import Lease, WorkersLock
from relayd.sockets import PublicSockets, WorkerSockets
from shm.attach import Credentials
from shm.counters import Counters
from shm.daemon.lock import ORPHAN_PATIENCE_SECONDS, LockHeld
from shm.daemon.post import LeftProcess
from shm.flows import FlowTable
from shm.lane import Lane

NONE = -1
"""No descriptor."""


class LeftWorker(msgspec.Struct):
    """One worker's place."""

    index: int
    cpu: int | None
    v4: int
    v6: int
    flows: int
    counters: int
    lanes: dict[int, list[int]] = {}
    """By transceiver, as `Lane.fds` has them."""
    process: LeftProcess | None = None

    def descriptors(self) -> Iterator[int]:
        """All of them."""
        yield from (self.v4, self.v6, self.flows, self.counters)
        for lane in self.lanes.values():
            yield from lane
        if self.process is not None:
            yield from self.process.descriptors


class LeftCounters(msgspec.Struct):
    """One thread's, as it was offered."""

    owner: str
    transceiver: int
    fd: int


class LeftTransceiverd(msgspec.Struct):
    """The conversation with the attached transceiverd, and what it offered beside lanes."""

    socket: int
    pid: int
    uid: int
    gid: int
    counters: list[LeftCounters] = []
    incarnations: dict[int, int] = {}
    ready_transceivers: int = 0

    def descriptors(self) -> Iterator[int]:
        """All of them."""
        yield self.socket
        for counters in self.counters:
            yield counters.fd


class Legacy(msgspec.Struct):
    """Everything."""

    lock: int
    listener: int
    """Of the control socket."""
    port: int
    started_ns: int
    upgrades: int
    workers: list[LeftWorker]
    transceiverd: LeftTransceiverd | None = None
    workers_lock: int = NONE
    lease: tuple[int, int] = (NONE, NONE)
    """Reader and writer (lease.py)."""

    def descriptors(self) -> list[int]:
        """All of them, those that are none left out."""
        found = [self.lock, self.listener, self.workers_lock, *self.lease]
        for worker in self.workers:
            found += worker.descriptors()
        if self.transceiverd is not None:
            found += self.transceiverd.descriptors()
        return [fd for fd in found if fd != NONE]


# ---------------------------------------------------------------------------------------------- leaving


def leave_worker(post: WorkerPost) -> LeftWorker:
    """One worker's place as it is. The new code attaches its lanes anew: what their peer wrote must not refuse that."""
    holding = post.holding
    for lane in holding.lanes.values():
        lane.restore_constants()
    v4, v6 = holding.sockets.fds
    return LeftWorker(
        index=holding.index,
        cpu=holding.cpu,
        v4=v4,
        v6=v6,
        flows=holding.flows.segment.fd,
        counters=holding.counters.segment.fd,
        lanes={transceiver: list(lane.fds) for transceiver, lane in holding.lanes.items()},
        process=post.left(),
    )


def leave_transceiverd(connection: Connection | None, attachments: Attachments) -> LeftTransceiverd | None:
    """The conversation as it is."""
    if connection is None:
        return None
    return LeftTransceiverd(
        socket=connection.fileno(),
        pid=connection.peer.pid,
        uid=connection.peer.uid,
        gid=connection.peer.gid,
        counters=[
            LeftCounters(offered.owner, offered.transceiver, offered.counters.segment.fd)
            for offered in attachments.counters.values()
        ],
        incarnations=dict(attachments.incarnations),
        ready_transceivers=attachments.ready_transceivers,
    )


# ---------------------------------------------------------------------------------------------- taking


def adopt_workers_lock(legacy: Legacy, directory: Path) -> WorkersLock:
    """The workers' lock. A release that had none has workers that hold the other one: until they are swapped that one
    is theirs."""
    lock = WorkersLock(directory, None if legacy.workers_lock == NONE else legacy.workers_lock)
    if not lock.await_taken(ORPHAN_PATIENCE_SECONDS):
        raise LockHeld(lock.path, None)
    return lock


def adopt_lease(legacy: Legacy) -> Lease:
    """The lease that running workers have, or a new one."""
    if NONE in legacy.lease:
        return Lease.make()
    lease = Lease(*legacy.lease)
    lease.kept = True
    return lease


def adopt_sockets(legacy: Legacy) -> PublicSockets:
    """The port goes on with the sockets it has, whatever the configuration says now."""
    return PublicSockets(
        legacy.port, tuple(WorkerSockets(_socket(left.v4), _socket(left.v6)) for left in legacy.workers)
    )


def adopt_holdings(legacy: Legacy, sockets: PublicSockets) -> list[Holding]:
    """Tables, counters and lanes. LayoutRefused for those of a layout that this release does not speak."""
    return [
        Holding(
            left.index,
            left.cpu,
            pair,
            FlowTable.attach(left.flows),
            Counters.attach(left.counters),
            {transceiver: Lane.attach(fds) for transceiver, fds in left.lanes.items()},
        )
        for left, pair in zip(legacy.workers, sockets.workers, strict=True)
    ]


def adopt_transceiverd(left: LeftTransceiverd, attachments: Attachments, control: ControlServer) -> None:
    """The conversation goes on."""
    for counters in left.counters:
        attached = Counters.attach(counters.fd)
        attachments.counters[counters.owner] = OfferedCounters(counters.owner, counters.transceiver, attached)
    attachments.incarnations.update(left.incarnations)
    attachments.ready_transceivers = left.ready_transceivers
    control.adopt_transceiverd(socket.socket(fileno=left.socket), Credentials(left.pid, left.uid, left.gid))


def _socket(fd: int) -> socket.socket | None:
    return None if fd == NONE else socket.socket(fileno=fd)
