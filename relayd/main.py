"""The command `relayd`: options, configuration, exit status. Everything else is supervisor.py.

Exit status: 0 stopped as asked, or the configuration is good (`--check-config`); 1 could not start or had to give up,
the reason is the last line; 2 the command line or the configuration is wrong.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from relayd.admission import Admission, UnknownPeer
from relayd.configuration import Configuration, load_configuration
from relayd.control import SocketPathRefused
from relayd.sockets import BindRefused, PortTaken
from relayd.supervisor import Supervisor
from relayd.ufrag_keys import KeyFileError
from shm.daemon.config import ConfigurationError
from shm.daemon.lock import LockHeld, RuntimeDirectoryRefused
from shm.daemon.logs import LEVELS, set_up_logging

log = logging.getLogger("supervisor")

EXIT_FAILED = 1
EXIT_USAGE = 2

DESCRIPTION = """\
relayd is Ringline's relay: it owns the public UDP port, reads packet headers, and passes every packet through shared
memory to the transceiver that has the call. It holds no key of any call.

It starts one pinned worker process for each CPU and replaces a worker that dies or hangs within milliseconds; calls
do not notice. transceiverd attaches to its control socket, relayd.sock in the runtime directory; either may start,
stop or restart first. Without a configuration file built-in defaults hold, and it runs as any user.
"""

EPILOG = """\
examples:
  relayd                                 serve UDP 3478 on all addresses
  relayd --config ringline.toml          with options; see [relay] in relayd/README.md, every key with its default
  relayd --check-config                  check the file and exit, before a restart
  relayctl status                        what the running relayd sees

signals: SIGTERM and SIGINT stop it; SIGHUP reads ufrag.keys again.
exit status: 0 stopped as asked, 1 could not start, 2 wrong command line or configuration.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="relayd", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
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
        configuration = load_configuration(options.config, options.runtime_directory)
        Admission.of(configuration.relay.peers, configuration.relay.group)
    except (ConfigurationError, UnknownPeer) as error:
        print(f"relayd: {error}", file=sys.stderr)
        return EXIT_USAGE
    if options.check_config:
        print("ok")
        return 0
    set_up_logging(options.log_level or configuration.log_level)
    return _serve(configuration)


def _serve(configuration: Configuration) -> int:
    try:
        supervisor = Supervisor(configuration.relay, configuration.runtime_directory, configuration.machine)
    except (
        RuntimeDirectoryRefused,
        LockHeld,
        PortTaken,
        BindRefused,
        SocketPathRefused,
        KeyFileError,
        OSError,
    ) as error:
        log.error("cannot start: %s", error)
        return EXIT_FAILED
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
