"""`relayctl run`, what `make run` calls: starts, says where, serves a call, and leaves nothing behind."""

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aiortc_caller import Caller
from tests.daemons import free_port
from transceiverd.scratch import scratch_directory

COMMAND = (sys.executable, "-m", "relayd.relayctl", "run", "--workers", "1", "--transceivers", "1")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory for temporary files. Not tmp_path: a Unix socket's whole path has 107 characters (unix(7))."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextlib.contextmanager
def _running(directory: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The command with its own place for temporary files; and the lines it printed until it was ready."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "press Call" in line:
                break
        assert process.poll() is None, "".join(lines)
        yield process, lines
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
        lines.append(rest)


def test_foreground_takes_free_ports_says_so_serves_a_call_and_leaves_nothing(place: Path) -> None:
    async def call(url: str) -> None:
        caller = Caller(url)
        await caller.call()
        await caller.await_connected()
        deadline = time.monotonic() + 10
        while abs(caller.loudest() - 440) > 5:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        await caller.close()

    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        udp.bind(("0.0.0.0", free_port(socket.SOCK_DGRAM)))
        tcp.bind(("127.0.0.1", free_port(socket.SOCK_STREAM)))
        tcp.listen(1)
        taken_udp, taken_tcp = udp.getsockname()[1], tcp.getsockname()[1]
        ports = ("--udp-port", str(taken_udp), "--http-port", str(taken_tcp))
        with _running(place, *ports) as (process, lines):
            text = "".join(lines)
            url = re.search(r"Open (http://127\.0\.0\.1:\d+/)", text)
            assert url is not None
            assert f"port {taken_tcp} is taken" in text
            assert f"{taken_udp}" in text
            asyncio.run(call(url[1] + "v1/realtime/calls"))
    assert process.returncode == 0, "".join(lines)
    assert list(place.iterdir()) == []


@pytest.mark.system
def test_foreground_lan_serves_https_with_a_token_and_a_qr_code(place: Path) -> None:
    ports = ("--udp-port", str(free_port(socket.SOCK_DGRAM)), "--http-port", str(free_port(socket.SOCK_STREAM)))
    with _running(place, "--lan", *ports) as (process, lines):
        token = re.search(r"#token=(\S+)", "".join(lines))
        assert token is not None
        url = re.search(r"Open (http://127\.0\.0\.1:\d+/)", "".join(lines))
        assert url is not None
        refused = subprocess.run(
            ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-H", "Content-Type: application/sdp",
             "-d", "v=0", url[1] + "v1/realtime/calls"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert refused.stdout == "401"
    assert process.returncode == 0
    assert "https://" in "".join(lines)
    assert list(place.iterdir()) == []


def test_foreground_killed_run_is_tidied_up_by_the_next_and_a_living_one_is_left_alone(place: Path) -> None:
    """A killed run cannot remove its directory, with a token and a TLS key in it."""

    def ports() -> tuple[str, ...]:
        return ("--udp-port", str(free_port(socket.SOCK_DGRAM)), "--http-port", str(free_port(socket.SOCK_STREAM)))

    with _running(place, *ports()) as (process, _):
        (left,) = place.iterdir()
        process.kill()
        process.wait()
        assert left.exists()
    with scratch_directory(place) as living, _running(place, *ports()):
        assert living.exists()
        assert not left.exists()
        assert len(list(place.iterdir())) == 2
    assert list(place.iterdir()) == []


def test_foreground_ends_with_a_drain_and_is_content(place: Path) -> None:
    """It used to call it an error that a daemon had ended with status 0."""
    with _running(place, "--udp-port", str(free_port(socket.SOCK_DGRAM)),
                  "--http-port", str(free_port(socket.SOCK_STREAM))) as (process, lines):  # fmt: skip
        (directory,) = place.iterdir()
        drain = [sys.executable, "-m", "relayd.relayctl", "--runtime-directory", str(directory), "drain"]
        assert subprocess.run(drain, check=False, capture_output=True).returncode == 0
        assert process.wait(20) == 0
    assert "transceiverd has ended as it was told" in lines[-1]
    assert list(place.iterdir()) == []


def test_foreground_temporary_directory_is_ours_alone(place: Path) -> None:
    with _running(place, "--udp-port", str(free_port(socket.SOCK_DGRAM)),
                  "--http-port", str(free_port(socket.SOCK_STREAM))):  # fmt: skip
        (directory,) = place.iterdir()
        assert directory.stat().st_mode & 0o077 == 0
