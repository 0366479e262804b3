"""What the service manager is told: sd_notify(3) datagrams, sent only where NOTIFY_SOCKET names a socket.

Called by each supervisor at READY and STOPPING, and while it makes progress (WATCHDOG).
"""

import contextlib
import os
import socket


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
