"""A daemon's command: options, configuration, exit status. Each daemon's main.py says what is its own.

The exit status says what kind of reason it had (exits.py), the last line of the log which.
"""

import argparse
import errno
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NoReturn, Protocol, TypeVar

import msgspec

from shm.daemon.common import Ringline
from shm.daemon.config import ConfigurationError
from shm.daemon.config_reference import format_reference
from shm.daemon.exits import (
    EXIT_CONFIGURATION,
    EXIT_FAULT,
    EXIT_STATUS,
    EXIT_STOPPED,
    EXIT_SYSTEM,
    EXIT_TAKEN,
    EXIT_USAGE,
)
from shm.daemon.handover import HandoverRefused, Inherited, received
from shm.daemon.lock import LockHeld, RuntimeDirectoryRefused
from shm.daemon.logs import LEVELS, set_up_logging
from shm.daemon.process import name_process
from shm.daemon.release import RELEASE
from shm.daemon.reload import Source

log = logging.getLogger("supervisor")

C = TypeVar("C")


REFUSALS: dict[type[BaseException], int] = {
    RuntimeDirectoryRefused: EXIT_CONFIGURATION,
    LockHeld: EXIT_TAKEN,
    OSError: EXIT_SYSTEM,
}


class Parser(argparse.ArgumentParser):
    """Wrong usage has a status of its own."""

    def error(self, message: str) -> NoReturn:
        """As argparse's, but for the status."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


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
    refusals: Mapping[type[BaseException], int]
    """Reasons not to start whose text is all that a person needs, and the exit status of each."""
    try_out: Callable[[argparse.Namespace, C], None] = lambda _options, _configuration: None
    """What --check-config looks at beyond the file: what is not its fault alone, so that a start would not call it so.
    Raises ConfigurationError."""

    def run(self, arguments: Sequence[str] | None = None) -> int:
        """Run it; gives the exit status."""
        options = self._parser().parse_args(arguments)
        set_up_logging("info", self.program)  # a renamed key is warned of while the file is read
        if options.help_config:
            print(format_reference(self.sections), end="")
            return 0
        try:
            inherited = received(self.program)
            if inherited is not None:
                inherited.state(self.legacy)  # an upgrade's rehearsal ends here if it cannot be read
        except HandoverRefused as error:
            print(f"{self.program}: {error}", file=sys.stderr)
            return EXIT_FAULT
        try:
            configuration = self.load(options)
            if options.check_config:
                self.try_out(options, configuration)
        except ConfigurationError as error:
            print(f"{self.program}: {error}", file=sys.stderr)
            return EXIT_CONFIGURATION
        if options.check_config:
            print("ok")
            return 0
        ringline = self.ringline(configuration)
        set_up_logging(
            self.log_level(configuration), self.program, ringline.log_lines_per_second, ringline.log_addresses
        )
        return self._live(configuration, options, inherited)

    def _live(self, configuration: C, options: argparse.Namespace, inherited: Inherited | None) -> int:
        name_process(self.program)  # after an upgrade the kernel would else call it by its interpreter
        source = Source(lambda: self.load(options), lambda c: self.check(options, c))
        try:
            supervisor = self.start(configuration, source, inherited)
        except Exception as error:
            status = self._status_of(error)
            if status == EXIT_FAULT:
                log.critical("ends by a fault", exc_info=True)
            else:
                log.error("cannot start: %s", error)
            return status
        try:
            supervisor.run()
        except Exception:
            log.critical("ends by a fault", exc_info=True)
            return EXIT_FAULT
        return EXIT_STOPPED

    def _status_of(self, error: Exception) -> int:
        """The most special kind first: most of them are OSErrors of some sort, too."""
        if isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            return EXIT_TAKEN  # or an address that is not there yet: both may pass
        for kind in type(error).__mro__:
            status = self.refusals.get(kind, REFUSALS.get(kind))
            if status is not None:
                return status
        return EXIT_FAULT

    def _parser(self) -> argparse.ArgumentParser:
        parser = Parser(
            prog=self.program,
            description=self.description,
            epilog=f"{self.epilog}{EXIT_STATUS}",
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
        parser.add_argument("--version", action="version", version=RELEASE, help="print version and build, and exit")
        parser.add_argument("--log-level", choices=LEVELS, help="default: [ringline] log_level")
        return parser
