"""The command `relayctl`: looks at the running system and gives it orders.

Its own subcommands are `status`, here, and those of ordering.py; others join by entry point.

A distribution adds a subcommand with an entry point of the group `ringline.relayctl`: a function `register(subparsers)`
that adds its parser and sets `run`, a function of the parsed options that gives the exit status. The options before the
subcommand (`--config`, `--runtime-directory`) are for all of them.

Exit status: 0 done; 1 no relayd answers, or the machine refuses something; 2 wrong command line or configuration;
3 relayd refused, or speaks another layout; 4 `status --check`: something is not as it should be.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from relayd import ordering
from relayd.configuration import load_configuration
from relayd.relay_client import NoRelay, RefusedByRelay, RelayClient
from relayd.status import Status
from relayd.status_check import complaints
from relayd.status_view import render
from shm.daemon.config import ConfigurationError
from shm.daemon.release import RELEASE

ENTRY_POINT_GROUP = "ringline.relayctl"

EXIT_UNREACHABLE = 1
EXIT_USAGE = 2
EXIT_REFUSED = 3
EXIT_COMPLAINT = 4

EPILOG = """\
examples:
  relayctl status                  workers, transceivers, rings, flows, outcomes
  relayctl status --watch 1        the same, every second
  relayctl status --json           for programs; fields as in relayd/status.py
  relayctl status --check          silent and 0 when all is well, else the complaints and 4
  relayctl reload relayd           take a changed configuration; 3 and the reason when it is refused
  relayctl keys rotate             mint new calls under a new ufrag key

exit status: 0 done, 1 no daemon answers, 2 wrong command line or configuration, 3 refused, 4 --check found something.
"""


def build_parser() -> argparse.ArgumentParser:
    """The command line with all subcommands that are installed."""
    parser = argparse.ArgumentParser(prog="relayctl", epilog=EPILOG,
                                     description="Look at the running Ringline system, and give it orders.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--version", action="version", version=RELEASE, help="print version and build, and exit")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the file that relayd was started with")
    parser.add_argument("--runtime-directory", type=Path, metavar="DIRECTORY", help="where relayd.sock is")
    subparsers = parser.add_subparsers(title="subcommands", required=True, metavar="SUBCOMMAND")
    _register_status(subparsers)
    ordering.register(subparsers)
    _register_others(subparsers)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    options = build_parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `relayctl status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # `relayctl status > /full/disk`
        return _fail(str(error), EXIT_UNREACHABLE)


def runtime_directory_of(options: argparse.Namespace) -> Path:
    """Where the options before the subcommand say that relayd is. Raises ConfigurationError."""
    return load_configuration(options.config, options.runtime_directory).runtime_directory


def _register_others(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Another distribution's fault must not take `status` away."""
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()(subparsers)
        except Exception as error:  # noqa: BLE001 - foreign code; named and left out
            print(f"relayctl: the subcommand {entry.name} ({entry.value}) is left out: {error}", file=sys.stderr)


def _register_status(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = subparsers.add_parser("status", help="show workers, transceivers, rings, flows and outcomes")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="one JSON object a report instead of tables")
    shape.add_argument("--check", action="store_true", help="print only what is not as it should be; status 4 then")
    parser.add_argument("--watch", type=_seconds, metavar="SECONDS", help="again and again, every so many seconds")
    parser.set_defaults(run=_status)


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= (seconds := float(text)) <= 3600:
            return seconds
    raise argparse.ArgumentTypeError(f"{text}: allowed are 0.1 to 3600 seconds")


def _status(options: argparse.Namespace) -> int:
    try:
        client = RelayClient(runtime_directory_of(options))
        with client:
            if options.watch is not None:
                return _watch(client, options)
            return _show(client.status(), options)
    except ConfigurationError as error:
        return _fail(str(error), EXIT_USAGE)
    except NoRelay as error:
        return _fail(str(error), EXIT_UNREACHABLE)
    except RefusedByRelay as error:
        return _fail(str(error), EXIT_REFUSED)


def _fail(message: str, status: int) -> int:
    print(f"relayctl: {message}", file=sys.stderr)
    return status


def _show(status: Status, options: argparse.Namespace) -> int:
    if options.json:
        print(msgspec.json.encode(status).decode(), flush=True)
        return 0
    if options.check:
        found = complaints(status)
        print("\n".join(found), end="\n" if found else "")
        return EXIT_COMPLAINT if found else 0
    _console().print(render(status))
    return 0


def _console() -> Console:
    """Into a file or pipe tables are as wide as they need to be, for grep."""
    return Console() if sys.stdout.isatty() else Console(width=200)


def _watch(client: RelayClient, options: argparse.Namespace) -> int:
    if options.json or options.check or not sys.stdout.isatty():
        while True:
            _show(client.status(), options)
            time.sleep(options.watch)
    with Live(console=Console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_page(client, options.watch), refresh=True)
            time.sleep(options.watch)


def _page(client: RelayClient, seconds: float) -> RenderableType:
    """One screen; a relayd that is being restarted is waited for."""
    try:
        return render(client.status())
    except NoRelay as error:
        client.close()
        return Text(f"{error}; trying again every {seconds:g} s", style="yellow")


if __name__ == "__main__":
    sys.exit(main())
