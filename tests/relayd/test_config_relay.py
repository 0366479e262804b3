"""The `[relay]` section: defaults that run, errors that name the key, and a place for the socket without root."""

from pathlib import Path

import pytest

from relayd.config import Relay
from relayd.configuration import load_configuration
from relayd.main import main
from shm.daemon.config import ConfigurationError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ringline.toml"
    path.write_text(text)
    return path


def test_config_defaults_hold_without_a_file(tmp_path: Path) -> None:
    configuration = load_configuration(write(tmp_path, ""))
    assert configuration.relay == Relay()
    assert configuration.relay.port == 3478
    assert configuration.ringline.log_level == "info"
    assert configuration.ringline.machine == 0


def test_config_file_is_read(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '[ringline]\nruntime_directory = "/srv/ring"\nmachine = 7\n[relay]\nport = 0\ncpus = [1, 0]\npeers = ["0"]\n'
        "[signalling]\nanything = 1\n",
    )
    configuration = load_configuration(path)
    assert configuration.runtime_directory == Path("/srv/ring")
    assert configuration.ringline.machine == 7
    assert configuration.relay.cpus == (1, 0)
    assert configuration.relay.peers == ("0",)


def test_config_command_line_goes_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '[ringline]\nruntime_directory = "/srv/ring"\n')
    assert load_configuration(path, Path("/elsewhere")).runtime_directory == Path("/elsewhere")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", ["relay.prot", "did you mean `relay.port`"]),
        ("port = 70000", ["relay.port", "70000", "65535"]),
        ('port = "3478"', ["relay.port", "an integer"]),
        ('bind4 = "::"', ["bind4", "'::'", "IPv4"]),
        ('bind6 = "localhost"', ["bind6", "'localhost'", "IPv6"]),
        ('bind4 = ""\nbind6 = ""', ["bind4 and bind6 are both empty"]),
        ("cpus = [1, 1]", ["cpus", "[1, 1]", "twice"]),
        ("stuck_after_ms = 5", ["relay.stuck_after_ms", "5", "100"]),
    ],
)
def test_config_errors_name_file_key_found_and_allowed(tmp_path: Path, text: str, words: list[str]) -> None:
    path = write(tmp_path, f"[relay]\n{text}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_config_check_says_ok_or_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check-config", "--config", str(write(tmp_path, "[relay]\nport = 0\n"))]) == 0
    assert capsys.readouterr().out == "ok\n"
    assert main(["--check-config", "--config", str(write(tmp_path, "[relay]\nprot = 0\n"))]) == 78
    assert "did you mean" in capsys.readouterr().err
    assert main(["--check-config", "--config", str(write(tmp_path, '[relay]\ngroup = "no-such-group"\n'))]) == 78
    assert "no-such-group" in capsys.readouterr().err
    assert main(["--check-config", "--config", str(tmp_path / "missing.toml")]) == 78
    assert "missing.toml" in capsys.readouterr().err


def test_config_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for words in ("relayd is Ringline's relay", "--check-config", "relayctl status", "exit status", "SIGHUP"):
        assert words in text
