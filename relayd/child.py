"""The life of one worker process, from the fork to its end.

Entered by children.py in the forked process and never left but by `os._exit`: nothing of the supervisor's stack may run
in here again. The packet loop itself is worker.pyx; this file makes the process that it runs in (what is closed, where
it runs, with whom it dies) and serves the supervisor's messages between two runs of the loop.
"""

import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import NoReturn

from relayd.child_messages import AttachLane, DetachLane, KeysLoaded, Leave, LoadKeys, encode, receive_from_supervisor
from relayd.holding import Holding
from relayd.ufrag_keys import KeyFileError, UfragKeys
from relayd.worker import Worker
from shm.daemon.process import close_descriptors_except, die_with_parent, name_process, pin_to_cpu
from shm.lane import Lane

# sysexits(3): internal software error. Any other end than by Leave or a signal.
EXIT_FAULT = 70

# Blocked by the supervisor around the fork, so that none is delivered in the child before it has its own handling.
FORK_BLOCKED_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass(frozen=True)
class Birth:
    """What a worker is born with: all that its predecessor had."""

    holding: Holding
    others: Collection[Holding]
    keys: UfragKeys
    machine: int
    batch: int
    supervisor: int
    """pid of the parent."""
    control: socket.socket
    """The worker's end of the socket pair."""
    lock_fd: int
    """Inherited and kept: the lock is free only when the last worker is gone (lock.py)."""


def run_worker(birth: Birth) -> NoReturn:
    """Be the worker until told to leave; ends the process."""
    status = EXIT_FAULT
    log = logging.getLogger(f"worker {birth.holding.index}")
    try:
        _settle(birth, log)
        _serve(birth)
        status = 0
    except BaseException:  # whatever it is, it ends this process here, logged, and not further up
        log.critical("ends by a fault", exc_info=True)
    finally:
        os._exit(status)


def _settle(birth: Birth, log: logging.Logger) -> None:
    """Turn a copy of the supervisor into a worker. PDEATHSIG comes last: see die_with_parent."""
    _take_signals()
    for other in birth.others:
        other.close()
    keep = {birth.control.fileno(), birth.lock_fd, *birth.holding.fds()}
    close_descriptors_except(keep)
    name_process(f"relayd-worker{birth.holding.index}")
    if birth.holding.cpu is not None:
        refused = pin_to_cpu(birth.holding.cpu)
        if refused is not None:
            log.warning("not pinned to CPU %d: %s", birth.holding.cpu, refused)
    gc.freeze()  # what came from the supervisor is never garbage here; looking at it would copy its pages
    die_with_parent(birth.supervisor)


def _take_signals() -> None:
    """SIGTERM ends a worker at once, harmlessly; Ctrl-C and a hang-up reach the whole group but they are
    for the supervisor."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORK_BLOCKED_SIGNALS)


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
        return False
    message, fds = received
    lanes = birth.holding.lanes  # this process's own copy, as all that it was born with
    match message:
        case AttachLane(transceiver):
            replaced = lanes.pop(transceiver, None)
            lanes[transceiver] = Lane.attach(fds)
            worker.attach_lane(lanes[transceiver])
            _close(replaced)
        case DetachLane(transceiver):
            worker.detach(transceiver)
            _close(lanes.pop(transceiver, None))
        case LoadKeys(path):
            _load_keys(worker, birth, path)
        case Leave():
            return False
    return True


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
