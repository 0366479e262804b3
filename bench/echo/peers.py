"""The servers that are compared: how each is had, started, and ended, and which version it is.

Used by `bench.echo` and `bench.setup`. Each takes an offer by HTTP POST and sends every RTP packet back. What has to be
compiled is compiled once into `build/echo/`. One that cannot be had raises `Missing`, and is named in the table.
"""

import contextlib
import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.daemons import free_port, running, wait_for
from transceiverd.load.processes import with_children

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "echo"
JANUS_LIBRARIES = "/usr/lib/x86_64-linux-gnu/janus"
JANUS_LOOPS = 2  # threads for all calls, one a CPU, instead of a thread a call
START_SECONDS = 30.0
SLOTS = 2048  # of the transceiver: more calls than two CPUs can carry


class Missing(RuntimeError):
    """This peer cannot be had here; the message says why."""


@dataclass(frozen=True)
class Peer:
    """One that runs. `pids`: whose CPU is counted."""

    name: str
    version: str
    url: str
    pids: list[int]


def tool(name: str) -> str:
    """The path of a program, or Missing."""
    found = shutil.which(name)
    if found is None:
        raise Missing(f"no {name} here")
    return found


def build(command: list[str], where: Path) -> None:
    """Run a compiler."""
    BUILD.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"not built: {done.stderr.strip()[-200:]}")


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def program(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """A process that listens on a TCP port; its pid."""
    with tempfile.TemporaryFile() as log:
        variables = os.environ | (environment or {})
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, cwd=HERE.parents[1])
        try:
            wait_for(lambda: listens(port) or process.poll() is not None, f"{command[0]} listens", START_SECONDS)
            if process.poll() is not None:
                log.seek(0)
                raise Missing(f"did not start: {log.read()[-200:].decode('utf-8', 'replace')}")
            yield process.pid
        finally:
            process.kill()
            process.wait()


def module_version(sources: Path, module: str) -> str:
    """What go.mod or Cargo.toml pins."""
    text = "\n".join(path.read_text() for name in ("go.mod", "Cargo.toml") if (path := sources / name).exists())
    found = re.search(re.escape(module) + r"\D*(v?[\d.]+\d)(?:\s|\"|$)", text)
    return found[1] if found else "?"


@contextmanager
def ringline() -> Iterator[Peer]:
    """Both daemons as `make run` starts them on two CPUs."""
    with running(workers=2, transceivers=1, slots=SLOTS) as server:
        pids = [pid for daemon in server.daemons.values() for pid in with_children(daemon.pid)]
        yield Peer("ringline", importlib.metadata.version("ringline"), server.calls_url, pids)


@contextmanager
def pion() -> Iterator[Peer]:
    """bench/echo/pion."""
    sources, port = HERE / "pion", free_port(socket.SOCK_STREAM)
    build([tool("go"), "build", "-o", str(BUILD / "pion-echo"), "."], sources)
    with program([str(BUILD / "pion-echo"), str(port)], port) as pid:
        version = module_version(sources, "github.com/pion/webrtc/v4 ")
        yield Peer("Pion", version, f"http://127.0.0.1:{port}/calls", [pid])


@contextmanager
def str0m() -> Iterator[Peer]:
    """bench/echo/str0m."""
    sources, port = HERE / "str0m", free_port(socket.SOCK_STREAM)
    build([tool("cargo"), "build", "--release", "--locked", "--target-dir", str(BUILD / "str0m")], sources)
    with program([str(BUILD / "str0m" / "release" / "str0m-echo"), str(port)], port) as pid:
        yield Peer("str0m", module_version(sources, "str0m = "), f"http://127.0.0.1:{port}/calls", [pid])


@contextmanager
def aiortc() -> Iterator[Peer]:
    """bench/echo/aiortc_echo.py."""
    port = free_port(socket.SOCK_STREAM)
    with program([sys.executable, "-m", "bench.echo.aiortc_echo", str(port)], port) as pid:
        yield Peer("aiortc", importlib.metadata.version("aiortc"), f"http://127.0.0.1:{port}/calls", [pid])


JANUS_FILES = {
    "janus.jcfg": """
general: {{ configs_folder = "{folder}", plugins_folder = "{libraries}/plugins", debug_level = 3
    transports_folder = "{libraries}/transports", session_timeout = 0, event_loops = {loops} }}
media: {{ ipv6 = false }}
nat: {{ ice_lite = true, ice_enforce_list = "127.0.0.1" }}
plugins: {{ disable = "{plugins}" }}
transports: {{ disable = "{transports}" }}
""",
    "janus.transport.http.jcfg": 'general: {{ json = "plain", http = true, ip = "127.0.0.1", port = {port} }}\n',
    "janus.plugin.echotest.jcfg": "general: {{ }}\n",
}


@contextmanager
def janus() -> Iterator[Peer]:
    """Debian's `janus` with its echo test, behind bench/echo/janus_adapter.py."""
    command, port, inner = tool("janus"), free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    shim = BUILD / "janus_loopback.so"
    build([tool("gcc"), "-shared", "-fPIC", "-O2", "-o", str(shim), str(HERE / "janus_loopback.c"), "-ldl"], HERE)
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    version = next(iter(re.findall(r"\d+\.\d+\.\d+", told)), "?")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        others = {
            kind: ",".join(path.name for path in Path(JANUS_LIBRARIES, kind).glob("*.so") if kept not in path.name)
            for kind, kept in (("plugins", "echotest"), ("transports", "http"))
        }
        values = {"folder": folder, "libraries": JANUS_LIBRARIES, "loops": JANUS_LOOPS, "port": inner} | others
        for name, text in JANUS_FILES.items():
            Path(folder, name).write_text(text.format(**values))
        start = [command, "-F", folder, "-C", f"{folder}/janus.jcfg"]
        pid = stack.enter_context(program(start, inner, {"LD_PRELOAD": str(shim)}))
        adapter = [sys.executable, "-m", "bench.echo.janus_adapter", str(port), str(inner)]
        stack.enter_context(program(adapter, port))
        yield Peer("Janus", version, f"http://127.0.0.1:{port}/calls", [pid])


@contextmanager
def mediasoup() -> Iterator[Peer]:
    """Its worker is a binary from a release page, or built from sources that its build fetches from there."""
    raise Missing("npm's mediasoup needs a worker binary or its sources from GitHub's releases; out of reach here")
    yield


PEERS: dict[str, Callable[[], contextlib.AbstractContextManager[Peer]]] = {
    "ringline": ringline,
    "Pion": pion,
    "str0m": str0m,
    "Janus": janus,
    "aiortc": aiortc,
    "mediasoup": mediasoup,
}


@contextmanager
def started(names: list[str]) -> Iterator[list[Peer]]:
    """All that can be had, running side by side; the others are named."""
    with contextlib.ExitStack() as stack:
        found = []
        for name in names:
            try:
                found.append(stack.enter_context(PEERS[name]()))
            except Missing as reason:
                print(f"missing: {name} ({reason})")
        print("peers: " + ", ".join(f"{peer.name} {peer.version}" for peer in found), flush=True)
        yield found


__all__ = ["PEERS", "Missing", "Peer", "started"]
