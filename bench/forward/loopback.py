"""A network namespace of our own for a run, with 1,000 and more IPv6 addresses on its loopback device. Needs root.

IPv4 has 127.0.0.0/8. For IPv6 one local route makes every address of a prefix ours ("AnyIP"); in a namespace of our own
that disturbs nobody.
"""

import ctypes
import os
import subprocess

PREFIX = "fd00:6c6f:6164::/48"  # blast.c knows it too
CLONE_NEWNET = 0x40000000


def enter() -> bool:
    """This process and all it starts from now on; False: we may not, and there is only IPv4."""
    if os.geteuid() or ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        return False
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "-6", "route", "add", "local", PREFIX, "dev", "lo"], check=True)
    return True
