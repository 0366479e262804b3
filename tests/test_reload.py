"""A reload with calls up: what may change does, in every process, and no packet and no check is lost by it."""

import os
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from relayd.relayctl import main
from shm.daemon import orders
from tests.daemons import Server, running, wait_for
from tests.relayctl import command, relayctl, start_relayctl
from tests.udp_caller import UdpCaller
from tests.upgrade.calls import assert_heard_on, assert_none_missing, calls_on, step_until

TOKEN = "a-token-of-sixteen-characters"


def rewrite(server: Server, old: str, new: str) -> None:
    text = server.config.read_text()
    assert old in text
    server.config.write_text(text.replace(old, new))


def status_of(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers or {}), timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_reload_changes_limits_log_level_tokens_and_addresses_and_loses_nothing() -> None:
    with running(workers=2, transceivers=2) as server, UdpCaller(server.calls_url) as caller:
        caller.connect()
        children = {name: server.pids(name) for name in server.daemons}
        lost_before = caller.lost()
        caller.client.talking = True
        sent = caller.sent
        token = "a-token-of-sixteen-characters"
        addresses = 'advertise = ["127.0.0.1", "127.0.0.9"]\nstuck_after_ms = 4000'
        rewrite(server, 'advertise = ["127.0.0.1"]', addresses)
        rewrite(
            server, "[signalling]", f'[ice]\nconsent_ms = 5000\n[signalling]\nauth = "tokens"\ntokens = ["{token}"]'
        )
        rewrite(server, "[ringline]", '[ringline]\nlog_level = "debug"')
        orders = [
            subprocess.Popen(command(server, "reload", name), stdout=subprocess.PIPE, text=True)
            for name in ("relayd", "transceiverd")
        ]
        assert caller.run(lambda: all(order.poll() is not None for order in orders), 20)
        said = [order.communicate()[0] for order in orders]
        assert [order.returncode for order in orders] == [0, 0], said
        assert "relayd: changed: ringline.log_level" in said[0]
        for key in ("signalling.tokens", "signalling.auth", "ice.consent_ms", "transceiver.advertise"):
            assert key in said[1]
        assert token not in said[1]
        # In use, as soon as the command has ended.
        assert status_of(server.calls_url, b"", {"Content-Type": "application/sdp"}) == 401
        rewrite(server, 'auth = "tokens"', 'auth = "none"')
        rewrite(server, f'tokens = ["{token}"]', "")
        assert relayctl(server, "reload", "transceiverd").returncode == 0
        with UdpCaller(server.calls_url, seed=2) as second:
            assert " 127.0.0.9 " in second.answer
            second.connect()
        # Nobody was restarted, and the call did not notice: every packet came back, once.
        assert {name: server.pids(name) for name in server.daemons} == children
        assert caller.lost() == lost_before
        assert caller.sent - sent > 20


@pytest.mark.parametrize("daemon", ["relayd", "transceiverd"])
def test_reload_refuses_a_bad_file_whole_and_keeps_the_old(daemon: str) -> None:
    with running() as server:
        rewrite(server, "[ringline]", '[ringline]\nlog_level = "debug"')
        for broken, reason in (
            ("[relay]\nport = 70000" if daemon == "relayd" else "[ice]\nconsent_ms = 1", "allowed"),
            ("[ringlin]", "did you mean `ringline`"),
            ("[", "not TOML"),
        ):
            good = server.config.read_text()
            server.config.write_text(
                f"{good}\n{broken}" if daemon == "transceiverd" or "relay]" not in broken
                else good.replace(f"port = {server.udp_port}", "port = 70000")
            )  # fmt: skip
            done = relayctl(server, "reload", daemon)
            assert done.returncode == 3, done.stderr
            assert reason in done.stderr
            assert str(server.config) in done.stderr
            server.config.write_text(good)
        assert "configuration refused, the old one stays" in server.log.read_text()
        assert (
            "changed: ringline.log_level" in relayctl(server, "reload", daemon).stdout
        )  # nothing of it was taken before


def test_reload_names_what_waits_for_a_restart_again_and_again() -> None:
    with running() as server:
        rewrite(server, "workers = 1", "workers = 2\nconnections = 40")
        rewrite(server, f"[operator]\nport = {server.operator_port}", "[operator]\nport = 1")
        for _ in range(2):
            done = relayctl(server, "reload")
            assert done.returncode == 0, done.stderr
            assert "a restart is needed for: relay.workers" in done.stdout
            assert "a restart is needed for: operator.port" in done.stdout
        assert server.operator("/metrics")


def test_reload_mixture_that_nobody_wrote_is_refused() -> None:
    """`listen` waits for a restart; `auth` alone would leave the old address open to everybody."""
    token = 'auth = "tokens"\ntokens = ["a-token-of-sixteen-characters"]\nlisten = "0.0.0.0"'
    with running(extra="") as server:
        server.stop("transceiverd")
        rewrite(server, "[signalling]", f"[signalling]\n{token}")
        server.start("transceiverd")
        server.await_ready()
        rewrite(server, token, "")
        done = relayctl(server, "reload", "transceiverd")
        assert done.returncode == 3
        assert "other machines can reach this address" in done.stderr
        assert status_of(server.calls_url, b"", {"Content-Type": "application/sdp"}) == 401


def test_reload_by_sighup_tells_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with running() as server:
            said: list[str] = []

            def hear(words: str) -> str:
                while not said or words not in said[-1]:
                    said.append(manager.recv(4096).decode())
                return said[-1]

            hear("READY=1")
            for name in ("relayd", "transceiverd"):
                said.clear()
                os.kill(server.daemons[name].pid, signal.SIGHUP)
                assert "MONOTONIC_USEC=" in hear("RELOADING=1")
                assert "STATUS=no option changed" in hear("READY=1")
            server.config.write_text("[")
            for name in ("relayd", "transceiverd"):
                said.clear()
                os.kill(server.daemons[name].pid, signal.SIGHUP)
                hear("RELOADING=1")
                assert "STATUS=reload refused: " in hear("READY=1")


def test_reload_of_both_daemons_takes_nothing_where_one_would_refuse() -> None:
    with running() as server:
        pids = {name: server.pids(name) for name in server.daemons}
        good = server.config.read_text()
        rewrite(server, "[ringline]", '[ringline]\nlog_level = "debug"')
        for broken, who in (("[ice]\nconsent_ms = 1", "transceiverd"), ("[relay]\nworkers = -1", "relayd")):
            text = server.config.read_text()
            if who == "relayd":
                server.config.write_text(text.replace("workers = 1", "workers = -1"))
            else:
                server.config.write_text(f"{text}\n{broken}\n")
            done = relayctl(server, "reload")
            assert done.returncode == 3, done.stdout
            assert f"{who} would refuse: " in done.stderr
            assert "nothing was changed" in done.stderr
            assert done.stdout == ""
            server.config.write_text(text)
        done = relayctl(server, "reload")  # nobody has taken the log level yet
        assert done.stdout.count("changed: ringline.log_level") == 2, done.stdout
        server.stop("transceiverd")  # who does not run refuses nothing, and is named
        server.config.write_text(good)
        done = relayctl(server, "reload")
        assert done.returncode == 1
        assert "relayd: changed: ringline.log_level" in done.stdout
        assert "no transceiverd at" in done.stderr
        assert server.pids("relayd") == pids["relayd"]


def test_reload_of_nobody_says_so() -> None:
    with running() as server:
        server.stop("transceiverd")
        done = relayctl(server, "reload", "transceiverd")
        assert done.returncode == 1
        assert "no transceiverd at" in done.stderr
        assert not list(server.directory.glob("transceiverd.orders"))
        wait_for(lambda: relayctl(server, "reload", "relayd").returncode == 0, "relayd takes it")


@pytest.mark.system
def test_reload_of_both_daemons_under_twenty_calls_loses_no_packet() -> None:
    """Limits, log level, addresses and a TLS-free listener's tokens change in every process meanwhile."""
    with running(workers=2, transceivers=2) as server, calls_on(server, 20) as callers:
        children = {name: server.pids(name) for name in server.daemons}
        rewrite(server, "[signalling]", f'[signalling]\nauth = "tokens"\ntokens = ["{TOKEN}"]\ncalls_max = 30')
        rewrite(server, "[ringline]", '[ringline]\nlog_level = "debug"')
        rewrite(server, 'advertise = ["127.0.0.1"]', 'advertise = ["127.0.0.1", "127.0.0.9"]')
        order = start_relayctl(server, "reload")
        assert step_until(callers, lambda: order.poll() is not None, 30)
        assert order.returncode == 0, server.logged()
        assert status_of(server.calls_url, b"", {"Content-Type": "application/sdp"}) == 401
        assert_heard_on(callers)
        assert_none_missing(callers)
        assert {name: server.pids(name) for name in server.daemons} == children


def test_reload_of_both_takes_nothing_while_one_of_them_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped relayd could refuse what transceiverd takes. Who waits is told in seconds which process it is."""
    monkeypatch.setattr(orders, "HELLO_SECONDS", 0.05)
    with running() as server:
        pid = server.daemons["relayd"].pid
        os.kill(pid, signal.SIGSTOP)
        try:
            rewrite(server, "[ringline]", '[ringline]\nlog_level = "debug"')
            status = main(["--config", str(server.config), "reload"])
        finally:
            os.kill(pid, signal.SIGCONT)
        said = capsys.readouterr()
        assert (status, said.out) == (1, ""), said.err
        assert f"process {pid} (" in said.err
        assert "gave no answer within 0.05 s: if that is relayd, it is stopped or stuck" in said.err
        assert said.err.endswith("nothing was changed\n")
