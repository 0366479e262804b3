"""The runtime directory and the lock that makes a daemon the only one of its kind in it.

Called by each supervisor before it makes a socket or a ring end (DESIGN 2.8: never two producers). The lock is an
`flock`, which belongs to the open file description: children inherit it, so it stays taken until the last child of a
dead supervisor is gone too, and a successor cannot start beside them.

Leaves out: what lives in the directory besides the locks (relayd's control socket, `ufrag.keys`).
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from shm.daemon.holders import describe_process

# Children die by PDEATHSIG within milliseconds of their supervisor; a loaded machine gets this long for it (seconds).
ORPHAN_PATIENCE_SECONDS = 5.0
ORPHAN_POLL_SECONDS = 0.01


class RuntimeDirectoryRefused(RuntimeError):
    """The runtime directory cannot be used; the message says why and what to do."""


class LockHeld(RuntimeError):
    """Another such daemon runs with this runtime directory. `pid` took the lock; None if it does not say."""

    def __init__(self, path: Path, pid: int | None) -> None:
        holder = describe_process(pid) if pid is not None else "a process that left no pid in it"
        super().__init__(
            f"{path} is held by {holder}: a {path.stem} already runs with the runtime directory {path.parent}; "
            f"stop it, or give this one its own by [ringline] runtime_directory"
        )
        self.pid = pid


def prepare_runtime_directory(directory: Path) -> None:
    """Make the directory (mode 0750) unless it exists, and refuse one that somebody else could tamper with.

    Matters for the default below /tmp, whose name anyone may take first: whoever owns the directory could swap the
    control socket for his own.
    """
    try:
        with contextlib.suppress(FileExistsError):  # by something that is no directory, as is said below
            directory.mkdir(mode=0o750, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise RuntimeDirectoryRefused(f"runtime directory {directory}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise RuntimeDirectoryRefused(f"runtime directory {directory} is not a directory")
    if found.st_uid not in (os.geteuid(), 0):
        raise RuntimeDirectoryRefused(
            f"runtime directory {directory} belongs to uid {found.st_uid}; it must belong to uid {os.geteuid()} or root"
        )
    if found.st_mode & stat.S_IWOTH:
        raise RuntimeDirectoryRefused(f"runtime directory {directory} may be written by everybody; chmod o-w it")


def process_start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5) stat field 22), or None when there is none.

    With the pid it names a process for good; the pid alone is reused.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold blanks and brackets
    return None if fields[0] in ("Z", "X") else int(fields[19])


class RuntimeLock:
    """Holds the file `name`, as in `relayd.lock`. Keep it until the process ends; children inherit the descriptor."""

    def __init__(self, directory: Path, name: str, patience_seconds: float = ORPHAN_PATIENCE_SECONDS) -> None:
        """Take the lock or raise LockHeld. Waits only when the holder is dead and its children are about to be."""
        self.path = directory / name
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        try:
            self._take(patience_seconds)
        except BaseException:
            os.close(self.fd)
            raise
        self._sign()

    @classmethod
    def adopt(cls, path: Path, fd: int) -> "RuntimeLock":
        """The lock that this process took before it replaced its code: pid and start time are still the same."""
        lock = cls.__new__(cls)
        lock.path, lock.fd, lock.owner_pid = path, fd, os.getpid()
        return lock

    def _take(self, patience_seconds: float) -> None:
        deadline = time.monotonic() + patience_seconds
        while not self._try():
            pid = self._live_holder()
            if pid is not None or time.monotonic() > deadline:
                raise LockHeld(self.path, pid)
            time.sleep(ORPHAN_POLL_SECONDS)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                return False
            raise
        return True

    def _live_holder(self) -> int | None:
        """The supervisor that took the lock, if it still runs; else its orphans have it for a moment longer."""
        words = os.pread(self.fd, 64, 0).split()
        if len(words) != 2 or not all(word.isdigit() for word in words):
            return None
        pid, started = int(words[0]), int(words[1])
        return pid if process_start_time(pid) == started else None

    def _sign(self) -> None:
        pid = os.getpid()
        self.owner_pid = pid
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{pid} {process_start_time(pid)}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; the file stays, since removing it would let two processes lock two files of one name."""
        os.close(self.fd)
