"""Tokens and certificates from files, systemd's credentials too: replaced by a reload, refused whole when bad."""

import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from shm.daemon.config import ConfigurationError
from shm.daemon.credentials import credential_path
from shm.daemon.orders import Order, Report, give_order
from tests.daemons import Server, free_port, running, socket, wait_for
from transceiverd.settings import load_settings
from transceiverd.signalling.selfsigned import make_certificate

FIRST, SECOND = "first-token-of-16-characters", "second-token-of-16-characters"


def reload(server: Server) -> Report:
    return give_order(server.directory, "transceiverd", Order("reload"), 30)


def asks(server: Server, token: str) -> int:
    headers = {"Content-Type": "application/sdp", "Authorization": f"Bearer {token}"}
    try:
        request = urllib.request.Request(server.calls_url, b"rubbish", headers)
        with urllib.request.urlopen(request, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_secrets_tokens_come_from_a_credential_and_are_replaced_by_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens").write_text(f"# of the web shop\n{FIRST}\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    server = Server()
    text = server.config.read_text()
    server.config.write_text(text.replace("[signalling]", '[signalling]\nauth = "tokens"\ntokens_file = "tokens"'))
    try:
        server.start("relayd")
        server.start("transceiverd")
        server.await_ready()
        assert (asks(server, FIRST), asks(server, SECOND)) == (400, 401)
        (tmp_path / "tokens").write_text(f"{SECOND}\n")
        done = reload(server)
        assert done.done, done.text
        # A process that does not answer in time is named; it takes its settings all the same.
        assert done.text.startswith("changed: signalling.tokens")
        wait_for(lambda: (asks(server, FIRST), asks(server, SECOND)) == (401, 400), "the new token instead of the old")
        (tmp_path / "tokens").write_text("short\n")
        refused = reload(server)
        assert not refused.done
        assert f"{server.config}:" in refused.text
        assert "tokens:1 is no token" in refused.text
        assert "short" not in refused.text
        assert asks(server, SECOND) == 400
        assert SECOND not in server.log.read_text()
    finally:
        server.close()


@pytest.mark.parametrize(
    ("lines", "key", "words"),
    [
        ('auth = "tokens"\ntokens_file = "absent"', "signalling.tokens_file", "absent cannot be read"),
        ('auth = "tokens"\ntokens_file = "empty"', "signalling.tokens_file", "has no token in it"),
        (
            'tls_port = 8443\ntls_certificate = "absent"\ntls_key = "empty"',
            "signalling.tls_certificate",
            "cannot be read",
        ),
        (
            'tls_port = 8443\ntls_certificate = "empty"\ntls_key = "empty"',
            "signalling.tls_certificate",
            "cannot be used",
        ),
    ],
)
def test_secrets_files_that_cannot_be_used_are_refused_with_file_line_and_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, key: str, words: str
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "empty").write_text("# nothing\n")
    path = tmp_path / "ringline.toml"
    path.write_text(f"[signalling]\n{lines}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    at = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if line.startswith(key.partition(".")[2]))
    assert (caught.value.key, caught.value.line, caught.value.file) == (key, at, str(path))
    assert words in str(caught.value)


def test_secrets_relative_names_are_the_credentials_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert credential_path("tokens") == tmp_path / "tokens"
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "tokens").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "given"))
    assert credential_path("tokens") == tmp_path / "given" / "tokens"
    assert credential_path("other") == tmp_path / "other"
    assert credential_path("/etc/tokens") == Path("/etc/tokens")


def test_secrets_listeners_that_need_the_same_port_are_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "ringline.toml"
    path.write_text("[signalling]\nport = 9478\n[operator]\n\nport = 9478\n")
    done = subprocess.run([sys.executable, "-m", "transceiverd.main", "--check-config", "--config", str(path)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 78
    assert f"{path}:5: operator.port: signalling.port has the same address and port; found 9478" in done.stderr


def served(port: int) -> bytes:
    """The certificate that a new connection is shown, and whether an old one still works is the test's to see."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=5))


def test_secrets_certificate_is_replaced_by_a_reload_and_connections_stay() -> None:
    server = Server()
    port = free_port(socket.SOCK_STREAM)
    chain, key = server.directory / "chain.pem", server.directory / "key.pem"

    def renew() -> None:
        made = make_certificate([])
        chain.write_bytes(made.certificate)
        key.write_bytes(made.key)

    renew()
    text = server.config.read_text()
    tls = f'tls_port = {port}\ntls_certificate = "{chain}"\ntls_key = "{key}"'
    server.config.write_text(text.replace("[signalling]", f"[signalling]\n{tls}"))
    try:
        server.start("relayd")
        server.start("transceiverd")
        server.await_ready()
        first = served(port)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", port)) as plain, trusting.wrap_socket(plain) as standing:
            renew()
            assert reload(server).done
            second = served(port)
            assert second != first
            assert ssl.PEM_cert_to_DER_cert(chain.read_text()) == second
            standing.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert standing.recv(4096).startswith(b"HTTP/1.1 200")
        chain.write_bytes(make_certificate([]).certificate)  # not of this key
        refused = reload(server)
        assert not refused.done
        assert "signalling.tls_certificate" in refused.text
        assert served(port) == second
    finally:
        server.close()


def test_cpus_are_taken_by_control_and_media_threads() -> None:
    cpus = sorted(os.sched_getaffinity(0))
    control, media = cpus[0], cpus[-1]
    server = Server()
    text = server.config.read_text()
    wanted = f"cpus = [{control}, 4000]\nmedia_cpus = [{media}]"
    server.config.write_text(text.replace("[transceiver]", f"[transceiver]\n{wanted}"))
    try:
        server.start("relayd")
        server.start("transceiverd")
        server.await_ready()
        pid = server.pids("transceiverd")["transceiver0"]
        placed = {frozenset(os.sched_getaffinity(int(task.name))) for task in Path(f"/proc/{pid}/task").iterdir()}
        assert placed == {frozenset({control}), frozenset({media})}
        assert os.sched_getaffinity(pid) == {control}
        assert f"[transceiver] cpus: not usable here: [4000]; usable are {cpus}" in server.log.read_text()
    finally:
        server.close()


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def test_secrets_proxy_is_believed_about_client_and_host_only_where_it_is_named() -> None:
    def status(server: Server, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{server.url}/healthz", headers=named)) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            error.close()
            return error.code

    with running() as server:
        assert status(server) == 200
        assert status(server, X_Forwarded_Host="calls.example") == 200  # nobody's word: our own Host counts
        text = server.config.read_text()
        server.config.write_text(text.replace("[signalling]", '[signalling]\nproxies = ["127.0.0.1"]'))
        assert reload(server).done
        assert status(server, X_Forwarded_Host="calls.example") == 421
        text = server.config.read_text()
        server.config.write_text(text.replace("[signalling]", '[signalling]\nhosts = ["calls.example"]'))
        assert reload(server).done
        assert status(server, X_Forwarded_Host="calls.example") == 200
        assert status(server, X_Forwarded_Host="other.example") == 421
