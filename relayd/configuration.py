"""Everything relayd and relayctl take from the configuration file, put together and checked.

Called by main.py and relayctl.py. The sections of other daemons pass unread (shm/daemon knows their names).
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from relayd.config import Relay
from shm.daemon.common import Ringline
from shm.daemon.common import runtime_directory as configured_directory
from shm.daemon.config import load

SECTIONS: dict[str, type[msgspec.Struct]] = {"ringline": Ringline, "relay": Relay}


@dataclass(frozen=True)
class Configuration:
    """What the command line and the file say together."""

    ringline: Ringline
    relay: Relay
    runtime_directory: Path


def load_configuration(
    path: Path | None, runtime_directory: Path | None = None, log_level: str | None = None
) -> Configuration:
    """Read the file, or `/etc/ringline/ringline.toml` if it exists; what is given here goes before the file's.

    Raises ConfigurationError.
    """
    sections = load(path, SECTIONS)
    common: Ringline = sections["ringline"]
    if log_level is not None:
        common = msgspec.structs.replace(common, log_level=log_level)
    return Configuration(common, sections["relay"], runtime_directory or configured_directory(common))
