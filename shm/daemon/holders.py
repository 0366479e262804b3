"""Who has a port or a lock, as far as /proc tells, for the error message of somebody who cannot have it.

Called when a bind fails (relayd/sockets.py, transceiverd's listeners) and when a lock is held (lock.py). Only root sees
the processes of other users; of those the uid is all there is.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

COMMAND_CHARACTERS_MAX = 100  # enough to tell one from another; a command line may have a megabyte
TCP_LISTEN = "0A"  # include/net/tcp_states.h, as /proc/net/tcp shows it


class _SocketRow(NamedTuple):
    inode: str
    uid: int


def describe_holder(port: int, kind: Literal["udp", "tcp"] = "udp") -> str:
    """A phrase for a message: "process 4711 (coturn -v)", "a process of uid 33", "an unknown process"."""
    rows = list(_rows(port, kind))
    inodes = {row.inode for row in rows}
    for pid, inode in _open_sockets():
        if inode in inodes:
            return describe_process(pid)
    return f"a process of uid {rows[0].uid}" if rows else "an unknown process"


def describe_process(pid: int) -> str:
    """Its number and, where it may be known, its command."""
    command = _command(pid)
    return f"process {pid} ({command})" if command else f"process {pid}"


def _rows(port: int, kind: str) -> Iterator[_SocketRow]:
    """Fields of /proc/net/udp*: slot, local address:port, remote, state, queues, timers, ..., uid, ..., inode."""
    for table in (f"/proc/net/{kind}", f"/proc/net/{kind}6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and (kind == "udp" or fields[3] == TCP_LISTEN):
                yield _SocketRow(fields[9], int(fields[7]))


def _open_sockets() -> Iterator[tuple[int, str]]:
    """Processes and the inodes of their sockets, as far as we may look; what is gone meanwhile is passed over.

    The oldest first: a daemon's supervisor has its number before its children have theirs, and they share its sockets.
    """
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                target = _target(f"/proc/{pid}/fd/{fd}")
                if target.startswith("socket:["):
                    yield pid, target[8:-1]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:  # closed since it was listed, as the descriptor that listed it was
        return ""


def _command(pid: int) -> str:
    """Its command line in one line; a kernel thread has only a name."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        text = words or Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= COMMAND_CHARACTERS_MAX else f"{text[: COMMAND_CHARACTERS_MAX - 3]}..."
