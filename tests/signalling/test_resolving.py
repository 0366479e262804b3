"""`--check-config` refuses an address that a start could not listen on; before, only the start did."""

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shm.daemon.config import ConfigurationError
from transceiverd.signalling.config import OperatorSection, SignallingSection
from transceiverd.signalling.resolving import check_addresses
from transceiverd.signalling.server import open_tcp

TOKENS = ["a-token-of-the-tests"]
LABEL_TOO_LONG = "a" * 64 + ".example"


@pytest.mark.parametrize("address", ["no-such-host.invalid", "127.0.0.1:8080", "[::1]", "300.1.1.1", LABEL_TOO_LONG])
def test_resolving_refuses_what_is_no_address(address: str) -> None:
    signalling = SignallingSection(listen=address, auth="none")
    with pytest.raises(ConfigurationError, match="cannot be resolved: ") as caught:
        check_addresses(signalling, OperatorSection(), file="x.toml")
    assert caught.value.key == "signalling.listen"
    assert caught.value.found == repr(address)
    with pytest.raises(ConfigurationError) as caught:
        check_addresses(SignallingSection(), OperatorSection(listen=address, tokens=TOKENS), file="x.toml")
    assert caught.value.key == "operator.listen"
    with pytest.raises(OSError):  # and a start ends with a reason, not with a fault of its own
        open_tcp(address, 0)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "203.0.113.7"])
def test_resolving_takes_addresses_that_are_not_here_too(address: str) -> None:
    """An interface may come up later; only a start can tell."""
    check_addresses(SignallingSection(listen=address, auth="none"), OperatorSection(), file="x.toml")


def test_resolving_does_not_ask_for_a_listener_that_is_switched_off() -> None:
    off = SignallingSection(listen="no-such-host.invalid", port=0, tls_listen="no-such-host.invalid")
    check_addresses(off, OperatorSection(listen="no-such-host.invalid", port=0), file="x.toml")


def test_resolving_waits_for_a_silent_name_server_so_long_only(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def silent(*_words: object, **_options: object) -> None:
        answered.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    try:
        with pytest.raises(ConfigurationError, match="no name server answered within"):
            check_addresses(SignallingSection(), OperatorSection(), file="x.toml", patience_seconds=0.01)
    finally:
        answered.set()


def test_resolving_is_part_of_check_config(tmp_path: Path) -> None:
    file = tmp_path / "ringline.toml"
    file.write_text('[signalling]\nauth = "none"\nlisten = "no-such-host.invalid"\n')
    command = [sys.executable, "-m", "transceiverd.main", "--config", str(file), "--check-config"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert f"{file}:3: signalling.listen: cannot be resolved: " in done.stderr
    assert "; found 'no-such-host.invalid'; allowed: an IPv4 or IPv6 address" in done.stderr
