"""The command `transceiverd`: options, configuration, exit status. Everything else is supervisor.py.

Exit status: 0 stopped as asked, or the configuration is good (`--check-config`); 1 could not start or had to give up,
the reason is the last line; 2 the command line or the configuration is wrong.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from relayd.ufrag_keys import KeyFileError
from shm.daemon.common import runtime_directory
from shm.daemon.config import DEFAULT_PATH, ConfigurationError
from shm.daemon.lock import LockHeld, RuntimeDirectoryRefused
from shm.daemon.logs import LEVELS, set_up_logging
from transceiverd.settings import Settings, load_settings
from transceiverd.signalling.exposure import check_exposure
from transceiverd.supervisor import Supervisor

log = logging.getLogger("supervisor")

EXIT_FAILED = 1
EXIT_USAGE = 2

DESCRIPTION = """\
transceiverd is the part of Ringline that owns calls: ICE, DTLS, SRTP, signalling over HTTP, and the application that a
call is connected to. It opens no UDP port; packets come and go through relayd, over shared memory.

It starts a few transceiver processes and one signalling process, and replaces one that dies or hangs. It attaches to
relayd's control socket in the runtime directory; either may start, stop or restart first.
"""

EPILOG = """\
examples:
  transceiverd                               page and API on http://127.0.0.1:8080/
  transceiverd --config ringline.toml        with options
  transceiverd --check-config                check the file and exit, before a restart
  relayctl run                               relayd and transceiverd together, in the foreground

signals: SIGTERM and SIGINT end all calls with BYE and close_notify, then stop.
exit status: 0 stopped as asked, 1 could not start, 2 wrong command line or configuration.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="transceiverd",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help="TOML file (default: /etc/ringline/ringline.toml if it exists)")  # fmt: skip
    parser.add_argument("--check-config", action="store_true", help="say whether the configuration is good, and exit")
    parser.add_argument("--runtime-directory", type=Path, metavar="DIRECTORY",
                        help="where lock, socket and keys are (default: [ringline] runtime_directory)")  # fmt: skip
    parser.add_argument("--log-level", choices=LEVELS, help="default: [ringline] log_level")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    options = build_parser().parse_args(arguments)
    try:
        settings = load_settings(options.config)
        check_exposure(settings.signalling, settings.operator, file=str(options.config or DEFAULT_PATH))
    except ConfigurationError as error:
        print(f"transceiverd: {error}", file=sys.stderr)
        return EXIT_USAGE
    if options.check_config:
        print("ok")
        return 0
    set_up_logging(options.log_level or settings.ringline.log_level, "transceiverd")
    return _serve(settings, options.runtime_directory or runtime_directory(settings.ringline))


def _serve(settings: Settings, directory: Path) -> int:
    try:
        supervisor = Supervisor(settings, directory)
    except (RuntimeDirectoryRefused, LockHeld, KeyFileError, OSError) as error:
        log.error("cannot start: %s", error)
        return EXIT_FAILED
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
