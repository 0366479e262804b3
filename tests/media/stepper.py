"""Every state that shared memory passes through while a piece of work is done: what `kill -9` at any instruction of the
program as it was compiled would leave behind. The work runs in a forked child, one instruction at a time (ptrace).
"""

import ctypes
import functools
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.shm.faultbuild import compiled_library

STATES_MAX = 2000
PTRACE_TRACEME = 0


@functools.cache
def _library() -> Any:
    return ctypes.CDLL(str(compiled_library(Path(__file__).with_name("stepper.c"))))


def states_of(work: Callable[[], object], areas: Sequence[memoryview]) -> list[list[bytes]]:
    """For each state the contents of each area of shared memory, the first before the work and the last after it."""
    library = _library()
    libc = ctypes.CDLL(None)
    pid = os.fork()
    if pid == 0:
        try:
            libc.ptrace(PTRACE_TRACEME, 0, None, None)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSTOPPED(status), "the child is there and waits"
    sizes = [area.nbytes for area in areas]
    kept = ctypes.create_string_buffer(sum(sizes) * STATES_MAX)
    places = [(ctypes.c_char * size).from_buffer(area) for size, area in zip(sizes, areas, strict=True)]
    count = library.ringline_step(
        pid,
        len(areas),
        (ctypes.c_void_p * len(areas))(*[ctypes.addressof(place) for place in places]),
        (ctypes.c_size_t * len(areas))(*sizes),
        kept,
        STATES_MAX,
    )
    assert count > 0, "the work was done to its end, in fewer states"
    found, at = [], 0
    for _ in range(count):
        state = []
        for size in sizes:
            state.append(ctypes.string_at(ctypes.addressof(kept) + at, size))
            at += size
        found.append(state)
    return found
