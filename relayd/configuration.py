"""Everything relayd and relayctl take from the configuration file, put together and checked.

Called by main.py and relayctl.py. The sections of other daemons pass unread (shm/daemon knows their names).
"""

from dataclasses import dataclass
from pathlib import Path

from relayd.config import Relay
from shm.daemon.common import Ringline
from shm.daemon.common import runtime_directory as configured_directory
from shm.daemon.config import load


@dataclass(frozen=True)
class Configuration:
    """What the command line and the file say together."""

    relay: Relay
    runtime_directory: Path
    machine: int
    log_level: str


def load_configuration(path: Path | None, runtime_directory: Path | None = None) -> Configuration:
    """Read the file, or `/etc/ringline/ringline.toml` if it exists; the directory given here goes before the file's.

    Raises ConfigurationError.
    """
    sections = load(path, {"ringline": Ringline, "relay": Relay})
    common: Ringline = sections["ringline"]
    return Configuration(
        relay=sections["relay"],
        runtime_directory=runtime_directory or configured_directory(common),
        machine=common.machine,
        log_level=common.log_level,
    )
