"""A machine for tests: a minimal Debian that boots a real systemd in a container, seeing nothing but its own loopback.

`Machine.boot` copies a cached root (made once by debootstrap, from the mirror that this machine's own apt uses), boots
it with systemd-nspawn, and waits until systemd says that it runs. `run` is a command inside, as root. `network` brings
this thread, and whatever it starts, into the machine's network: a caller or a browser of the test then talks to the
daemons inside over their loopback. The checkout is at /source, read-only.

What is needed is root, debootstrap and systemd-nspawn (`.ci/setup system` installs them); without, the tests that want
a machine are skipped, and say what is missing.
"""

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.daemons import wait_for

SOURCE = Path(__file__).parents[2]
RELEASE = "bookworm"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3", "iproute2", "make")
# Raised whenever PACKAGES or RELEASE change, so that nobody tests in yesterday's root.
ROOT_VERSION = 2
CACHE = Path(tempfile.gettempdir()) / f"ringline-machine-{RELEASE}-{ROOT_VERSION}"
BOOT_SECONDS = 120.0
CLONE_NEWNET = 0x40000000
# What a command inside finds; nothing of ours leaks in.
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

_libc = ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """Why there can be no machine here; empty when there can."""
    if os.geteuid() != 0:
        return "needs root: it boots a container"
    tools = [tool for tool in ("debootstrap", "systemd-nspawn", "nsenter") if shutil.which(tool) is None]
    if tools:
        return f"needs {', '.join(tools)}: .ci/setup system installs debootstrap and systemd-container"
    if not (SOURCE / ".venv/lib/python3.11").is_dir():
        return "needs a .venv of Python 3.11, the one that Debian 12 has: the machine runs what is built here"
    return ""


def mirror() -> str:
    """Where this machine's own apt gets the release from."""
    command = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)", "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    sites = [site for site, _, codename in (line.partition(" ") for line in lines) if codename == RELEASE]
    if not sites:
        pytest.skip(f"this machine's apt names no mirror of Debian {RELEASE}")
    return sites[0]


def cached_root() -> Path:
    """The root that machines are copied from, made at the first call. Two test runs at once wait for each other."""
    with Path(f"{CACHE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not CACHE.is_dir():
            new = Path(f"{CACHE}.new")
            shutil.rmtree(new, ignore_errors=True)
            command = [
                "debootstrap",
                "--variant=minbase",
                f"--include={','.join(PACKAGES)}",
                RELEASE,
                str(new),
                mirror(),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"debootstrap: {(done.stdout + done.stderr).strip()[-500:]}")
            shutil.rmtree(new / "var/cache/apt", ignore_errors=True)
            new.rename(CACHE)
    return CACHE


@dataclass
class Machine:
    """One that runs."""

    root: Path
    container: "subprocess.Popen[bytes]"
    leader: int
    """Its systemd, as this machine numbers it."""

    @classmethod
    def boot(cls, directory: Path) -> "Machine":
        """Copy the root into `directory` and start it."""
        root = directory / "root"
        subprocess.run(["cp", "-a", "--reflink=auto", str(cached_root()), str(root)], check=True)
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--private-network",
                   f"--directory={root}", f"--machine=ringline-{os.getpid()}", f"--bind-ro={SOURCE}:/source",
                   "--console=pipe", "--kill-signal=SIGRTMIN+4"]  # fmt: skip
        with (directory / "console").open("wb") as console:
            container = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            wait_for(lambda: _systemd_of(container.pid) or container.poll() is not None, "a container", BOOT_SECONDS)
            assert container.poll() is None, (directory / "console").read_text()
            machine = cls(root, container, _systemd_of(container.pid))
            wait_for(machine.is_up, f"systemd; {directory}/console has its words", BOOT_SECONDS)
        except BaseException:
            _end(container)
            raise
        return machine

    def is_up(self) -> bool:
        """Whether systemd has started everything."""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded")

    def start(self, *command: str, **variables: str) -> "subprocess.Popen[str]":
        """A command inside, as root, with these environment variables. It runs beside the test, which ends it."""
        enter = ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"]
        pipe = subprocess.PIPE
        environment = ENVIRONMENT | variables
        return subprocess.Popen([*enter, "--wd=/", *command], stdout=pipe, stderr=pipe, text=True, env=environment)

    def run(
        self, *command: str, check: bool = True, seconds: float = 60.0, **variables: str
    ) -> "subprocess.CompletedProcess[str]":
        """Such a command, and what came of it."""
        with self.start(*command, **variables) as process:
            try:
                out, errors = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        assert process.returncode == 0 or not check, f"{' '.join(command)}: {process.returncode}\n{out}{errors}"
        return subprocess.CompletedProcess(command, process.returncode, out, errors)

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).stdout.strip()

    def processes(self, unit: str) -> dict[str, int]:
        """Main process and children of a service: the names they gave themselves, and their numbers out here."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    groups = (entry / "cgroup").read_text().splitlines()
                    if any(group.endswith(f"/{unit}") for group in groups) and self._is_inside(entry):
                        found[(entry / "comm").read_text().strip()] = int(entry.name)
        return found

    def _is_inside(self, process: Path) -> bool:
        return os.readlink(process / "ns/pid") == os.readlink(f"/proc/{self.leader}/ns/pid")

    def journal(self, unit: str, lines: int = 40) -> str:
        """The newest lines about a unit."""
        return self.run(
            "journalctl", "--no-pager", "--quiet", "--output=cat", f"--lines={lines}", f"--unit={unit}"
        ).stdout

    def read(self, path: str) -> str:
        """A file inside."""
        return self.run("cat", path).stdout

    def write(self, path: str, text: str) -> None:
        """A file inside, as an editor would: same owner and mode."""
        (self.root / path.lstrip("/")).write_text(text)

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """This thread is in the machine's network meanwhile, and all processes that it starts."""
        with open("/proc/self/ns/net") as home, open(f"/proc/{self.leader}/ns/net") as there:
            _enter(there.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())

    def close(self) -> None:
        """Switch it off."""
        self.container.terminate()
        try:
            self.container.wait(15)
        except subprocess.TimeoutExpired:
            _end(self.container)


def _systemd_of(nspawn: int) -> int:
    """The systemd that it has started; 0 while there are only its own helpers."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                return int(child)
    return 0


def _end(container: "subprocess.Popen[bytes]") -> None:
    """At once. The systemd inside would outlive a systemd-nspawn that is killed."""
    systemd = _systemd_of(container.pid)
    if systemd:
        os.kill(systemd, signal.SIGKILL)
    container.kill()
    container.wait()


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


def seconds_until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> float:
    """Wait until it is true; how long that took."""
    start = time.monotonic()
    wait_for(condition, what, seconds)
    return time.monotonic() - start
