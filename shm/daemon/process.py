"""What a process does to itself through the kernel: die with its parent, stay on one CPU, keep only its descriptors.

Used by child.py right after the fork, and by each daemon's supervisor at its start. Linux only.
"""

import ctypes
import logging
import os
import resource
import signal
from collections.abc import Collection, Sequence

PR_SET_NAME = 15
PR_SET_PDEATHSIG = 1
# Above the largest descriptor number that the kernel gives out by default (sysctl fs.nr_open).
DESCRIPTOR_END = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent's main thread ends (prctl(2) PR_SET_PDEATHSIG).

    Call it last before work starts: a change of credentials clears it. If the parent ended between the fork and this
    call nothing would ever be sent, so look once more, and go.
    """
    if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl(PR_SET_PDEATHSIG): {os.strerror(code)}")
    if os.getppid() != parent:
        os._exit(0)


def name_process(name: str) -> None:
    """Show `name` (15 bytes at most are kept) as the calling thread's name in ps and top, a main thread's being its
    process's; supervisors know threads by it (cpu_use.py)."""
    _libc.prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def close_descriptors_except(keep: Collection[int]) -> None:
    """Close every descriptor above standard error that is not in `keep`."""
    lowest = 3
    for fd in sorted(fd for fd in keep if fd >= lowest):
        os.closerange(lowest, fd)
        lowest = fd + 1
    os.closerange(lowest, DESCRIPTOR_END)


def pin_to_cpu(cpu: int) -> str | None:
    """Run on one CPU only. Gives the reason when the kernel or a sandbox refuses, None when done."""
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        return f"{error.strerror} (a unit with SystemCallFilter=~@resources forbids it)"
    return None


def prefer_thread(nice: int) -> str | None:
    """Give the calling thread this nice value; others, its children excepted, keep theirs. Gives the reason when it is
    refused (below 0 needs CAP_SYS_NICE or RLIMIT_NICE), None when done."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)  # 0: on Linux the calling thread, not its process (setpriority(2))
    except OSError as error:
        return f"{error.strerror} (below 0 needs CAP_SYS_NICE or LimitNICE=)"
    return None


def usable_cpus() -> list[int]:
    """CPUs this process may run on, which a container or CPUAffinity= may have made fewer than the machine has."""
    return sorted(os.sched_getaffinity(0))


def place_workers(asked: int, wanted: Sequence[int], usable: Sequence[int]) -> list[int]:
    """The CPU of each worker: `asked` workers (0: one a CPU) over the `wanted` CPUs (empty: all) that are usable.

    More workers than CPUs share them in turn. Empty when none of the wanted CPUs is usable.
    """
    cpus = [cpu for cpu in wanted if cpu in usable] if wanted else list(usable)
    if not cpus:
        return []
    return [cpus[index % len(cpus)] for index in range(asked or len(cpus))]


def place_one(index: int, wanted: Sequence[int], usable: Sequence[int]) -> int | None:
    """The CPU of the `index`-th process or thread over the `wanted` CPUs that are usable; None: wherever it likes."""
    cpus = [cpu for cpu in wanted if cpu in usable]
    return cpus[index % len(cpus)] if cpus else None


def warn_of_cpus(log: logging.Logger, key: str, wanted: Sequence[int]) -> None:
    """Say which CPUs of the configuration this process may not use; the others are used."""
    usable = usable_cpus()
    missing = [cpu for cpu in wanted if cpu not in usable]
    if missing:
        log.warning("%s: not usable here: %s; usable are %s", key, missing, usable)


def raise_descriptor_limit() -> None:
    """Take as many descriptors as we are allowed to; four for each lane add up."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
