"""The directory of one `relayctl run`: runtime directory, configuration, token, TLS key. Called by foreground.py.

It goes with the run. A run that was killed (SIGKILL, power) cannot take it away: the next one does. Which ones are dead
says a locked file in each, since the kernel drops a lock with its process. The file gets its name only once it is
locked, so that a directory that is being made is never taken for a dead one.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "ringline-"
LOCK = "run.lock"


@contextlib.contextmanager
def scratch_directory(place: Path | None = None) -> Iterator[Path]:
    """A new one, of mode 0700, gone at the end; those of runs that are dead go first. Raises OSError.

    `place`: where, instead of TMPDIR or /tmp."""
    place = place or Path(tempfile.gettempdir())
    remove_dead(place)
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        with _locked(directory):
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    fd = os.open(directory / f"{LOCK}.new", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.rename(directory / f"{LOCK}.new", directory / LOCK)
        yield
    finally:
        os.close(fd)


def remove_dead(place: Path) -> None:
    """Remove what killed runs of this user left."""
    for directory in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # no lock in it, another's, or another run removes it just now
            if not directory.is_symlink() and directory.stat().st_uid == os.getuid() and _is_dead(directory / LOCK):
                shutil.rmtree(directory, ignore_errors=True)


def _is_dead(lock: Path) -> bool:
    fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True
