"""relayd starts, stops, dies and comes back: nothing of it survives its supervisor, and nobody gets in beside it."""

import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from relayd.config import Relay
from relayd.supervisor import _cpus
from relayd.ufrag_keys import UfragKeys
from tests.relayd.fake_transceiverd import Caller, FakeTransceiverd
from tests.relayd.relay_process import RelayProcess, is_alive, wait_for_end, wait_until


def worker_pids(relay: RelayProcess) -> list[int]:
    return [relay.worker_pid(worker.worker) for worker in relay.status().workers]


def test_supervisor_killed_takes_its_workers_along_and_a_new_one_goes_on(tmp_path: Path) -> None:
    """The story: kill -9 of the supervisor while one worker cannot even be scheduled, then a start at once."""
    with RelayProcess(tmp_path) as relay:
        pids = worker_pids(relay)
        os.kill(pids[1], signal.SIGSTOP)
        with FakeTransceiverd(tmp_path):
            relay.kill()
        relay.start()  # waits for the lock, which the workers hold until they are gone
        assert not any(is_alive(pid) for pid in pids)
        with FakeTransceiverd(tmp_path, incarnation=78) as fake:
            caller = Caller(relay.status().port, slot=3)
            caller.check(fake.ufrag(caller.slot))
            caller.speak()
            caller.hear(1)
            caller.close()


def test_supervisor_second_one_says_who_holds_the_lock(shared_relay: RelayProcess, tmp_path: Path) -> None:
    second = RelayProcess(tmp_path)
    second.config.parent.mkdir(exist_ok=True)
    second.directory = shared_relay.directory
    process = second.launch()
    assert process.wait(20) == 75
    assert shared_relay.process is not None
    assert f"relayd.lock is held by process {shared_relay.process.pid}" in second.text()
    assert shared_relay.status().pid == shared_relay.process.pid
    second.client.close()


def test_supervisor_port_taken_says_by_whom(shared_relay: RelayProcess, tmp_path: Path) -> None:
    assert shared_relay.process is not None
    port = shared_relay.status().port
    second = RelayProcess(tmp_path, port=port)
    assert second.launch().wait(20) == 75
    text = second.text()
    second.client.close()
    assert f"UDP port {port} is taken" in text
    assert any(f"process {pid} (" in text for pid in [shared_relay.process.pid, *worker_pids(shared_relay)])


@pytest.mark.system
def test_supervisor_search_finds_the_next_port(shared_relay: RelayProcess, tmp_path: Path) -> None:
    port = shared_relay.status().port
    with RelayProcess(tmp_path, port=port, port_search=50, workers=1) as second:
        assert port < second.status().port <= port + 50


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.system)])
def test_supervisor_stops_when_asked_and_leaves_nothing(tmp_path: Path, number: int) -> None:
    relay = RelayProcess(tmp_path).start()
    pids, port = worker_pids(relay), relay.status().port
    os.kill(pids[0], signal.SIGSTOP)  # one that cannot leave when asked
    assert relay.stop(number) == 0
    assert not any(is_alive(pid) for pid in pids)
    assert not (tmp_path / "relayd.sock").exists()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", port))
    assert "stopped" in relay.text()


def test_supervisor_worker_keeps_only_what_is_its_own(shared_relay: RelayProcess) -> None:
    """Two public sockets and the control socket, two tables, the lock, its epoll; no listener, no pidfd, no lane.

    The lanes that other tests attached and detached must be gone as well.
    """
    for index in range(2):
        pid = shared_relay.worker_pid(index)
        wait_until(lambda pid=pid: not any("lane-" in kind for kind in kinds_of_descriptors(pid)), "no lane")  # type: ignore[misc]
        found = kinds_of_descriptors(pid)
        assert found.count("socket") == 3
        assert sum("ringline-" in kind for kind in found) == 2
        assert sum("relayd-workers.lock" in kind for kind in found) == 1
        assert sum("eventpoll" in kind for kind in found) <= 1
        assert len(found) <= 7


def kinds_of_descriptors(pid: int) -> list[str]:
    """What its descriptors above the standard ones are."""
    links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd") if int(fd) > 2]
    return ["socket" if link.startswith("socket:") else link for link in links]


def test_supervisor_workers_are_pinned_one_to_a_cpu(shared_relay: RelayProcess) -> None:
    usable = sorted(os.sched_getaffinity(0))
    for worker in shared_relay.status().workers:
        assert worker.pid is not None
        assert os.sched_getaffinity(worker.pid) == {worker.cpu} == {usable[worker.worker % len(usable)]}


def test_supervisor_fewer_cpus_than_asked_is_a_warning_with_both_numbers(caplog: pytest.LogCaptureFixture) -> None:
    usable = sorted(os.sched_getaffinity(0))
    with caplog.at_level(logging.WARNING):
        assert len(_cpus(Relay(workers=len(usable) + 3))) == len(usable) + 3
    assert f"{len(usable) + 3} workers are asked for, relayd may use {len(usable)} CPUs" in caplog.text


def test_supervisor_unusable_cpus_are_named(caplog: pytest.LogCaptureFixture) -> None:
    usable = sorted(os.sched_getaffinity(0))
    with caplog.at_level(logging.WARNING):
        assert _cpus(Relay(cpus=(usable[0], 4001))) == [usable[0]]
        assert _cpus(Relay(cpus=(4000, 4001), workers=2)) == [None, None]
    assert "asks for 2 CPUs, relayd may use 1 of them; not usable: [4001]" in caplog.text
    assert "2 workers run unpinned" in caplog.text


def test_supervisor_memory_figure(shared_relay: RelayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """For the README; the bound only catches a leak or a heavy import."""
    assert shared_relay.process is not None
    supervisor = pss_kib(shared_relay.process.pid)
    workers = [pss_kib(pid) for pid in worker_pids(shared_relay)]
    with capsys.disabled():
        print(f"\n[PSS: supervisor {supervisor} KiB, workers {workers} KiB]")
    assert supervisor < 60_000
    assert max(workers) < 40_000


def pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise AssertionError("no Pss")


def test_supervisor_hangup_reads_the_keys_again(tmp_path: Path) -> None:
    with RelayProcess(tmp_path, workers=1) as relay:
        assert relay.process is not None
        keys = UfragKeys.load(tmp_path / "ufrag.keys").rotated(())
        keys.save(tmp_path / "ufrag.keys")
        relay.process.send_signal(signal.SIGHUP)
        wait_until(lambda: relay.status().keys == keys.fingerprints(), "the new keys")
        (tmp_path / "ufrag.keys").write_text("rubbish")
        relay.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "the keys stay as they are" in relay.text(), "the complaint")
        pid = relay.worker_pid(0)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(pid)
        wait_until(lambda: relay.worker(0).pid not in (None, pid), "the successor")
        assert relay.status().keys == keys.fingerprints()
