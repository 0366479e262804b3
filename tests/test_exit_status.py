"""How a daemon ends: the status says what kind of reason it had, the last line which, and nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemons import Server, free_port, running, wait_for
from tests.udp_caller import UdpCaller

DAEMONS = ("relayd", "transceiverd")


def run(daemon: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"{daemon}.main", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("daemon", DAEMONS)
def test_exit_status_of_a_wrong_command_line_or_file(daemon: str, tmp_path: Path) -> None:
    wrong = run(daemon, "--no-such-option")
    assert wrong.returncode == 64
    assert wrong.stderr.splitlines()[-1] == f"{daemon}: unrecognized arguments: --no-such-option"
    missing = run(daemon, "--config", str(tmp_path / "missing.toml"))
    assert missing.returncode == 78
    assert f"{tmp_path}/missing.toml: cannot be read" in missing.stderr
    (tmp_path / "public").mkdir()
    (tmp_path / "public").chmod(0o777)
    unsafe = run(daemon, "--runtime-directory", str(tmp_path / "public"))
    assert unsafe.returncode == 78
    assert "may be written by everybody" in unsafe.stderr
    assert list((tmp_path / "public").iterdir()) == []


@pytest.mark.parametrize("daemon", DAEMONS)
def test_exit_status_is_listed_by_help(daemon: str) -> None:
    text = run(daemon, "--help").stdout
    for status in ("0 stopped", "64 wrong", "70 a fault", "71 the machine", "75 somebody", "78 the configuration"):
        assert status in text


def test_exit_status_of_a_second_start_names_the_holder_and_its_command() -> None:
    with running() as server:
        for daemon in DAEMONS:
            second = run(daemon, "--config", str(server.config))
            assert second.returncode == 75, second.stderr
            first = server.daemons[daemon].pid
            assert f"{daemon}.lock is held by process {first} ({sys.executable} -m {daemon}.main" in second.stderr
        assert server.ready()


@pytest.mark.parametrize(("daemon", "kind"), [("relayd", "udp"), ("transceiverd", "tcp")])
def test_exit_status_of_a_taken_port_names_the_holder_and_its_command(daemon: str, kind: str) -> None:
    stream = kind == "tcp"
    port = free_port(socket.SOCK_STREAM if stream else socket.SOCK_DGRAM)
    program = (
        f"import socket, time; s = socket.socket(type=socket.SOCK_{'STREAM' if stream else 'DGRAM'});"
        f"s.bind(('127.0.0.1', {port})); {'s.listen();' if stream else ''} print(flush=True); time.sleep(100)"
    )
    server = Server()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            own = server.http_port if stream else server.udp_port
            server.config.write_text(server.config.read_text().replace(f"port = {own}\n", f"port = {port}\n"))
            done = run(daemon, "--config", str(server.config))
            assert done.returncode == 75, done.stderr
            assert f"port {port} is taken" in done.stderr
            assert f"process {holder.pid} ({sys.executable} -c import socket" in done.stderr
            assert not [*server.directory.glob("*.orders"), *server.directory.glob("*.sock")]
        finally:
            holder.kill()
            server.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_exit_status_of_a_stop_is_0_and_nothing_is_left(number: int) -> None:
    with running(workers=2, transceivers=2) as server:
        everybody = [*server.pids("relayd").values(), *server.pids("transceiverd").values()]
        assert len(everybody) == 5
        assert server.stop("transceiverd", number) == 0
        assert server.stop("relayd", number) == 0
        wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in everybody), "every child is gone")
        # The locks stay (lock.py says why), and the keys, for calls that a restart of the other daemon carries on.
        kept = {"log", "ringline.toml", "relayd.lock", "relayd-workers.lock", "transceiverd.lock", "ufrag.keys"}
        assert {path.name for path in server.directory.iterdir()} == kept


def test_exit_status_of_an_address_that_is_not_there_yet_is_worth_another_try(tmp_path: Path) -> None:
    """An interface that comes up after the service: systemd goes on trying."""
    config = tmp_path / "ringline.toml"
    config.write_text(f'[ringline]\nruntime_directory = "{tmp_path}"\n[relay]\nbind4 = "192.0.2.1"\nbind6 = ""\n')
    done = run("relayd", "--config", str(config))
    assert done.returncode == 75
    assert "bind4 = '192.0.2.1'" in done.stderr
    config.write_text(
        f'[ringline]\nruntime_directory = "{tmp_path}"\n[signalling]\nlisten = "192.0.2.1"\nauth = "none"\n'
    )
    done = run("transceiverd", "--config", str(config))
    assert done.returncode == 75
    assert "[signalling] port: 192.0.2.1 port 8080: Cannot assign requested address" in done.stderr


@pytest.mark.parametrize("everybody", ["group", "one by one"])
def test_exit_status_of_a_signal_to_every_process_is_that_of_an_orderly_stop(everybody: str) -> None:
    """The story: `kill -- -PGID` ended the children at once. They were replaced while the daemon stopped, each called a
    crash, and no call was said goodbye to."""
    launchers = {
        daemon: ("-c", f"import os, sys; os.setpgid(0, 0); from {daemon}.main import main; sys.exit(main())")
        for daemon in DAEMONS
    }
    with running(workers=2, transceivers=2, launchers=launchers) as server, UdpCaller(server.calls_url) as caller:
        caller.connect()
        for daemon in reversed(DAEMONS):
            process, children = server.daemons[daemon], server.pids(daemon)
            assert os.getpgid(process.pid) == process.pid
            if everybody == "group":
                os.killpg(process.pid, signal.SIGTERM)
            else:
                for pid in (*children.values(), process.pid):
                    os.kill(pid, signal.SIGTERM)
            assert caller.run(lambda process=process: process.poll() is not None, 20)
            assert process.returncode == 0
        log = server.logged()
        assert "killed by" not in log
        assert "took its place" not in log
        assert log.count("supervisor]: stopped") == 2
        assert everybody != "group" or "ended after" in log, "the call was said goodbye to"
