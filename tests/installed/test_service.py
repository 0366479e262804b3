"""Ringline's life as a service, told in order on one machine: installed, started, called, reloaded, restarted, killed,
refused a bad configuration, stopped, uninstalled.

Tests of this folder that need the services running come between the first and the last: name their files so, or add
them here. `calls_up` puts calls on it, `machine.processes` finds what to kill.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.chromium import EXECUTABLE, arguments, write_microphone
from tests.browser.person import Person
from tests.daemons import wait_for
from tests.installed.machine import SOURCE, Machine, seconds_until
from tests.installed.server import CALLS_URL, URL, await_ready, calls_up, hang_up, is_ready, sessions, status
from tests.udp_caller import UdpCaller, udp_socket

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

TONE_HERTZ = 440
# As typed; but in a checkout that a developer has changed since, nothing is compiled in the machine, which could not.
BUILT = subprocess.run([SOURCE / ".ci/setup", "built"], check=False).returncode == 0
MAKE = ("make", "--no-print-directory", "-C", "/source", *(() if BUILT else ("SETUP=true",)))
CONFIGURATION = "/etc/ringline/ringline.toml"
# The goal is 200 ms. A gap that every call hears is in the last thousandth of all spacings, as no call has a thousand
# of them: 55 ms there, and 68 ms the longest of all, were measured on a quiet machine, where 59 ms is the longest with
# no restart. A start of Python in between, as before workers went on by themselves, makes it 725 ms. The longest of
# all tells little where other work stalls who measures: it must not be so long that a client gives up.
RESTART_GAP_MS_MAX = 400
LONGEST_GAP_MS_MAX = 5000
RESTART_LOSS_MAX = 0.01
# What is in a killed worker's hands ([relay] batch), and as much again in the kernel's.
BATCH = 128
# A successor is there in 20 ms on a quiet machine.
KILL_GAP_MS_MAX = 1000
OTHER_BUILD = "0badc0de"
WATCHED = ("etc", "usr", "opt", "srv", "var/lib")
"""Where an installation could leave something."""


def files(machine: Machine) -> set[str]:
    """All names below WATCHED; without the accounts' backups, which every change of accounts leaves."""
    found = {str(path.relative_to(machine.root)) for folder in WATCHED for path in (machine.root / folder).rglob("*")}
    return {name for name in found if not (name.startswith("etc/") and name.endswith("-"))}


def kept_by_systemd(machine: Machine) -> list[str]:
    """Memory and UDP sockets of ours in its descriptor store."""
    held = machine.run("ls", "-l", "/proc/1/fd").stdout.splitlines()
    return [line for line in held if "memfd:ringline" in line]


@pytest.fixture(scope="module")
def before(machine: Machine) -> set[str]:
    """The files before anything was installed."""
    return files(machine)


def test_service_installs(machine: Machine, before: set[str]) -> None:
    assert before
    said = machine.run(*MAKE, "install").stdout
    assert "systemctl enable --now ringline.target" in said
    assert machine.run("stat", "-c", "%a %U %G", "/run/ringline").stdout == "3770 root ringline\n"
    assert machine.run("stat", "-c", "%a %U %G", CONFIGURATION).stdout == "640 root ringline\n"
    for command in ("relayd", "transceiverd"):
        assert machine.run(command, "--check-config").stdout == "ok\n"
    units = [
        f"/usr/lib/systemd/system/{unit}" for unit in ("relayd.service", "transceiverd.service", "ringline.target")
    ]
    assert machine.run("systemd-analyze", "verify", *units).stderr == ""


def test_service_install_again_keeps_an_edited_file(machine: Machine) -> None:
    shipped = machine.read(CONFIGURATION)
    machine.write(CONFIGURATION, '[transceiver]\nadvertise = ["127.0.0.1"]\nslots = 2048\n')
    said = machine.run(*MAKE, "install").stdout
    assert f"{CONFIGURATION} was edited and stays" in said
    assert machine.read(f"{CONFIGURATION}.new") == shipped
    assert "slots = 2048" in machine.read(CONFIGURATION)


def test_service_starts_and_says_so(machine: Machine) -> None:
    machine.run("systemctl", "enable", "--now", "ringline.target")
    await_ready(machine)
    for unit in ("relayd", "transceiverd"):
        assert machine.show(f"{unit}.service", "ActiveState") == "active"
        assert machine.show(f"{unit}.service", "User") == unit
    assert "relayd-worker0" in machine.processes("relayd.service")
    assert "signalling" in machine.processes("transceiverd.service")
    assert machine.run("relayctl", "status", "--check").stdout == ""


def test_service_takes_a_call(machine: Machine) -> None:
    with machine.network(), UdpCaller(CALLS_URL) as caller:
        caller.connect()
        assert len(sessions(machine)) == 1
        hang_up(machine, caller.call_id)
    wait_for(lambda: not sessions(machine), "the call has ended")


def test_service_takes_a_browsers_call(machine: Machine, tmp_path: Path) -> None:
    """Chromium in the machine's network presses Call and hears its tone come back. It calls from an interface's address
    only, never from loopback, so the machine gets an interface: one that leads nowhere.

    It takes no IPv6 address by itself: that would be looked for among its neighbours for a second, and when it is found
    to be alone, Chromium sees another network and aborts what it is loading.
    """
    machine.run("ip", "link", "add", "here", "type", "veth", "peer", "name", "there")
    for name in ("here", "there"):
        machine.run("ip", "link", "set", name, "addrgenmode", "none")
        machine.run("ip", "link", "set", name, "up")
    machine.run("ip", "address", "add", "10.213.0.1/24", "dev", "here")
    microphone = tmp_path / "microphone.wav"
    write_microphone(microphone)
    with machine.network(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=arguments(microphone))
        person = Person(browser.new_page())
        person.open(URL)
        person.choose("Test tone")
        person.press()
        person.await_connected()
        person.await_heard(TONE_HERTZ)
        person.press()
        person.await_state("Call ended")
        browser.close()
        assert person.complaints == []


def test_service_either_daemon_may_start_first(machine: Machine) -> None:
    machine.run("systemctl", "stop", "ringline.target", "relayd", "transceiverd")
    for first, second in (("relayd", "transceiverd"), ("transceiverd", "relayd")):
        machine.run("systemctl", "start", first)
        assert not is_ready(machine)
        machine.run("systemctl", "start", second)
        await_ready(machine)
        machine.run("systemctl", "stop", first, second)
    machine.run("systemctl", "start", "ringline.target")
    await_ready(machine)


def test_service_reload_loses_no_packet(machine: Machine) -> None:
    with calls_up(machine, 20, seconds=4) as load:
        machine.run("systemctl", "reload", "relayd", "transceiverd")
        assert machine.show("relayd.service", "ActiveState") == "active"
    load.assert_no_call_lost(20)
    assert load.lost == 0


def test_service_upgrade_loses_no_packet_and_no_call(machine: Machine) -> None:
    """Newly installed code, then `relayctl upgrade`: both releases are shown while old calls last."""
    machine.run(*MAKE, "install")
    (file,) = machine.root.glob("usr/lib/ringline/lib/python3*/site-packages/ringline.release")
    file.write_text(f"{file.read_text().partition('+')[0]}+{OTHER_BUILD}\n")
    before = {name: machine.show(f"{name}.service", "MainPID") for name in ("relayd", "transceiverd")}
    with calls_up(machine, 20, seconds=12) as load:
        machine.run("relayctl", "upgrade")
        shown = machine.run("relayctl", "status").stdout
        releases = {process["release"].partition("+")[2] for process in status(machine)["processes"]}
        assert OTHER_BUILD in releases
        assert len(releases) == 2, shown
    load.assert_no_call_lost(20)
    assert load.lost == 0
    assert before == {name: machine.show(f"{name}.service", "MainPID") for name in before}
    assert {worker["release"].partition("+")[2] for worker in status(machine)["workers"]} == {OTHER_BUILD}
    assert machine.show("transceiverd.service", "NRestarts") == "0"


def test_service_restart_of_relayd_under_many_calls_ends_none(machine: Machine) -> None:
    """The workers go on until the new ones are there; sockets, flow tables and counters come from systemd's store."""
    calls = int(os.environ.get("RINGLINE_CALLS", "500"))
    with calls_up(machine, calls, 6, "--patience=30", rate=50) as load:
        before = {name: value for name, value in _books(machine).items() if value}
        pid = machine.show("relayd.service", "MainPID")
        took = seconds_until(lambda: machine.run("systemctl", "restart", "relayd"), "a restart")
        assert machine.show("relayd.service", "MainPID") != pid
        assert "go on until ours are ready" in machine.journal("relayd")
    load.assert_no_call_lost(calls)
    print(f"\nsystemctl restart relayd under {calls} calls: longest gap of any call {load.gap_ms:.0f} ms, "
          f"{load.lost} of {load.figures['packets']['sent']} packets lost; the command took {took:.1f} s; "
          f"spacing {load.figures['departure_spacing_ms']}")  # fmt: skip
    after = _books(machine)
    assert all(after[name] >= value for name, value in before.items())  # the books went on
    assert load.figures["departure_spacing_ms"]["p99.9"] < RESTART_GAP_MS_MAX
    assert load.gap_ms < LONGEST_GAP_MS_MAX
    assert load.lost <= RESTART_LOSS_MAX * load.figures["packets"]["sent"]


def _books(machine: Machine) -> dict[str, int]:
    outcomes: dict[str, int] = status(machine)["workers"][0]["packets"]["outcomes"]
    return outcomes


@pytest.mark.parametrize("unit", ["relayd", "transceiverd"])
def test_service_bad_configuration_is_refused_with_the_reason(machine: Machine, unit: str) -> None:
    good = machine.read(CONFIGURATION)
    pid = machine.show(f"{unit}.service", "MainPID")
    section, key = {"relayd": ("relay", "prot"), "transceiverd": ("transceiver", "slotz")}[unit]
    machine.write(CONFIGURATION, f"[{section}]\n{key} = 3479\n")
    try:
        assert machine.run("systemctl", "reload", unit, check=False).returncode != 0
        wait_for(lambda: key in machine.journal(unit), "the reason is in the journal")
        assert machine.show(f"{unit}.service", "MainPID") == pid
        assert machine.show(f"{unit}.service", "ActiveState") == "active"
        assert is_ready(machine)
        assert machine.run(unit, "--check-config", check=False).returncode == 78
    finally:
        machine.write(CONFIGURATION, good)
    machine.run("systemctl", "reload", unit)


@pytest.mark.parametrize("unit", ["relayd", "transceiverd"])
def test_service_does_not_start_with_a_bad_configuration_and_says_why(machine: Machine, unit: str) -> None:
    """Nor does it try again: that would not make the file better. Nothing of it is left then, workers neither."""
    good = machine.read(CONFIGURATION)
    section, key, right = {"relayd": ("relay", "prot", "port"), "transceiverd": ("transceiver", "slotz", "slots")}[unit]
    machine.write(CONFIGURATION, f"[{section}]\n{key} = 3479\n")
    try:
        assert machine.run("systemctl", "restart", unit, check=False).returncode != 0
        assert machine.show(f"{unit}.service", "ActiveState") == "failed"
        words = (CONFIGURATION, key, f"did you mean `{section}.{right}`")
        wait_for(lambda: all(word in machine.journal(unit) for word in words), "the reason is in the journal")
        wait_for(lambda: machine.processes(f"{unit}.service") == {}, "no process is left")
    finally:
        machine.write(CONFIGURATION, good)
        machine.run("systemctl", "restart", unit)
    await_ready(machine)


@pytest.mark.parametrize("name", ["relayd-worker0", "relayd"])
def test_service_relay_process_is_killed_and_no_call_ends(machine: Machine, name: str) -> None:
    """A worker's successor is forked at once; without a supervisor the workers go on until there is one again."""
    with calls_up(machine, 20, seconds=4) as load:
        killed = machine.processes("relayd.service")[name]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: machine.processes("relayd.service").get(name) not in (None, killed), "its successor")
    load.assert_no_call_lost(20)
    print(f"kill -9 of {name}: longest gap {load.gap_ms:.0f} ms, {load.lost} packets lost")
    assert load.gap_ms < KILL_GAP_MS_MAX
    assert load.lost <= BATCH
    await_ready(machine)


@pytest.mark.parametrize("name", ["signalling", "transceiver", "transceiverd"])
def test_service_transceiver_process_is_killed_and_calls_can_be_made_again(machine: Machine, name: str) -> None:
    found = machine.processes("transceiverd.service")  # a transceiver has a number besides, by now some other than 0
    os.kill(next(pid for known, pid in found.items() if known.rstrip("0123456789") == name), signal.SIGKILL)
    took = seconds_until(lambda: _takes_a_call(machine), "a call after the kill")
    print(f"kill -9 of {name}: a call succeeds again after {took:.1f} s")
    assert machine.show("transceiverd.service", "ActiveState") == "active"


def _takes_a_call(machine: Machine) -> bool:
    if not is_ready(machine):
        return False
    with machine.network(), udp_socket() as end:
        try:
            UdpCaller(CALLS_URL, end).connect(5.0)
        except (OSError, AssertionError):  # refused, or taken by what was about to die
            return False
    return True


def test_service_stops_and_leaves_no_process(machine: Machine) -> None:
    machine.run("systemctl", "stop", "ringline.target")
    for unit in ("relayd.service", "transceiverd.service"):
        wait_for(lambda unit=unit: machine.show(unit, "ActiveState") == "inactive", f"{unit} is inactive")  # type: ignore[misc]
        assert machine.show(unit, "Result") == "success"
        wait_for(lambda unit=unit: machine.processes(unit) == {}, f"no process of {unit}")  # type: ignore[misc]
    assert kept_by_systemd(machine) == []
    assert machine.run("ls", "/dev/shm").stdout == machine.run("ss", "-Hlun", "sport = :3478").stdout == ""
    left = set(machine.run("ls", "/run/ringline").stdout.split())
    assert left <= {"relayd.lock", "relayd-workers.lock", "transceiverd.lock", "ufrag.keys"}


def test_service_uninstall_leaves_nothing(machine: Machine, before: set[str]) -> None:
    """But the file that somebody edited, and that goes with PURGE=1."""
    machine.run("systemctl", "start", "ringline.target")  # as it will be: running
    said = machine.run(*MAKE, "uninstall").stdout
    assert f"{CONFIGURATION} was edited and is kept" in said
    assert files(machine) - before == {"etc/ringline", "etc/ringline/ringline.toml"}
    assert machine.processes("relayd.service") == machine.processes("transceiverd.service") == {}
    machine.run(*MAKE, "install")
    machine.run(*MAKE, "uninstall", "PURGE=1")
    assert files(machine) == before
    for name in ("passwd", "group"):
        assert "ringline" not in machine.read(f"/etc/{name}").lower()
    assert not Path(machine.root / "run/ringline").exists()
    assert machine.run("ls", "/run/ringline", check=False).returncode != 0
    assert "ringline" not in machine.run("systemctl", "list-unit-files", "--no-pager").stdout
