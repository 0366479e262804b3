"""The subcommands of `relayctl` that give a running daemon an order: `reload`, `keys`, `upgrade` and `drain`.

Registered by relayctl.py. They wait for the daemon's report (shm/daemon/orders.py), so the exit status says whether the
order was carried out: this is what a unit's `ExecReload=` needs, since systemd 252 does not wait for READY=1 itself.
"""

import argparse
import contextlib
import os
import select
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from relayd.configuration import load_configuration
from shm.daemon.common import Ringline, default_runtime_directory, runtime_directory
from shm.daemon.config import DEFAULT_PATH, ConfigurationError
from shm.daemon.orders import UNKNOWN_ORDER, NoDaemon, NotAnswering, Order, daemon_pid, give_order

DAEMONS = ("relayd", "transceiverd")
# A reload is a file read, and a message to each process and back: milliseconds. This is for a machine in trouble.
PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.05

RELOAD = """\
The daemon reads its configuration, keys, tokens and certificates again. A file that cannot be used is refused whole,
the old settings stay, and the reason is printed; of both daemons neither takes a file that the other refuses. What can
only change by a restart is named and keeps its running value.
"""

KEYS = """\
Calls are minted under the current one of four ufrag keys. `rotate` adds a new key and, when every relay worker knows
it, mints new calls under it. Calls that live go on under theirs, however long they last: a rotation onto an id that
still has calls is refused. `show` prints fingerprints, never a key.
"""


UPGRADE = """\
The daemon replaces its own code by what is installed now, in the same process: first a rehearsal, which refuses code or
configuration that cannot take over, then everything that it holds goes on: port, calls, children. relayd swaps its
workers one by one on the same sockets. transceiverd starts new transceivers beside the old ones: new calls go there,
and the old ones end with their last call or at the deadline. `relayctl status` shows the release of each process.
"""

DRAIN = """\
Empties transceiverd and ends it. /readyz says no at once and new calls get 503 with Retry-After; calls that live go on
until the deadline, then they are ended, [transceiver] goodbyes_per_second at a time. A later drain changes the
deadline; SIGTERM twice ends at once. relayd goes on: it has no calls.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = subparsers.add_parser("reload", help="have a daemon take a changed configuration", description=RELOAD,
                                   formatter_class=raw)  # fmt: skip
    parser.add_argument("daemon", choices=DAEMONS, nargs="?", help="default: first relayd, then transceiverd")
    parser.set_defaults(run=_reload)
    parser = subparsers.add_parser("keys", help="rotate or show the ufrag keys", description=KEYS, formatter_class=raw)
    parser.add_argument("what", choices=("rotate", "show"), metavar="{rotate,show}")
    parser.set_defaults(run=_keys)
    parser = subparsers.add_parser("upgrade", help="run the installed code without a call's loss", description=UPGRADE,
                                   formatter_class=raw)  # fmt: skip
    parser.add_argument("daemon", choices=DAEMONS, nargs="?", help="default: first relayd, then transceiverd")
    parser.add_argument("--deadline", type=_number, metavar="SECONDS",
                        help="until calls in older transceivers end (default: [transceiver] upgrade_seconds)",
                        )  # fmt: skip
    parser.set_defaults(run=_upgrade)
    parser = subparsers.add_parser("drain", help="take no new calls, end with the last one", description=DRAIN,
                                   formatter_class=raw)  # fmt: skip
    parser.add_argument("--deadline", type=_number, metavar="SECONDS",
                        help="until calls that live are ended (default: [transceiver] drain_seconds)")  # fmt: skip
    parser.set_defaults(run=_drain)


def _number(text: str) -> str:
    """As it was written, if it is a number at all; which ones are allowed the daemon knows."""
    try:
        float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: allowed are seconds, as a number") from None
    return text


def _reload(options: argparse.Namespace) -> int:
    """Of both: neither takes what the other would refuse."""
    if options.daemon:
        return _ordered(options, options.daemon, "reload")
    try:
        _directory(options)
    except ConfigurationError as error:
        return _fail(str(error), 2)  # once, not by each daemon
    try:
        refused = [status for status in (_looked_over(options, daemon) for daemon in DAEMONS) if status]
    except NotAnswering as error:
        return _fail(f"{error}; nothing was changed", 1)
    return max(refused or [_ordered(options, daemon, "reload") for daemon in DAEMONS])


def _looked_over(options: argparse.Namespace, daemon: str) -> int:
    """What `daemon` says to the file; 0 too where none runs, which is told by the reload itself, or an older one.
    Raises NotAnswering: what is not known must not be half done."""
    try:
        report = give_order(_directory(options), daemon, Order("reload-check"), PATIENCE_SECONDS)
    except ConfigurationError as error:
        return _fail(str(error), 2)
    except NotAnswering:
        raise
    except NoDaemon:
        return 0
    if report.done or report.text.startswith(UNKNOWN_ORDER):
        return 0
    return _fail(f"{daemon} would refuse: {report.text}; nothing was changed", 3)


def _keys(options: argparse.Namespace) -> int:
    return _ordered(options, "transceiverd", f"keys-{options.what}")


def _upgrade(options: argparse.Namespace) -> int:
    daemons = (options.daemon,) if options.daemon else DAEMONS
    for daemon in daemons:
        before = _upgrades(options, daemon)
        with _process_of(options, daemon) as process:
            status = _ordered(options, daemon, "upgrade", _deadline(options))
            if status == 0:
                status = _await_upgrade(options, daemon, before, process)
        if status != 0:
            return status
    return 0


@contextlib.contextmanager
def _process_of(options: argparse.Namespace, daemon: str) -> Iterator[int | None]:
    """A pidfd of the daemon, which stays the same process over an upgrade; None where it cannot be had."""
    pidfd = None
    with contextlib.suppress(NoDaemon, ConfigurationError, OSError):
        pidfd = os.pidfd_open(daemon_pid(_directory(options), daemon))
    try:
        yield pidfd
    finally:
        if pidfd is not None:
            os.close(pidfd)


def _upgrades(options: argparse.Namespace, daemon: str) -> int:
    """How many it has had, -1 when it does not say."""
    with contextlib.suppress(NoDaemon, ConfigurationError):
        report = give_order(_directory(options), daemon, Order("releases"), PATIENCE_SECONDS)
        return int(report.details.get("upgrades", -1))
    return -1


def _await_upgrade(options: argparse.Namespace, daemon: str, before: int, process: int | None) -> int:
    """Until the new code answers, and says that the older one's work is taken over; or until the daemon has ended."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process is not None and select.select([process], [], [], 0)[0]:
            return _fail(f"{daemon} has ended in its upgrade: see its log", 3)
        with contextlib.suppress(NoDaemon):
            report = give_order(_directory(options), daemon, Order("releases"), PATIENCE_SECONDS)
            if report.details.get("upgrades", -1) > before and not report.details.get("upgrading"):
                print(f"{daemon}: {report.text}")
                return 0
        time.sleep(LOOK_SECONDS)
    return _fail(f"{daemon} did not say within {PATIENCE_SECONDS:g} s that it runs the new code: see its log", 3)


def _drain(options: argparse.Namespace) -> int:
    return _ordered(options, "transceiverd", "drain", _deadline(options))


def _deadline(options: argparse.Namespace) -> dict[str, str]:
    return {} if options.deadline is None else {"deadline": options.deadline}


def _ordered(
    options: argparse.Namespace, daemon: str, name: str, arguments: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Give the order, print the report. The exit statuses are relayctl's: 1 nobody there, 2 usage, 3 refused."""
    try:
        report = give_order(_directory(options), daemon, Order(name, dict(arguments)), PATIENCE_SECONDS)
    except ConfigurationError as error:
        return _fail(str(error), 2)
    except NoDaemon as error:
        return _fail(str(error), 1)
    if not report.done:
        return _fail(f"{daemon} refused: {report.text}", 3)
    print(f"{daemon}: {report.text}")
    return 0


def _directory(options: argparse.Namespace) -> Path:
    """Where the daemons are. A bad file is for the daemon to judge, which says so in its log, too: only where it puts
    them is read from it. An order never goes to other daemons than those of a file that was named."""
    given: Path | None = options.runtime_directory
    if given is not None:
        return given
    try:
        return load_configuration(options.config).runtime_directory
    except ConfigurationError:
        place = _named_in(options.config or DEFAULT_PATH)
        if place is None and options.config is None:
            place = default_runtime_directory()
        if place is None or not place.exists():
            raise
        return place


def _named_in(file: Path) -> Path | None:
    """The runtime directory that a file names which is bad elsewhere."""
    try:
        section = tomllib.loads(file.read_text("utf-8")).get("ringline", {})
    except (OSError, ValueError):
        return None
    named = section.get("runtime_directory") if isinstance(section, dict) else None
    return runtime_directory(Ringline(runtime_directory=named)) if isinstance(named, str) and named else None


def _fail(message: str, status: int) -> int:
    print(f"relayctl: {message}", file=sys.stderr)
    return status
