"""`relayctl run`: both daemons in the foreground, with nothing to configure. What `make run` calls.

It makes a runtime directory of its own, writes a configuration into it, starts relayd and transceiverd as children,
says where to point a browser, and on Ctrl-C stops transceiverd (which says BYE and close_notify to every call) and
then relayd. Nothing is left behind. With `--lan` a phone on the same network can call too: HTTPS with a certificate
made for this run, and a token in the printed URL, also as a QR code.
"""

import argparse
import contextlib
import http.client
import ipaddress
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType

import segno

from shm.daemon.logs import set_up_logging
from shm.daemon.process import die_with_parent
from transceiverd.candidates import advertised_addresses
from transceiverd.scratch import scratch_directory
from transceiverd.signalling.selfsigned import make_certificate

log = logging.getLogger("run")

DAEMONS = ("relayd", "transceiverd")
UDP_PORT = 3478
HTTP_PORT = 8080
HTTPS_PORT = 8443
PORTS_TRIED = 100
PORT_MAX = 65_535
WORKERS_MAX = 256  # as `relay.workers`
TRANSCEIVERS_MAX = 64  # as `transceiver.count`
READY_SECONDS = 20.0
POLL_SECONDS = 0.1
STOP_SECONDS = 8.0  # beyond transceiverd's own bound for saying goodbye
TOKEN_BYTES = 24

DESCRIPTION = """\
Runs relayd and transceiverd together in the foreground, for trying Ringline out. Ctrl-C ends it and leaves nothing
behind. For a real installation run the two daemons as services.
"""


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Entry point of the group `ringline.relayctl`."""
    parser = subparsers.add_parser("run", help="run both daemons in the foreground", description=DESCRIPTION)
    parser.add_argument("--lan", action="store_true", help="let phones on this network call: HTTPS, token, QR code")
    number = parser.add_argument
    number("--udp-port", type=_port, default=UDP_PORT, metavar="N", help="default %(default)s or the next free")
    number("--http-port", type=_port, default=HTTP_PORT, metavar="N", help="default %(default)s or the next free")
    number("--workers", type=_workers, default=0, metavar="N", help="relay workers (default: one a CPU)")
    number("--transceivers", type=_transceivers, default=0, metavar="N", help="default: one for two CPUs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run until Ctrl-C or until a daemon ends by itself."""
    set_up_logging("info", "ringline")
    try:
        with scratch_directory() as directory:
            return Foreground(options, directory).run()
    except OSError as error:
        log.error("cannot start: %s", error)
        return 1


def _port(text: str) -> int:
    return _whole(text, 1, PORT_MAX)


def _workers(text: str) -> int:
    return _whole(text, 0, WORKERS_MAX)


def _transceivers(text: str) -> int:
    return _whole(text, 0, TRANSCEIVERS_MAX)


def _whole(text: str, low: int, high: int) -> int:
    with contextlib.suppress(ValueError):
        if low <= (number := int(text)) <= high:
            return number
    raise argparse.ArgumentTypeError(f"{text}: allowed are {low} to {high}")


class Foreground:
    """One run."""

    def __init__(self, options: argparse.Namespace, directory: Path) -> None:
        self._options = options
        self._directory = directory
        self._token = secrets.token_urlsafe(TOKEN_BYTES) if options.lan else ""
        self._http_port = free_port(options.http_port, "127.0.0.1", "HTTP")
        self._https_port = free_port(HTTPS_PORT, "0.0.0.0", "HTTPS") if options.lan else 0
        self._daemons: list[subprocess.Popen[bytes]] = []
        self._stopping = False

    def run(self) -> int:
        """Start, say where, wait, stop; gives the exit status."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupted)
        config = self._write_config()
        try:
            self._daemons = [self._start(name, config) for name in DAEMONS]
            if self._await_ready():
                self._announce()
            return self._wait()
        finally:
            self._stop()

    def _interrupted(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _write_config(self) -> Path:
        options = self._options
        lines = [
            "[ringline]",
            f'runtime_directory = "{self._directory}"',
            "[relay]",
            f"port = {options.udp_port}",
            f"port_search = {PORTS_TRIED}",
            f"workers = {options.workers}",
            "[transceiver]",
            f"count = {options.transceivers}",
            "[signalling]",
            f"port = {self._http_port}",
            "[operator]",
            f"port = {free_port(9478, '127.0.0.1', 'operator')}",
        ]
        if options.lan:
            at = lines.index("[operator]")
            lines[at:at] = self._lan_lines()
        path = self._directory / "ringline.toml"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)
        return path

    def _lan_lines(self) -> list[str]:
        made = make_certificate(advertised_addresses())
        certificate, key = self._directory / "certificate.pem", self._directory / "key.pem"
        certificate.write_bytes(made.certificate)
        key.touch(0o600)
        key.write_bytes(made.key)
        return [
            'auth = "tokens"',
            f'tokens = ["{self._token}"]',
            'tls_listen = "0.0.0.0"',
            f"tls_port = {self._https_port}",
            f'tls_certificate = "{certificate}"',
            f'tls_key = "{key}"',
        ]

    def _start(self, name: str, config: Path) -> subprocess.Popen[bytes]:
        """In a process group of its own, so that Ctrl-C reaches only us and the order of the end is ours; and dying
        with us, so that a closed terminal leaves nothing running."""
        command = [sys.executable, "-m", f"{name}.main", "--config", str(config)]
        us = os.getpid()
        return subprocess.Popen(command, process_group=0, preexec_fn=lambda: die_with_parent(us))  # noqa: PLW1509 - no thread here

    def _await_ready(self) -> bool:
        """Whether /readyz says yes in time; a daemon that ends meanwhile has said why."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._stopping and time.monotonic() < deadline:
            if any(daemon.poll() is not None for daemon in self._daemons):
                return False
            with (
                contextlib.suppress(OSError, http.client.HTTPException),
                urllib.request.urlopen(f"http://127.0.0.1:{self._http_port}/readyz", timeout=1),
            ):
                return True
            time.sleep(POLL_SECONDS)
        if not self._stopping:
            log.error("not ready after %.0f s; what the daemons say is above", READY_SECONDS)
        return False

    def _announce(self) -> None:
        fragment = f"#token={self._token}" if self._token else ""
        print(f"\n  Open http://127.0.0.1:{self._http_port}/{fragment} and press Call. Ctrl-C ends.")
        print(f"  To look inside: {sys.argv[0]} --runtime-directory {self._directory} status\n", flush=True)
        if self._options.lan:
            addresses = lan_addresses()
            if not addresses:
                log.warning("this machine has no IPv4 address that a phone could reach: see `ip address`")
            for address in addresses:
                url = f"https://{address}:{self._https_port}/{fragment}"
                print(f"  On a phone in this network: {url}\n  (the browser will warn: the certificate is made here)\n")
                segno.make(url, error="l").terminal(compact=True)
            print(flush=True)

    def _wait(self) -> int:
        while not self._stopping:
            for name, daemon in zip(DAEMONS, self._daemons, strict=True):
                if (status := daemon.poll()) is not None:
                    if status == 0:  # drained, or stopped by its pid
                        log.info("%s has ended as it was told; stopping", name)
                        return 0
                    log.error("%s ended with status %s; stopping", name, status)
                    return 1
            time.sleep(POLL_SECONDS)
        return 0

    def _stop(self) -> None:
        """transceiverd first: it needs the relay to say goodbye."""
        for daemon in reversed(self._daemons):
            if daemon.poll() is None:
                daemon.terminate()
            try:
                daemon.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


def free_port(wanted: int, address: str, purpose: str) -> int:
    """`wanted` or the next free TCP port above it; says so when it is another one. Raises OSError when none is free."""
    last = min(wanted + PORTS_TRIED - 1, PORT_MAX)
    for port in range(wanted, last + 1):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError:
                continue
        if port != wanted:
            log.warning("%s port %d is taken; using %d", purpose, wanted, port)
        return port
    raise OSError(f"no free {purpose} port from {wanted} to {last}")


def lan_addresses() -> list[str]:
    """This machine's IPv4 addresses that another machine in the network could reach."""
    return [
        str(address)
        for address in advertised_addresses()
        if isinstance(address, ipaddress.IPv4Address) and not address.is_loopback
    ]


__all__ = ["Foreground", "free_port", "register", "run"]
