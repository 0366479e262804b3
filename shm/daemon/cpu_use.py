"""Whether a thread of another process wants a CPU, and how much of one it has had: proc(5), `stat` and `schedstat`.

Asked by a supervisor of a child whose heartbeat stands still (stall.py), which is seldom: nothing is kept open.
"""

from pathlib import Path
from typing import NamedTuple

RUNNABLE = "R"  # on a CPU, or waiting for one


class CpuUse(NamedTuple):
    """As of now."""

    runnable: bool
    ran_ns: int
    """Since the thread began."""


def cpu_use(pid: int, thread: str = "") -> CpuUse | None:
    """Of the process's thread of that name (its main thread: none); None where the kernel does not tell."""
    try:
        place = _thread(Path(f"/proc/{pid}/task"), thread) if thread else Path(f"/proc/{pid}/task/{pid}")
        state = (place / "stat").read_text().rpartition(")")[2].split()[0]
        return CpuUse(state == RUNNABLE, int((place / "schedstat").read_text().split()[0]))
    except (OSError, ValueError, IndexError):
        return None


def _thread(tasks: Path, name: str) -> Path:
    for place in tasks.iterdir():
        if (place / "comm").read_text().strip() == name:
            return place
    raise FileNotFoundError(name)
