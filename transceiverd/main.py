"""The command `transceiverd`: what it says of itself, its configuration, what may keep it from starting.

Options and exit status are shm/daemon/command.py, everything else is supervisor.py.
"""

import argparse
import sys
from collections.abc import Sequence

from relayd.ufrag_keys import KeyFileError
from shm.daemon.command import Command
from shm.daemon.config import DEFAULT_PATH
from shm.daemon.exits import EXIT_CONFIGURATION
from transceiverd.legacy import Legacy
from transceiverd.settings import SECTIONS, Settings, load_settings
from transceiverd.signalling.exposure import check_exposure
from transceiverd.signalling.resolving import check_addresses
from transceiverd.supervisor import Supervisor

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
  transceiverd --help-config                 every option: meaning, unit, default, range, reload or restart
  transceiverd --check-config                check the file and exit, before a restart
  relayctl run                               relayd and transceiverd together, in the foreground

signals: SIGTERM and SIGINT take no new calls, let the others go on for [transceiver] drain_seconds, end those with
BYE and close_notify, then stop; a second one ends at once. SIGHUP reads the configuration, ufrag.keys, tokens and
certificates again, as `relayctl reload transceiverd` does, which also says what came of it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    command = Command(
        "transceiverd",
        DESCRIPTION,
        EPILOG,
        load=_load,
        check=_check,
        log_level=lambda settings: settings.ringline.log_level,
        ringline=lambda settings: settings.ringline,
        legacy=Legacy,
        start=Supervisor,
        sections=SECTIONS,
        refusals={KeyFileError: EXIT_CONFIGURATION},
        try_out=_try_out,
    )
    return command.run(arguments)


def _load(options: argparse.Namespace) -> Settings:
    settings = load_settings(options.config, options.runtime_directory, options.log_level)
    _check(options, settings)
    return settings


def _check(options: argparse.Namespace, settings: Settings) -> None:
    check_exposure(settings.signalling, settings.operator, file=str(options.config or DEFAULT_PATH))


def _try_out(options: argparse.Namespace, settings: Settings) -> None:
    check_addresses(settings.signalling, settings.operator, file=str(options.config or DEFAULT_PATH))


if __name__ == "__main__":
    sys.exit(main())
