"""Holds processes to a share of one CPU: by a control group where that can be made, else by stopping and continuing.

Used by drills that starve a process and by the floods, whose load would otherwise have to be larger than the machine.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

V2 = Path("/sys/fs/cgroup")
V1 = Path("/sys/fs/cgroup/cpu")
PERIOD_US = 20_000  # short, so that a process is not away for long
QUOTA_US_MIN = 1000  # the kernel's
DUTY_SECONDS = 0.02


@contextlib.contextmanager
def quota(pids: Sequence[int], share: float) -> Iterator[str]:
    """All `pids` together get `share` of a CPU inside the block; gives how it is done."""
    with contextlib.ExitStack() as stack:
        group = _make_group()
        if group is None:
            yield stack.enter_context(_duty_cycle(pids, share))
            return
        stack.callback(_dissolve, group)
        _limit(group, share)
        for pid in pids:
            (group / "cgroup.procs").write_text(str(pid))
        yield f"control group v{2 if group.parent == V2 else 1}"


def _make_group() -> Path | None:
    name = f"ringline-drill-{os.getpid()}"
    with contextlib.suppress(OSError):
        if "cpu" in (V2 / "cgroup.subtree_control").read_text().split():
            (V2 / name).mkdir()
            return V2 / name
    with contextlib.suppress(OSError):
        if (V1 / "cpu.cfs_quota_us").exists():
            (V1 / name).mkdir()
            return V1 / name
    return None


def _limit(group: Path, share: float) -> None:
    period = max(PERIOD_US, round(QUOTA_US_MIN / share))
    micros = round(period * share)
    if group.parent == V2:
        (group / "cpu.max").write_text(f"{micros} {period}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(period))
        (group / "cpu.cfs_quota_us").write_text(str(micros))


def _dissolve(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):  # it may have ended
            (group.parent / "cgroup.procs").write_text(pid)
    for _ in range(100):
        with contextlib.suppress(OSError):  # busy, until the last process that ended in it is gone
            group.rmdir()
            return
        threading.Event().wait(0.02)


@contextlib.contextmanager
def _duty_cycle(pids: Sequence[int], share: float) -> Iterator[str]:
    """Coarser than the kernel's: whole periods of running and standing still."""
    over = threading.Event()

    def cycle() -> None:
        while not over.is_set():
            _tell(pids, signal.SIGSTOP)
            over.wait(DUTY_SECONDS * (1 - share))
            _tell(pids, signal.SIGCONT)
            over.wait(DUTY_SECONDS * share)

    thread = threading.Thread(target=cycle, daemon=True)
    thread.start()
    try:
        yield "stop and continue"
    finally:
        over.set()
        thread.join()
        _tell(pids, signal.SIGCONT)


def _tell(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
