"""A daemon's command: options, configuration, exit status. Each daemon's main.py says what is its own.

Exit status: 0 stopped as asked, or the configuration is good (`--check-config`); 1 could not start or had to give up,
the reason is the last line; 2 the command line or the configuration is wrong.
"""

import argparse
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec

from shm.daemon.common import Ringline
from shm.daemon.config import ConfigurationError
from shm.daemon.config_reference import format_reference
from shm.daemon.handover import HandoverRefused, Inherited, received
from shm.daemon.lock import LockHeld, RuntimeDirectoryRefused
from shm.daemon.logs import LEVELS, set_up_logging
from shm.daemon.reload import Source

log = logging.getLogger("supervisor")

EXIT_FAILED = 1
EXIT_USAGE = 2

C = TypeVar("C")


class Runs(Protocol):
    """A supervisor that has taken what it needs."""

    def run(self) -> None:
        """Serve until told to stop."""


@dataclass(frozen=True)
class Command(Generic[C]):
    """One daemon's command; `C` is what it makes of its configuration."""

    program: str
    description: str
    epilog: str
    load: Callable[[argparse.Namespace], C]
    """Reads and checks the configuration. Raises ConfigurationError."""
    check: Callable[[argparse.Namespace, C], None]
    """What its sections must be together; `load` has done it already. Raises ConfigurationError."""
    log_level: Callable[[C], str]
    ringline: Callable[[C], Ringline]
    legacy: type[msgspec.Struct]
    """What its supervisor leaves to itself when it replaces its own code."""
    start: Callable[[C, Source[C], Inherited | None], Runs]
    """Makes the supervisor, from what another code of this process left, if there was one.

    Raises OSError, RuntimeDirectoryRefused, LockHeld or one of `refusals`."""
    sections: Mapping[str, type[msgspec.Struct]]
    """What of the file it reads, for --help-config."""
    refusals: tuple[type[Exception], ...]
    """Reasons not to start whose text is all that a person needs."""

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Run it; gives the exit status."""
        options = self._parser().parse_args(arguments)
        if options.help_config:
            print(format_reference(self.sections), end="")
            return 0
        try:
            inherited = received(self.program)
            if inherited is not None:
                inherited.state(self.legacy)  # an upgrade's rehearsal ends here if it cannot be read
        except HandoverRefused as error:
            print(f"{self.program}: {error}", file=sys.stderr)
            return EXIT_FAILED
        try:
            configuration = self.load(options)
        except ConfigurationError as error:
            print(f"{self.program}: {error}", file=sys.stderr)
            return EXIT_USAGE
        if options.check_config:
            print("ok")
            return 0
        ringline = self.ringline(configuration)
        set_up_logging(
            self.log_level(configuration), self.program, ringline.log_lines_per_second, ringline.log_addresses
        )
        refusals: tuple[type[Exception], ...] = (RuntimeDirectoryRefused, LockHeld, OSError, *self.refusals)
        try:
            supervisor = self.start(
                configuration, Source(lambda: self.load(options), lambda c: self.check(options, c)), inherited
            )
        except refusals as error:
            log.error("cannot start: %s", error)
            return EXIT_FAILED
        supervisor.run()
        return 0

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(
            prog=self.program,
            description=self.description,
            epilog=self.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--config", type=Path, metavar="FILE",
                            help="TOML file (default: /etc/ringline/ringline.toml if it exists)")  # fmt: skip
        parser.add_argument("--check-config", action="store_true",
                            help="say whether the configuration is good, and exit")  # fmt: skip
        parser.add_argument("--help-config", action="store_true",
                            help="print every option of the file with its meaning and default, and exit")  # fmt: skip
        parser.add_argument("--runtime-directory", type=Path, metavar="DIRECTORY",
                            help="where lock, socket and keys are (default: [ringline] runtime_directory)")  # fmt: skip
        parser.add_argument("--log-level", choices=LEVELS, help="default: [ringline] log_level")
        return parser
