"""The command `relayd`: what it says of itself, its configuration, what may keep it from starting.

Options and exit status are shm/daemon/command.py, everything else is supervisor.py.
"""

import argparse
import sys
from collections.abc import Sequence

from relayd.admission import Admission, UnknownPeer
from relayd.configuration import SECTIONS, Configuration, load_configuration
from relayd.control import SocketPathRefused
from relayd.legacy import Legacy
from relayd.sockets import AddressAbsent, BindRefused, PortTaken
from relayd.supervisor import Supervisor
from relayd.ufrag_keys import KeyFileError
from shm.daemon.command import Command
from shm.daemon.config import DEFAULT_PATH, ConfigurationError
from shm.daemon.exits import EXIT_CONFIGURATION, EXIT_TAKEN

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
  relayd --config ringline.toml          with options
  relayd --help-config                   every option: meaning, unit, default, range, reload or restart
  relayd --check-config                  check the file and exit, before a restart
  relayctl status                        what the running relayd sees

signals: SIGTERM and SIGINT stop it; SIGHUP reads the configuration and ufrag.keys again, as
`relayctl reload relayd`; where other code was installed meanwhile it is an upgrade.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    command = Command(
        "relayd",
        DESCRIPTION,
        EPILOG,
        load=_load,
        check=_check,
        log_level=lambda configuration: configuration.ringline.log_level,
        ringline=lambda configuration: configuration.ringline,
        legacy=Legacy,
        start=Supervisor,
        sections=SECTIONS,
        refusals={
            PortTaken: EXIT_TAKEN,
            AddressAbsent: EXIT_TAKEN,
            BindRefused: EXIT_CONFIGURATION,
            SocketPathRefused: EXIT_CONFIGURATION,
            KeyFileError: EXIT_CONFIGURATION,
        },
    )
    return command.run(arguments)


def _load(options: argparse.Namespace) -> Configuration:
    configuration = load_configuration(options.config, options.runtime_directory, options.log_level)
    _check(options, configuration)
    return configuration


def _check(options: argparse.Namespace, configuration: Configuration) -> None:
    try:
        Admission.of(configuration.relay.peers, configuration.relay.group)
    except UnknownPeer as error:
        raise ConfigurationError(str(error), file=str(options.config or DEFAULT_PATH)) from None


if __name__ == "__main__":
    sys.exit(main())
