"""What relayd reads of the configuration file: its own section and what both daemons share.

Called by main.py and relayctl. The loading itself, and every refusal but those of impossible combinations, is
shm/config.py's.
"""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from relayd.config import Relay, check_relay, default_runtime_directory
from shm.common import Ringline
from shm.config import DEFAULT_PATH, ConfigurationError, load


@dataclass(frozen=True)
class Configuration:
    """Everything, checked."""

    relay: Relay
    runtime_directory: Path
    machine: int
    log_level: str


def load_configuration(path: Path | None, runtime_directory: Path | None = None) -> Configuration:
    """The file's sections; the directory of the command line wins over the file's. Raises ConfigurationError."""
    sections = load(path, {"ringline": Ringline, "relay": Relay})
    common, relay = sections["ringline"], sections["relay"]
    problem = check_relay(relay)
    if problem is not None:
        raise ConfigurationError(problem, file=str(path or DEFAULT_PATH))
    return Configuration(relay, runtime_directory or _directory(common), common.machine, common.log_level)


def _directory(common: Ringline) -> Path:
    configured = common.runtime_directory
    default = msgspec.structs.fields(Ringline)[0].default
    return default_runtime_directory() if configured == default else Path(configured)
