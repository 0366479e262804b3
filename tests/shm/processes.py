"""Real processes for tests: forked, killed by pid, always reaped."""

import contextlib
import ctypes
import mmap
import os
import signal
import traceback
from collections.abc import Callable, Iterator

KILLED = -signal.SIGKILL
PR_SET_PDEATHSIG = 1

_prctl = ctypes.CDLL(None).prctl


def fork(work: Callable[[], object]) -> int:
    """Run `work` in a child and give its pid; the child ends without returning here (status 1 if `work` raised)."""
    pid = os.fork()
    if pid:
        return pid
    try:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a test run that is killed leaves nothing spinning
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - whatever it was, the child must not run the parent's tests
        traceback.print_exc()
    finally:
        os._exit(1)


def reap(pid: int) -> int:
    """Wait for a child: 0 and up its status, below 0 the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pid: int) -> None:
    """kill -9, and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    reap(pid)


@contextlib.contextmanager
def reaped(pids: list[int]) -> Iterator[None]:
    """Whatever a failing test leaves running in `pids` is killed; the test removes what it reaped itself."""
    try:
        yield
    finally:
        for pid in pids:
            kill(pid)


def shared_bytes(size: int) -> memoryview:
    """Zeroed memory that parent and children share."""
    return memoryview(mmap.mmap(-1, max(size, 1)))


def shared_words(count: int) -> memoryview:
    """Zeroed 64-bit words that parent and children share."""
    return shared_bytes(8 * count).cast("Q")
