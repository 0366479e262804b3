"""The ufrag keys are rotated under live calls: those go on, checks included, however often and however it is tried."""

import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from relayd.ufrag import decode
from relayd.ufrag_keys import UfragKeys
from shm.daemon.orders import Order, Report, give_order
from tests.daemons import Server, running, wait_for
from tests.relayctl import command, relayctl
from tests.udp_caller import UdpCaller
from transceiverd.ice.controlling import ControllingConfig


def key_of(caller: UdpCaller) -> int:
    """The key id that a call was minted under."""
    ufrag = next(line for line in caller.answer.splitlines() if line.startswith("a=ice-ufrag:"))
    return decode(ufrag.partition(":")[2].strip()).key_id


def keys(server: Server) -> UfragKeys:
    return UfragKeys.load(server.directory / "ufrag.keys")


def checked_again(caller: UdpCaller) -> bool:
    """Whether a check sent from now on is answered: every worker that it may meet verifies its ufrag still."""
    answered = caller.checks_answered
    return caller.run(lambda: caller.checks_answered >= answered + 2, 6)  # the first may be on its way already


def order(server: Server, name: str, daemon: str = "transceiverd") -> Report:
    return give_order(server.directory, daemon, Order(name), 30)


def call(server: Server, seed: int) -> UdpCaller:
    """One that checks several times a second."""
    return UdpCaller(server.calls_url, seed=seed, ice=ControllingConfig(consent_interval_ms=300))


def hang_up(server: Server, caller: UdpCaller) -> None:
    urllib.request.urlopen(f"{server.url}{caller.location}/hangup", b"", timeout=5).close()
    caller.end.close()


def test_rotation_three_times_drops_no_call_and_a_fourth_waits_for_the_first_key() -> None:
    with running(workers=2, transceivers=2) as server:
        callers = [call(server, 1)]
        callers[0].connect()
        for seed in (2, 3, 4):
            done = order(server, "keys-rotate")
            assert done.done, done.text
            assert f"key {seed - 1} is current" in done.text
            callers.append(call(server, seed))
            callers[-1].connect()
        assert [key_of(caller) for caller in callers] == [0, 1, 2, 3]
        before = keys(server).fingerprints()
        refused = relayctl(server, "keys", "rotate")
        assert refused.returncode == 3
        assert "key 0 still has live calls" in refused.stderr
        assert "1 under key 0" in refused.stderr
        assert keys(server).fingerprints() == before
        for caller in callers:
            assert checked_again(caller)
            caller.client.talking = True
            heard = len(caller.client.heard)
            assert caller.run(lambda c=caller, h=heard: len(c.client.heard) > h + 10, 5)
        # A new relay verifies them all as well.
        server.stop("relayd")
        server.start("relayd")
        server.await_ready()
        assert all(checked_again(caller) for caller in callers)
        shown = order(server, "keys-show").text
        assert shown.count("under key") == 4
        assert "key 3 is current" in shown
        assert all(f"key {key} {word}" in shown for key, word in keys(server).fingerprints().items())
        hang_up(server, callers[0])
        wait_for(lambda: order(server, "keys-rotate").done, "key 0 is free again")
        assert keys(server).fingerprint(0) != before[0]
        for caller in callers[1:]:
            with caller:
                assert checked_again(caller)
                assert caller.lost() == 0


@pytest.mark.system
def test_rotation_is_used_by_calls_made_right_after_it_while_calls_are_made() -> None:
    """relayd confirms the key first: a call minted under it is verified by every worker from its first check."""
    with running(workers=2) as server:
        for seed in range(1, 4):
            assert order(server, "keys-rotate").done
            for _ in range(4):
                with UdpCaller(server.calls_url, seed=seed) as caller:
                    assert key_of(caller) == seed
                    caller.connect()
        outcomes = _outcomes(server)
        assert sum(outcomes.values()) > 0
        assert not {name: count for name, count in outcomes.items() if "ufrag" in name and count}


def _outcomes(server: Server) -> dict[str, int]:
    text = relayctl(server, "status", "--json").stdout
    found: dict[str, int] = {}
    for worker in json.loads(text)["workers"]:
        for name, count in worker["packets"]["outcomes"].items():
            found[name] = found.get(name, 0) + count
    return found


@pytest.mark.parametrize("daemon", [pytest.param("relayd", marks=pytest.mark.system), "transceiverd"])
def test_key_file_that_would_cut_calls_is_refused_and_the_old_one_stays(daemon: str) -> None:
    with running() as server, call(server, 1) as caller:
        caller.connect()
        ours = keys(server)
        UfragKeys(1, {1: bytes(32)}).save(server.directory / "ufrag.keys")
        done = order(server, "reload", daemon)
        assert not done.done
        assert "key 0" in done.text
        if daemon == "transceiverd":
            assert "1 under key 0" in done.text
            assert keys(server) == ours
        assert checked_again(caller)


@pytest.mark.system
def test_key_file_with_another_key_is_taken_by_sighup() -> None:
    with running(workers=2) as server, call(server, 1) as caller:
        caller.connect()
        with_new = keys(server).rotated(())
        with_new.save(server.directory / "ufrag.keys")
        os.kill(server.daemons["transceiverd"].pid, signal.SIGHUP)
        wait_for(lambda: "configuration taken" in server.log.read_text(), "transceiverd has taken the file")
        with UdpCaller(server.calls_url, seed=2) as second:
            assert key_of(second) == 1
            second.connect()
        assert checked_again(caller)
        caller.client.talking = True
        assert caller.lost() == 0


@pytest.mark.system
def test_rotation_without_a_relay_waits_for_its_attach() -> None:
    with running() as server:
        server.stop("relayd")
        wait_for(lambda: not server.ready(), "the relay is gone")
        assert order(server, "keys-rotate").done
        server.start("relayd")
        server.await_ready()
        with UdpCaller(server.calls_url) as caller:
            assert key_of(caller) == 1
            caller.connect()


def test_rotation_stops_when_a_transceiver_does_not_answer() -> None:
    with running(transceivers=2) as server:
        before = keys(server)
        text = server.config.read_text()
        server.config.write_text(text.replace("count = 2", "count = 2\nstuck_after_ms = 60000"))
        assert order(server, "reload", "transceiverd").done
        stopped = server.pids("transceiverd")["transceiver1"]
        os.kill(stopped, signal.SIGSTOP)
        try:
            done = order(server, "keys-rotate")
        finally:
            os.kill(stopped, signal.SIGCONT)
        assert not done.done
        assert "transceiver 1 did not say" in done.text
        assert keys(server) == before


@pytest.mark.system
def test_key_file_that_relayd_cannot_use_undoes_the_rotation(tmp_path: Path) -> None:
    """A refusal by relayd is an answer, and detaches nobody."""
    with running() as server, call(server, 1) as caller:
        caller.connect()
        relayd_pid = server.daemons["relayd"].pid
        # relayd, stopped, cannot look; the file is gone when it goes on, and so it cannot confirm.
        os.kill(relayd_pid, signal.SIGSTOP)
        rotation = subprocess.Popen(
            command(server, "keys", "rotate"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_for(lambda: keys(server).current == 1, "the new key is in the file")
            (server.directory / "ufrag.keys").rename(tmp_path / "away")
        finally:
            os.kill(relayd_pid, signal.SIGCONT)
        _, said = rotation.communicate(timeout=30)
        assert rotation.returncode == 3
        assert "relayd does not take the new key" in said
        assert keys(server).current == 0
        assert checked_again(caller)
        assert server.ready()
