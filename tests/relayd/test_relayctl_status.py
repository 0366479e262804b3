"""`relayctl status` shows what there is, says what is wrong, and ends with a status that scripts can use."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from relayd import relayctl
from relayd.status import (
    AttachedStatus,
    LaneStatus,
    Outcomes,
    OwnerCounters,
    Ring,
    Status,
    TransceiverStatus,
    WorkerStatus,
)
from relayd.status_check import complaints
from relayd.status_report import _fitted
from relayd.status_view import duration, render, size, sum_line
from shm.attach import MESSAGE_MAX
from shm.daemon.release import RELEASE
from tests.relayd.fake_transceiverd import Caller, FakeTransceiverd
from tests.relayd.relay_process import RelayProcess, wait_until


def good_status() -> Status:
    """Two workers and one transceiver, all well."""
    packets = Outcomes(1000, {"forwarded_rtp": 990, "dropped_no_flow": 10})
    workers = [
        WorkerStatus(
            index, 100 + index, index, 3700, 5.0, 2, 1, "was killed by SIGKILL", 3.2, 4, 65536, packets, packets
        )
        for index in range(2)
    ]
    rings = [Ring("media in", 1 << 20, 1 << 10, 0, 7, 7, 0, 0)]
    owner = OwnerCounters("transceiver 0 media", 5.0, {"calls": 42})
    return Status(
        release="1.2.3",
        pid=99,
        uptime_seconds=90061,
        runtime_directory="/run/ringline",
        port=3478,
        layouts=[1],
        keys={0: "0123456789abcdef"},
        workers=workers,
        transceiverd=AttachedStatus(77, 0, 60, 1),
        transceivers=[TransceiverStatus(0, 0xABC, 2, [owner])],
        lanes=[LaneStatus(0, 0, 0xABC, rings)],
        control={"malformed messages": 3},
    )


def shown(status: Status) -> str:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115 - rich needs some file
    with console.file:
        console.print(render(status))
        return console.export_text()


def run(relay: RelayProcess, *arguments: str) -> int:
    return relayctl.main(["--runtime-directory", str(relay.directory), "status", *arguments])


def test_relayctl_shows_everything() -> None:
    text = shown(good_status())
    for word in ("1.2.3", "UDP port 3478", "/run/ringline", "0123456789abcdef", "transceiverd pid 77", "1 d 1 h",
                 "101", "1 h 1 min", "2 (1 stuck)", "4/65536", "was killed by SIGKILL, replaced in 3.2 ms",
                 "forwarded_rtp", "99.00 %", "transceiver 0 media", "calls 42", "media in", "1 MiB",
                 "malformed messages 3", "packets: 2000 taken, 2000 booked: outcomes add up"):  # fmt: skip
        assert word in text, word


def test_relayctl_calls_a_peer_without_a_pid_by_where_it_is() -> None:
    """In two containers each daemon sees the other as pid 0."""
    text = shown(msgspec.structs.replace(good_status(), transceiverd=AttachedStatus(0, 3478, 60, 1)))
    assert "transceiverd pid of another container (uid 3478)" in text


def test_relayctl_says_when_outcomes_do_not_add_up() -> None:
    assert "7 missing: OUTCOMES DO NOT ADD UP" in sum_line("packets", Outcomes(10, {"forwarded_rtp": 3})).plain
    assert "-1 missing" in sum_line("packets", Outcomes(2, {"forwarded_rtp": 3})).plain
    assert "2 in hand: outcomes add up" in sum_line("packets", Outcomes(5, {"forwarded_rtp": 3}, 64)).plain


def test_relayctl_says_that_nobody_is_attached() -> None:
    status = good_status()
    status.transceiverd = None
    assert "no transceiverd is attached" in shown(status)


def test_relayctl_check_is_silent_when_all_is_well() -> None:
    assert complaints(good_status()) == []


def test_relayctl_check_names_each_fault() -> None:
    status = good_status()
    status.workers[0].pid = None
    status.workers[1].heartbeat_age_ms = 5000
    status.transceiverd = None
    status.lanes[0].rings[0].fill = 1 << 20
    status.workers[1].packets = Outcomes(10, {})
    text = "\n".join(complaints(status))
    for words in ("worker 0 does not run", "worker 1 (pid 101) last turned 5000 ms ago", "no transceiverd is attached",
                  "ring media in of transceiver 0, worker 0 is 100 % full", "10 missing"):  # fmt: skip
        assert words in text


def test_relayctl_report_fits_one_message_and_says_what_it_left_out() -> None:
    status = good_status()
    status.lanes = [status.lanes[0]] * 4096
    built = _fitted(status)
    assert len(msgspec.json.encode(built)) < MESSAGE_MAX
    assert built["omitted"] == ["lanes (4096)"]
    assert "left out: lanes (4096)" in shown(msgspec.convert(built, Status, str_keys=True))


def test_relayctl_reads_reports_of_other_releases() -> None:
    built = msgspec.to_builtins(good_status(), str_keys=True)
    built["from the future"] = 1
    del built["lanes"]
    built["transceivers"][0]["owners"][0]["also new"] = 2
    assert "1.2.3" in shown(msgspec.convert(built, Status, str_keys=True))


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.9, "41 s"), (182, "3 min 2 s"), (18600, "5 h 10 min"), (187200, "2 d 4 h")]
)
def test_relayctl_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_relayctl_sizes() -> None:
    assert [size(count) for count in (512, 1024, 1 << 20)] == ["512 B", "1 KiB", "1 MiB"]


def test_relayctl_status_of_a_running_system(
    shared_relay: RelayProcess, fake: FakeTransceiverd, capsys: pytest.CaptureFixture[str]
) -> None:
    caller = Caller(shared_relay.status().port, slot=9)
    caller.check(fake.ufrag(9))
    caller.speak()
    caller.hear(1)
    caller.close()
    assert run(shared_relay) == 0
    text = capsys.readouterr().out
    assert f"transceiverd pid {os.getpid()}" in text
    for words in ("Workers", "Rings", "handshake in", "forwarded_stun", "out_sent_media", "outcomes add up"):
        assert words in text
    assert "DO NOT" not in text


def test_relayctl_json_is_one_object(shared_relay: RelayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shared_relay, "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["pid"] == shared_relay.status().pid
    assert len(status["workers"]) == 2


def test_relayctl_check_of_a_running_system(shared_relay: RelayProcess, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeTransceiverd(shared_relay.directory):
        wait_until(lambda: run(shared_relay, "--check") == 0, "all to be well")
    assert run(shared_relay, "--check") == relayctl.EXIT_COMPLAINT
    assert "no transceiverd is attached" in capsys.readouterr().out


def test_relayctl_watch_goes_on_until_interrupted(shared_relay: RelayProcess) -> None:
    command = [sys.executable, "-m", "relayd.relayctl", "--runtime-directory", str(shared_relay.directory)]
    with subprocess.Popen([*command, "status", "--json", "--watch", "0.1"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        times = [json.loads(process.stdout.readline())["monotonic_ns"] for _ in range(3)]
        assert times == sorted(set(times))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)  # whatever it had still to say: nobody ends while his reader does not read
        assert process.returncode == 0


def test_relayctl_without_relayd_names_the_socket_and_the_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert relayctl.main(["--runtime-directory", str(tmp_path), "status"]) == relayctl.EXIT_UNREACHABLE
    error = capsys.readouterr().err
    assert f"no relayd at {tmp_path}/relayd.sock" in error
    assert "--runtime-directory" in error


def test_relayctl_dead_socket_file_is_no_relayd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(tmp_path / "relayd.sock"))
    assert relayctl.main(["--runtime-directory", str(tmp_path), "status"]) == relayctl.EXIT_UNREACHABLE
    assert "Connection refused" in capsys.readouterr().err


def test_relayctl_stopped_relayd_does_not_hang_its_operator(
    shared_relay: RelayProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relayd.relay_client.ANSWER_PATIENCE_SECONDS", 0.2)
    assert shared_relay.process is not None
    shared_relay.process.send_signal(signal.SIGSTOP)
    try:
        assert run(shared_relay) == relayctl.EXIT_UNREACHABLE
    finally:
        shared_relay.process.send_signal(signal.SIGCONT)
    assert "did not answer" in capsys.readouterr().err


def test_relayctl_wrong_configuration_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ringline.toml"
    path.write_text("[relay]\nprot = 1\n")
    assert relayctl.main(["--config", str(path), "status"]) == relayctl.EXIT_USAGE
    assert "relay.prot" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["status", "--watch", "0"], ["status", "--json", "--check"], ["nonsense"], ["drain", "--deadline", "soon"],
        ["upgrade", "--deadline", ""], ["keys"], ["run", "--http-port", "0"], ["run", "--http-port", "70000"],
        ["run", "--workers", "-1"],
    ],
)  # fmt: skip
def test_relayctl_wrong_command_line_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        relayctl.main(arguments)
    assert caught.value.code == relayctl.EXIT_USAGE
    assert "relayctl" in capsys.readouterr().err


def test_relayctl_refusals_are_in_the_words_of_who_typed_them(capsys: pytest.CaptureFixture[str]) -> None:
    """They used to name our functions and variables: "invalid _seconds value", "required: what"."""
    for arguments, words in (
        (["status", "--watch", "often"], "often: allowed are 0.1 to 3600 seconds"),
        (["keys"], "required: {rotate,show}"),
        (["drain", "--deadline", "soon"], "'soon': allowed are seconds, as a number"),
        (["run", "--udp-port", "x"], "x: allowed are 1 to 65535"),
    ):
        with pytest.raises(SystemExit):
            relayctl.main(arguments)
        assert words in capsys.readouterr().err


def test_relayctl_on_a_full_disk_says_so(shared_relay: RelayProcess) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "relayd.relayctl", "--runtime-directory", str(shared_relay.directory), "status"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("relayctl: ")
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_relayctl_path_that_is_too_long_is_said_to_be_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An order said "(None)"."""
    place = str(tmp_path / ("x" * 120))
    for words in (["status"], ["reload", "relayd"]):
        assert relayctl.main(["--runtime-directory", place, *words]) == relayctl.EXIT_UNREACHABLE
        assert "path too long" in capsys.readouterr().err


def test_relayctl_bad_file_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reload of both daemons printed it for each of them."""
    assert relayctl.main(["--config", str(tmp_path / "missing.toml"), "reload"]) == relayctl.EXIT_USAGE
    assert capsys.readouterr().err.count("missing.toml: cannot be read") == 1


def test_relayctl_version_is_that_of_every_process(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        relayctl.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.strip() == RELEASE


def test_relayctl_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        relayctl.main(["--help"])
    text = capsys.readouterr().out
    assert "relayctl status --watch 1" in text
    assert "exit status" in text


class _Entry:
    """Stands in for an installed distribution's entry point."""

    name, value = "broken", "nowhere:register"

    def load(self) -> object:
        raise ImportError("no module named nowhere")


class _GoodEntry(_Entry):
    name, value = "hello", "somewhere:register"

    def load(self) -> object:
        def register(subparsers: object) -> None:
            parser = subparsers.add_parser("hello")  # type: ignore[attr-defined]
            parser.set_defaults(run=lambda _options: 42)

        return register


def test_relayctl_subcommands_join_by_entry_point_and_a_broken_one_takes_nothing_away(
    shared_relay: RelayProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(relayctl, "entry_points", lambda group: [_Entry(), _GoodEntry()] if group else [])
    assert relayctl.main(["hello"]) == 42
    assert run(shared_relay, "--json") == 0
    assert "the subcommand broken (nowhere:register) is left out: no module named nowhere" in capsys.readouterr().err
