"""What every figure must be read with: the machine, and how busy it was."""

import os
import platform
from pathlib import Path


def cpu_model() -> str:
    """As the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def describe() -> str:
    """One line; the load is that of the minute before."""
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    return f"{os.cpu_count()} x {cpu_model()}, Linux {platform.release()}, load {load}"
