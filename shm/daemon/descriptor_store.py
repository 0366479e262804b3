"""systemd's descriptor store: descriptors that outlive this process and come back to its successor (sd_notify(3)).

Used by a supervisor, which names what it keeps. At its start it takes what its predecessor kept, by name; what it does
not take is given up, here and there, by `discard_rest`. A restart, a crash or a watchdog's end leaves the store alone;
a stop of the unit empties it (systemd 252, as in Debian 12; later ones can be told otherwise).

Descriptors are kept with FDPOLL=0: systemd would else drop one as soon as the kernel says hang-up about it.

Does nothing where no service manager listens.
"""

import array
import contextlib
import fcntl
import os
import select
import socket

# sd_listen_fds(3): the first descriptor passed.
FIRST = 3
# How long systemd may take to answer a barrier before we go on without it (ms). It is busy at most.
BARRIER_MS = 2000
SEND_SECONDS = 1.0


class DescriptorStore:
    """What the predecessor kept, and how to keep more."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._kept = _received()
        self.available = bool(self._address)
        """Whether a service manager listens."""
        self.names = frozenset(self._kept)
        """What has come back to this process."""

    def take(self, name: str) -> int | None:
        """A descriptor that was kept under this name; the caller's from now on. It stays in the store."""
        return self._kept.pop(name, None)

    def keep(self, name: str, fd: int) -> None:
        """Keep it from now on. One that is there already is not kept twice, so a successor may keep what it took."""
        self._send(["FDSTORE=1", f"FDNAME={name}", "FDPOLL=0"], [fd])

    def replace(self, name: str, fd: int) -> None:
        """Keep it instead of what was kept under this name."""
        self._send(["FDSTOREREMOVE=1", f"FDNAME={name}"])
        self.keep(name, fd)

    def discard(self, names: list[str]) -> None:
        """Give up what is kept under these names. When this returns the store has closed them: a port is free again."""
        for name in names:
            self._send(["FDSTOREREMOVE=1", f"FDNAME={name}"])
            fd = self._kept.pop(name, None)
            if fd is not None:
                os.close(fd)
        if names:
            self._wait_until_done()

    def discard_rest(self) -> list[str]:
        """Give up what nobody took; gives the names."""
        rest = sorted(self._kept)
        self.discard(rest)
        return rest

    def _wait_until_done(self) -> None:
        """sd_notify_barrier(3): systemd closes the descriptor once it has done all that was asked before."""
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            self._send(["BARRIER=1"], [theirs])
        finally:
            os.close(theirs)
        poll = select.poll()
        poll.register(ours, 0)
        poll.poll(BARRIER_MS)
        os.close(ours)

    def _send(self, lines: list[str], fds: list[int] | None = None) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address  # unix(7): abstract name
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(SEND_SECONDS)
            sock.sendmsg(["\n".join(lines).encode()], rights, 0, address)


def _received() -> dict[str, int]:
    """By name (sd_listen_fds_with_names(3)). The variables are for us and for nobody that we start."""
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found: dict[str, int] = {}
    for place in range(int(count)):
        fd = FIRST + place
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        name = names[place] if place < len(names) else ""
        if name and name not in found:
            found[name] = fd
        else:
            os.close(fd)
    return found
