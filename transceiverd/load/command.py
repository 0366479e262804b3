"""`relayctl load`: the command line of the load generator, and its exit status.

Exit status: 0 every call was established and heard itself and no packet was lost; 1 not so; 2 wrong command line.
"""

import argparse
import contextlib
import gc
import importlib.util
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop
from rich.console import Console
from rich.live import Live

from shm.daemon.common import runtime_directory
from shm.daemon.config import ConfigurationError
from shm.daemon.process import raise_descriptor_limit
from transceiverd.load.plan import Plan
from transceiverd.load.plot import draw
from transceiverd.load.processes import ProcessMeter, find_listeners, find_server, socket_drops, with_children
from transceiverd.load.report import progress_line, summary
from transceiverd.load.run import LoadRun
from transceiverd.settings import load_settings

EXIT_IMPERFECT = 1
EXIT_USAGE = 2

DESCRIPTION = """\
Places many calls at a WebRTC server that speaks /v1/realtime/calls or WHIP and echoes audio, sends 50 packets a second
a call, and judges what comes back. Every packet carries its number and send time.
"""

EPILOG = """\
examples:
  relayctl load --calls 20 http://127.0.0.1:8080             a first try, against `make run`
  relayctl load --calls 500 --rate 50 --seconds 30 URL       500 calls, 50 new ones a second, held for 30 s
  relayctl load --calls 1000 --storm URL                     everybody redials in the same moment
  relayctl load --calls 2000 --silent URL                    calls without audio: set-up and memory
  relayctl load --calls 100 --mix 5% URL                     five of them by aiortc (pip install 'ringline[load]')
  relayctl load --json --plot run.png URL                    for programs, and a picture (PNG or SVG; same extra)

The server's processes, of whatever kind, are found by the URL's port; a relayd run as a service by its configuration
(--config or --runtime-directory before `load`); --pids names others.
exit status: 0 all calls up and no packet lost, 1 not so, 2 wrong command line.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Entry point of the group `ringline.relayctl`."""
    parser = subparsers.add_parser(
        "load", help="place many calls and measure", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    number = parser.add_argument
    number("url", metavar="URL", help="the server (http://host:port), or the URL that offers are posted to")
    number("--calls", type=int, default=Plan.calls, metavar="N", help="default %(default)s, at most 20000")
    number("--rate", type=float, default=Plan.rate, metavar="N", help="new calls a second, default %(default)s")
    number("--seconds", type=float, default=Plan.seconds, metavar="S", help="hold them so long, default %(default)s")
    number("--patience", type=float, default=Plan.patience_seconds, metavar="S",
           help="a call not up by then has failed, default %(default)s")  # fmt: skip
    number(
        "--payload-bytes", type=int, default=Plan.payload_bytes, metavar="N", help="of a packet, default %(default)s"
    )
    number("--consent", type=float, default=Plan.consent_seconds, metavar="S",
           help="between two consent checks of a call, default %(default)s")  # fmt: skip
    number("--silent", action="store_true", help="send no audio")
    number("--storm", action="store_true", help="half way everybody is cut off and redials at once")
    number("--mix", type=_share, default=0.0, metavar="PERCENT", help="share of the calls placed by aiortc")
    number("--token", default="", metavar="TOKEN", help="bearer token for the server")
    number("--pids", type=_pids, metavar="PID,...", help="measure these processes and their children")
    number("--allow-remote", action="store_true", help="call servers that are not on this machine")
    number("--json", action="store_true", help="one JSON object instead of tables")
    number("--plot", type=_picture, metavar="FILE", help="the course of the run as a picture: .png or .svg")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run a load as the options say."""
    try:
        plan = _plan(options)
    except ValueError as error:
        return _refuse(str(error))
    if plan.aiortc_calls and importlib.util.find_spec("aiortc") is None:
        return _refuse("--mix needs aiortc: pip install 'ringline[load]', or leave --mix out")
    if options.plot is not None and importlib.util.find_spec("matplotlib") is None:
        return _refuse("--plot needs matplotlib: pip install 'ringline[load]', or leave --plot out")
    if (why := _nobody_there(plan)) is not None:
        print(f"relayctl: nobody answers at {options.url}: {why}; is the server running?", file=sys.stderr)
        return EXIT_IMPERFECT
    raise_descriptor_limit()
    figures = _measure(plan, _server(options), show=not options.json)
    if options.plot is not None:
        draw(figures, options.plot)
    if options.json:
        print(orjson.dumps(figures).decode())
    else:
        Console().print(summary(figures))
    return 0 if _is_perfect(figures) else EXIT_IMPERFECT


def _nobody_there(plan: Plan) -> str | None:
    """Why no call could be placed at all: said before a hundred of them fail. None: somebody listens."""
    url = urlsplit(plan.url)
    try:
        with socket.create_connection((url.hostname, url_port(plan.url)), plan.patience_seconds):
            return None
    except OSError as error:
        return error.strerror or str(error)


def url_port(url: str) -> int:
    """The TCP port that a URL names or means."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _plan(options: argparse.Namespace) -> Plan:
    return Plan(
        url=options.url,
        calls=options.calls,
        rate=options.rate,
        seconds=options.seconds,
        patience_seconds=options.patience,
        payload_bytes=options.payload_bytes,
        silent=options.silent,
        storm=options.storm,
        mix=options.mix,
        consent_seconds=options.consent,
        token=options.token,
        allow_remote=options.allow_remote,
    )


def _measure(plan: Plan, pids: list[int], *, show: bool) -> dict[str, Any]:
    console = Console(stderr=True)
    live = Live(console=console, transient=True, refresh_per_second=4) if show and console.is_terminal else None
    gc.collect()
    gc.freeze()  # looking through all modules again and again would be our longest pauses
    with live or contextlib.nullcontext():
        job = LoadRun(
            plan,
            ProcessMeter(pids),
            lambda point: live.update(progress_line(point)) if live else None,
            lambda: socket_drops(pids),
        )
        return uvloop.run(job.run())


def _is_perfect(figures: dict[str, Any]) -> bool:
    calls, packets = figures["calls"], figures["packets"]
    wrong = [*calls["failed"].values(), *calls["ended_early"].values(), calls["unheard"]]
    wrong += [packets[name] for name in ("lost", "duplicates", "foreign", "unauthentic")]
    return not any(wrong)


def _server(options: argparse.Namespace) -> list[int]:
    """The processes to measure: those named, else whoever listens on the URL's port, with the relayd that is theirs."""
    if options.pids:
        return [child for pid in options.pids for child in with_children(pid)]
    listeners = find_listeners(url_port(options.url))
    ours = _relayd(options)
    found = ours if set(ours) & set(listeners) else listeners or ours
    if not found:
        print("relayctl: nobody seen on the URL's port, the server is not measured; --pids names it", file=sys.stderr)
    return sorted({*found, *listeners})


def _relayd(options: argparse.Namespace) -> list[int]:
    """The configured relayd and the transceiverd attached to it."""
    try:
        directory = options.runtime_directory or runtime_directory(load_settings(options.config).ringline)
    except ConfigurationError as error:
        print(f"relayctl: {error}; relayd is not looked for", file=sys.stderr)
        return []
    return find_server(directory)


def _share(text: str) -> float:
    try:
        return float(text.removesuffix("%")) / 100
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: found no percentage, allowed are 0% to 100%") from None


def _pids(text: str) -> list[int]:
    if not all(part.isdigit() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r}: found no list of numbers with commas between")
    return [int(part) for part in text.split(",")]


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".png", ".svg"):
        raise argparse.ArgumentTypeError(f"{text!r}: found {path.suffix or 'no ending'}, allowed are .png and .svg")
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: there is no directory {path.parent}")  # not after minutes of load
    return path


def _refuse(message: str) -> int:
    print(f"relayctl: {message}", file=sys.stderr)
    return EXIT_USAGE
