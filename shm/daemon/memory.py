"""The large memory that a daemon takes at its start: said before, since it takes seconds, and refused in words.

Used by both supervisors around what the configuration sizes: flow tables, session segments. The kernel promises more
than it has and then kills whom it likes, so what is larger than all that is available is not even begun.
"""

import contextlib
import errno
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("supervisor")

MIB = 1 << 20
SAID_ABOVE_BYTES = 256 * MIB  # about half a second of allocating; less is not worth a line, nor a look at what is there
NO_ROOM = {errno.ENOMEM, errno.ENOSPC, errno.EFBIG}  # the last: a limit of the process, RLIMIT_FSIZE (LimitFSIZE=)


@dataclass(frozen=True)
class Wanted:
    """`count` of `what`, of so many bytes each, because the option `key` has this `value`."""

    key: str
    value: int
    what: str
    count: int
    each_bytes: int

    @property
    def total_mib(self) -> int:
        """All of them, rounded up."""
        return -(-self.count * self.each_bytes // MIB)


@contextlib.contextmanager
def taking(wanted: Wanted, to_make: int | None = None) -> Iterator[None]:
    """While they are made. `to_make`: of which so many are not there yet; None: all.

    OSError, which names key and size, when there is no room for them."""
    new_bytes = wanted.each_bytes * (wanted.count if to_make is None else to_make)
    if wanted.count * wanted.each_bytes > SAID_ABOVE_BYTES:
        log.info("%s take %d MiB of memory: %d for %s = %d",
                 wanted.what, wanted.total_mib, wanted.count, wanted.key, wanted.value)  # fmt: skip
    if new_bytes > SAID_ABOVE_BYTES and (available := available_bytes()) is not None and new_bytes > available:
        raise _refusal(wanted, f"this machine has {available // MIB} MiB available", errno.ENOMEM)
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise _refusal(wanted, f"the kernel gives no more: {error.strerror}", error.errno) from error


def available_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """What could be had without taking it from another process (proc(5)); None where the kernel does not say."""
    try:
        rows = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return sum(int(rows[name].split()[0]) for name in ("MemAvailable", "SwapFree")) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _refusal(wanted: Wanted, why: str, code: int | None) -> OSError:
    refused = OSError(
        f"{wanted.key}: found {wanted.value}, for which {wanted.count} {wanted.what} take {wanted.total_mib} MiB of"
        f" memory; {why}. Set it lower"
    )
    refused.errno = code  # for the exit status; without strerror it is not part of the text
    return refused
