"""The forwarding comparison's own parts: clients, floor and worker carry packets, the tables say what was measured."""

import os
import shutil
import socket
from pathlib import Path

import pytest

from bench.forward.__main__ import paced, saturated
from bench.forward.build import build_c, build_extension, build_go
from bench.forward.contenders import Blaster, start_program, start_worker
from bench.forward.figures import draw, tell
from bench.forward.packages import start_coturn, start_rtpengine
from tests.daemons import free_port

CLIENTS = 20


@pytest.fixture(scope="module")
def blaster(tmp_path_factory: pytest.TempPathFactory) -> Blaster:
    program = build_c("blast", tmp_path_factory.mktemp("blast"))
    return Blaster(program, 4, CLIENTS, 160, max(os.sched_getaffinity(0)))


def test_forward_floor_and_worker_send_every_packet_back(blaster: Blaster, tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    port = free_port(2)
    floor = start_program("floor", [str(build_c("echo", tmp_path)), str(port), "64", "4"], port, cpu)
    clients = [blaster.aim(port), blaster.aim(1)]
    turner = build_extension(Path("bench/forward/turner.pyx"), tmp_path)
    worker = start_worker(turner, blaster, clients[1].port, cpu, cpu)
    clients[1].ask(f"aim {worker.port}")
    try:
        for contender, aimed in zip((floor, worker), clients, strict=True):
            slow, full = paced(400, contender, aimed), saturated(contender, aimed)
            assert slow["lost"] == full["lost"] == 0
            assert slow[""] > 0
            assert slow["p99"] >= slow["p50"] > 0
            assert full[""] < 1000
    finally:
        for contender, aimed in zip((floor, worker), clients, strict=True):
            aimed.close()
            contender.end()


@pytest.fixture(scope="module")
def go_forwarders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        program = build_go(tmp_path_factory.mktemp("go"))
    except SystemExit as refused:  # without a network, unless its modules are there already
        pytest.skip(f"the Go forwarders could not be built: {str(refused)[-300:]}")
    if program is None:
        pytest.skip("they are written in Go, and there is no `go` here")
    return program


@pytest.mark.system
@pytest.mark.parametrize(
    ("kind", "address"),
    # The single one does not ask for the address, which is in its favour: it would answer from another than 127.0.0.2.
    [("batch", "127.0.0.1"), ("batch", "127.0.0.2"), ("batch", "::1"), ("single", "127.0.0.1"), ("single", "::1")],
)
def test_forward_go_sends_every_packet_back_from_where_it_came(go_forwarders: Path, kind: str, address: str) -> None:
    port = free_port(socket.SOCK_DGRAM)
    command = [str(go_forwarders), kind, str(port), "6" if ":" in address else "4"]
    contender = start_program(kind, command, port, min(os.sched_getaffinity(0)))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            packets = [bytes([number]) * (20 + number) for number in range(100)]
            for packet in packets:
                client.sendto(packet, (address, port))
            answers = [client.recvfrom(2048) for _ in packets]
        assert sorted(data for data, _ in answers) == packets
        assert {source[:2] for _, source in answers} == {(address, port)}
    finally:
        contender.end()


@pytest.mark.system
@pytest.mark.parametrize(("program", "start"), [("turnserver", start_coturn), ("rtpengine", start_rtpengine)])
def test_forward_packages_relay_for_every_client(blaster: Blaster, program: str, start: object) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    contender, aimed = start(blaster, min(os.sched_getaffinity(0)))  # type: ignore[operator]
    try:
        assert paced(400, contender, aimed)["lost"] == 0
    finally:
        aimed.close()
        contender.end()


SAMPLES = {
    "floor": [{"": 10.0, "lost": 0.0, "p50": 90.0, "p99": 900.0, "sleeps": 0.5}] * 3,
    "ringline worker": [{"": 15.0, "turner": 5.0, "lost": 0.25, "p50": 180.0, "p99": 990.0, "sleeps": 1.0}] * 3,
}


def test_forward_table_has_ratios_sums_latency_and_loss(capsys: pytest.CaptureFixture[str]) -> None:
    tell("2000 packets/s", SAMPLES)
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:4] == ["ringline", "worker", "15.00", "20.00"]
    assert row[4:6] == ["1.50", "(1.50-1.50)"]
    assert row[-2:] == ["lost", "25.00%"]


def test_forward_plot_is_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `load` draws pictures")
    draw({4: {"2000 packets/s": SAMPLES, "saturated": SAMPLES}}, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
