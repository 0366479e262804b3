"""The units by themselves: systemd's own checks, every directive explained."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICES = ("relayd.service", "transceiverd.service")
EXPOSURE_MAX = 2.0

analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units as they are installed, beside commands that exist."""
    folder = tmp_path_factory.mktemp("units")
    (folder / "bin").mkdir()
    for command in ("relayd", "transceiverd", "relayctl"):
        (folder / "bin" / command).symlink_to(sys.executable)
    for unit in (*SERVICES, "ringline.target"):
        (folder / unit).write_text((UNITS / unit).read_text().replace("@LIB@", str(folder)))
    return folder


@analyze
def test_units_verify_is_clean(units: Path) -> None:
    names = [str(units / unit) for unit in (*SERVICES, "ringline.target")]
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False)
    # Of the machine's other units it may say what it likes.
    ours = [line for line in done.stderr.splitlines() if re.search("relayd|transceiverd|ringline", line)]
    assert ours == []


@analyze
@pytest.mark.parametrize("unit", SERVICES)
def test_units_exposure_is_small(units: Path, unit: str) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(units / unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE_MAX, done.stdout


@pytest.mark.parametrize("unit", SERVICES)
def test_units_every_directive_is_explained(unit: str) -> None:
    """By a comment above it, or above the line of the same name before it."""
    before, silent = "", []
    for line in (UNITS / unit).read_text().splitlines():
        name = line.partition("=")[0]
        continues = {"DevicePolicy": "PrivateDevices", "ProcSubset": "ProtectProc",
                     "AmbientCapabilities": "CapabilityBoundingSet", "ExecPaths": "NoExecPaths", "Group": "User",
                     "ProtectHostname": "ProtectClock", "RestrictSUIDSGID": "RestrictNamespaces",
                     "ProtectKernelLogs": "ProtectHostname", "ProtectKernelModules": "ProtectKernelLogs",
                     "ProtectKernelTunables": "ProtectKernelModules", "ProtectControlGroups": "ProtectKernelTunables",
                     "RestrictRealtime": "RestrictSUIDSGID", "LockPersonality": "RestrictRealtime",
                     "RemoveIPC": "PrivateIPC", "Documentation": "Description"}  # fmt: skip
        if "=" in line and not line.startswith("#") and name != "Description":
            explained = before.startswith("#") or before.partition("=")[0] == continues.get(name)
            if not explained:
                silent.append(line)
        before = line
    assert silent == []


@pytest.mark.parametrize("unit", SERVICES)
def test_units_name_what_is_off_and_why(unit: str) -> None:
    text = (UNITS / unit).read_text()
    off = text.partition("# Off, with the reason:")[2]
    assert off.count("=: ") >= 4
    for name in re.findall(r"# (\w+)=: ", off):
        assert not re.search(f"^{name}=", text, re.M), f"{name} is said to be off"


def test_units_buffers_are_what_relayd_asks_for() -> None:
    """The sysctl file allows what the configuration's default wants."""
    from relayd.config import Relay

    allowed = re.search(r"^net\.core\.rmem_max = (\d+)$", (UNITS / "sysctl.conf").read_text(), re.M)
    assert allowed
    assert int(allowed[1]) >= Relay().receive_buffer_bytes


def test_units_configuration_changes_nothing_as_it_stands() -> None:
    """The installed file: every section is there, every option at its default."""
    from transceiverd.settings import SECTIONS, load_settings

    file = UNITS / "ringline.toml"
    assert SECTIONS.keys() | {"relay"} <= tomllib.loads(file.read_text()).keys()
    assert load_settings(file).transceiver == type(load_settings(file).transceiver)()
