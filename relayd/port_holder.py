"""Who has a UDP port, as far as /proc tells, for the error message of somebody who cannot have it.

Called by sockets.py when a bind fails. Only root sees the processes of other users; of those the uid is all there is.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class _SocketRow(NamedTuple):
    inode: str
    uid: int


def describe_holder(port: int) -> str:
    """A phrase for a message: "process 4711 (coturn)", "a process of uid 33", "an unknown process"."""
    rows = list(_rows(port))
    inodes = {row.inode for row in rows}
    for pid, inode in _open_sockets():
        if inode in inodes:
            return f"process {pid} ({_name(pid)})"
    return f"a process of uid {rows[0].uid}" if rows else "an unknown process"


def _rows(port: int) -> Iterator[_SocketRow]:
    """Fields of /proc/net/udp*: slot, local address:port, remote, state, queues, timers, ..., uid, ..., inode."""
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port:
                yield _SocketRow(fields[9], int(fields[7]))


def _open_sockets() -> Iterator[tuple[int, str]]:
    """Processes and the inodes of their sockets, as far as we may look; what is gone meanwhile is passed over."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{name}/fd"):
                target = _target(f"/proc/{name}/fd/{fd}")
                if target.startswith("socket:["):
                    yield int(name), target[8:-1]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed since it was listed, as the descriptor that listed it was
        return ""


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"
