"""relayd whose worker 0 dies of one flow: `python -m tests.faults.poisoned_relayd --config FILE`.

While the file RINGLINE_POISON exists and holds a flow key, every process that becomes worker 0 takes access away from
the page of its flow table where that key belongs. A record that publishes the flow then is poison for the native loop
itself: it ends by SIGSEGV at the store that a bug would make.
"""

import contextlib
import ctypes
import mmap
import os
import sys
from pathlib import Path
from typing import Any

from relayd import child, main
from relayd.worker import Worker
from shm.flows import FlowTable
from shm.lane import Lane

ENTRIES_OFFSET, BUCKET_BYTES = 4096, 1024  # layout.h: RINGLINE_FLOW_ENTRIES_OFFSET, 8 entries of 128
PROT_NONE = 0


def take_away(flows: Any, key: bytes) -> None:
    """No access to the bucket that `key` is looked up in first."""
    table = FlowTable._over(flows, writer=False)  # type: ignore[attr-defined]
    bucket = table.hash(key) % (table.capacity // 8)
    with memoryview(flows) as memory:
        base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    page = (base + ENTRIES_OFFSET + bucket * BUCKET_BYTES) & ~(mmap.PAGESIZE - 1)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(page), mmap.PAGESIZE, PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect")


class PoisonedWorker(Worker):
    """Takes over from its predecessor without lanes, then is poisoned, then gets its lanes."""

    def __init__(self, index: int, sockets: Any, flows: Any, *others: Any, **named: Any) -> None:
        super().__init__(index, sockets, flows, *others, **named)
        self._flows = flows
        self._waiting: list[Lane] | None = [] if index == 0 else None

    def attach_lane(self, lane: Lane) -> None:
        """Later, if it is too early."""
        if self._waiting is None:
            super().attach_lane(lane)
        else:
            self._waiting.append(lane)

    def run(self, control_fd: int) -> None:
        """The first time only as far as taking over."""
        if self._waiting is not None:
            told, tell = os.pipe()
            os.write(tell, b"return at once")
            super().run(told)
            os.close(told)
            os.close(tell)
            with contextlib.suppress(FileNotFoundError):
                take_away(self._flows, Path(os.environ["RINGLINE_POISON"]).read_bytes())
            lanes, self._waiting = self._waiting, None
            for lane in lanes:
                super().attach_lane(lane)
        super().run(control_fd)


if __name__ == "__main__":
    child.Worker = PoisonedWorker  # type: ignore[misc]
    sys.exit(main.main())
