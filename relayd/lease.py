"""How workers outlive their supervisor until its successor is ready: a lease, which systemd keeps meanwhile.

Owned by supervisor.py. A worker needs nobody to forward: sockets, tables, lanes and keys are its own, and transceivers
go on at the other end of its rings. So when relayd is restarted, or its supervisor dies, the workers go on; the
successor takes over all that they have, lets transceiverd attach, and only then has them end and forks its own. What
calls hear of a restart is a fork, not a start of Python.

    supervisor ── write end ─┐
    systemd's store ─────────┴─ pipe ──▶ every worker, once it has lost its supervisor

    a byte            the successor is ready: leave
    the pipe's end    nobody will follow, since the service was stopped and systemd has emptied the store: leave

Outside a service manager there is no lease: workers die with their supervisor (PDEATHSIG).

Never two producers (DESIGN 2.8): every worker holds `relayd-workers.lock`, inherited through fork, and no worker is
forked by who does not have it. Its file names the workers; one that stays, stopped or stuck, is killed.
"""

import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from shm.daemon.descriptor_store import DescriptorStore
from shm.daemon.lock import ORPHAN_PATIENCE_SECONDS, LockHeld, process_start_time

log = logging.getLogger("supervisor")

STORED_AS = "lease"
LOCK_NAME = "relayd-workers.lock"
# A worker leaves within a batch. One that needs longer waits for a CPU, or does not turn at all.
LEAVE_PATIENCE_SECONDS = 0.5
# What a look costs is less than what calls hear of it.
LOOK_SECONDS = 0.001
# 256 workers, each "pid start\n".
ROLL_BYTES_MAX = 16_384


class Lease:
    """The pipe. `reader` is the workers'; `writer` is ours, and kept by systemd."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader = reader
        self.writer = writer
        self.kept = False
        """Whether somebody beside us holds it: then workers may be left to a successor."""

    @classmethod
    def make(cls) -> "Lease":
        """A new one, for workers that are forked from now on."""
        return cls(*os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))

    def keep(self, store: DescriptorStore) -> None:
        """From now on it outlives us. An earlier one is given up: its workers have ended."""
        if not self.kept:
            store.replace(STORED_AS, self.writer)
            self.kept = True

    def close(self) -> None:
        """Give it up, here."""
        os.close(self.reader)
        os.close(self.writer)


class WorkersLock:
    """Who has it is the only one who may have workers; they hold it, too."""

    def __init__(self, directory: Path, fd: int | None = None) -> None:
        """Not taken yet, unless `fd` is that of an older code of this process."""
        self.path = directory / LOCK_NAME
        if fd is None:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        self.fd = fd

    def try_take(self) -> bool:
        """Take it if nobody has it."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def await_taken(self, seconds: float) -> bool:
        """Take it as soon as nobody has it; False if that was not so in time."""
        deadline = time.monotonic() + seconds
        while not self.try_take():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def sign(self, pids: Iterable[int]) -> None:
        """Name the workers that hold it."""
        roll = "".join(f"{pid} {process_start_time(pid)}\n" for pid in pids)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, roll.encode(), 0)

    def kill_holders(self) -> list[int]:
        """Kill the workers that are named and live; gives their pids."""
        killed = []
        for line in os.pread(self.fd, ROLL_BYTES_MAX, 0).decode(errors="replace").splitlines():
            pid, _, started = line.partition(" ")
            if pid.isdigit() and str(process_start_time(int(pid))) == started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    killed.append(int(pid))
        return killed

    def release(self) -> None:
        """Give it back, here."""
        os.close(self.fd)


class Predecessors:
    """The workers of an earlier relayd that may still be there when this one starts."""

    def __init__(self, lock: WorkersLock, store: DescriptorStore) -> None:
        """Raises LockHeld when there are some that nobody can end."""
        self._lock = lock
        self._writer = store.take(STORED_AS)
        self.serving = self._writer is not None and not lock.try_take()
        """Whether they go on, and calls do not miss us."""
        if self.serving:
            log.info("the workers of an earlier relayd go on until ours are ready")
        else:
            self.end()

    def end(self) -> None:
        """Have them end, and wait until they have: none holds a socket, a ring or the lock any more.

        Raises LockHeld for who does not even die.
        """
        self.serving = False
        if self._writer is not None:
            with contextlib.suppress(BrokenPipeError):  # they are gone already
                os.write(self._writer, b".")
            os.close(self._writer)
            self._writer = None
        if self._lock.await_taken(LEAVE_PATIENCE_SECONDS):
            return
        for pid in self._lock.kill_holders():
            log.warning("a worker of an earlier relayd, process %d, did not leave; killed", pid)
        if not self._lock.await_taken(ORPHAN_PATIENCE_SECONDS):
            raise LockHeld(self._lock.path, None)
