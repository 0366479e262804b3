"""What the service manager is told: sd_notify(3) datagrams, sent only where NOTIFY_SOCKET names a socket.

Called by each supervisor at READY, STOPPING and a reload, and while it makes progress (WATCHDOG).
"""

import contextlib
import os
import socket
import time


def notify(*lines: str) -> None:
    """Send e.g. `READY=1`, `STATUS=...`; does nothing outside a service manager and never fails the daemon."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":
        address = "\0" + address[1:]  # unix(7): abstract name
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.setblocking(False)
        sock.sendto("\n".join(lines).encode(), address)


def reloading() -> None:
    """A reload begins; READY=1 ends it. The time tells this one's READY=1 from an earlier one's (sd_notify(3))."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
