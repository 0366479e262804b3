"""Who may speak on the control socket, and what a conversation has to start with."""

import contextlib
import os
import socket
import tempfile
from pathlib import Path

import pytest

from relayd.admission import Admission, UnknownPeer
from shm import attach
from tests.relayd.fake_transceiverd import FakeTransceiverd, say_hello
from tests.relayd.relay_process import DEADLINE_SECONDS, RelayProcess, wait_until
from tests.shm.processes import fork, reap


def connect(relay: RelayProcess) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(DEADLINE_SECONDS)
    sock.connect(str(relay.directory / "relayd.sock"))
    return sock


def events(relay: RelayProcess, name: str) -> int:
    return relay.status().control.get(name, 0)


def is_over(sock: socket.socket) -> bool:
    """Whether relayd has closed the connection."""
    try:
        attach.receive(sock)
    except (EOFError, ConnectionError):
        return True
    return False


def test_control_welcome_says_what_transceiverd_must_know(shared_relay: RelayProcess) -> None:
    sock, welcome = say_hello(shared_relay.directory, "operator")
    status = shared_relay.status()
    assert isinstance(welcome, attach.Welcome)
    assert welcome.layout == 1
    assert welcome.workers == 2
    assert welcome.worker_pids == [worker.pid for worker in status.workers]
    assert welcome.machine == 0
    assert welcome.port == status.port
    assert welcome.key_ids == status.keys
    assert len(welcome.key_ids) == 1
    sock.close()


@pytest.mark.parametrize("role", ["transceiverd", "operator"])
def test_control_layout_without_a_common_one_is_refused_with_both_named(shared_relay: RelayProcess, role: str) -> None:
    before = events(shared_relay, "layouts refused")
    sock, refused = say_hello(shared_relay.directory, role, layouts=(7, 8))
    assert isinstance(refused, attach.Refused)
    assert (refused.found, refused.allowed) == ("7 and 8", "1")
    assert is_over(sock)
    sock.close()
    assert events(shared_relay, "layouts refused") == before + 1
    assert shared_relay.status().transceiverd is None


def test_control_highest_common_layout_is_chosen(shared_relay: RelayProcess) -> None:
    sock, welcome = say_hello(shared_relay.directory, "operator", layouts=(0, 1, 2))
    assert isinstance(welcome, attach.Welcome)
    assert welcome.layout == 1
    sock.close()


def test_control_second_transceiverd_is_refused_and_told_who_is_there(
    shared_relay: RelayProcess, fake: FakeTransceiverd
) -> None:
    sock, refused = say_hello(shared_relay.directory)
    assert refused == attach.Refused("another transceiverd is attached", f"process {os.getpid()}", "one at a time")
    assert is_over(sock)
    sock.close()
    assert len(shared_relay.status().lanes) == len(fake.ends)


def test_control_next_transceiverd_is_welcome_as_soon_as_the_first_is_gone(shared_relay: RelayProcess) -> None:
    """Again and again: the end of the one and the Hello of the other may reach relayd in one turn of its loop."""
    for _ in range(20):
        sock, welcome = say_hello(shared_relay.directory)
        assert isinstance(welcome, attach.Welcome)
        sock.close()


def test_control_operators_are_welcome_beside_transceiverd(shared_relay: RelayProcess, fake: FakeTransceiverd) -> None:
    del fake
    socks = [say_hello(shared_relay.directory, "operator") for _ in range(4)]
    assert all(isinstance(welcome, attach.Welcome) for _, welcome in socks)
    for sock, _ in socks:
        sock.close()


def test_control_too_many_connections_are_refused(shared_relay: RelayProcess) -> None:
    socks = [say_hello(shared_relay.directory, "operator") for _ in range(33)]
    refused = [answer for _, answer in socks if isinstance(answer, attach.Refused)]
    for sock, _ in socks:
        sock.close()
    assert refused
    assert refused[0].reason == "too many connections"
    assert refused[0].allowed == "32 ([relay] connections)"
    wait_until(lambda: isinstance(say_and_close(shared_relay), attach.Welcome), "room again")


def say_and_close(relay: RelayProcess) -> attach.AnyMessage:
    sock, answer = say_hello(relay.directory, "operator")
    sock.close()
    return answer


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"{}",
        b'{"type":"nonsense"}',
        b'{"type":"hello"}',
        b"\xff" * 1000,
        b"[" * 20000,
        b'{"type":"hello","role":"x"}',
    ],
)
def test_control_rubbish_ends_its_own_connection_and_no_other(
    shared_relay: RelayProcess, fake: FakeTransceiverd, data: bytes
) -> None:
    before = events(shared_relay, "malformed messages")
    sock = connect(shared_relay)
    sock.send(data)
    refused, _ = attach.receive(sock)
    assert isinstance(refused, attach.Refused)
    assert refused.reason == "malformed message"
    assert is_over(sock)
    sock.close()
    assert events(shared_relay, "malformed messages") == before + 1
    assert isinstance(fake.ask(attach.Ready(1)), attach.Accepted)


@pytest.mark.parametrize(
    "message",
    [attach.StatusRequest(), attach.Ready(1), attach.Withdraw(0), attach.Accepted("x"), attach.ConfirmKey(0, "")],
)
def test_control_hello_must_come_first(shared_relay: RelayProcess, message: attach.AnyMessage) -> None:
    sock = connect(shared_relay)
    attach.send(sock, message)
    refused, _ = attach.receive(sock)
    assert isinstance(refused, attach.Refused)
    assert refused.reason == "message out of turn"
    assert refused.allowed == "Hello"
    assert is_over(sock)
    sock.close()


@pytest.mark.parametrize(
    "message", [attach.Ready(1), attach.Withdraw(0), attach.ConfirmKey(0, ""), attach.Incarnation(0, 1)]
)
def test_control_operator_may_only_look(
    shared_relay: RelayProcess, fake: FakeTransceiverd, message: attach.AnyMessage
) -> None:
    sock, _ = say_hello(shared_relay.directory, "operator")
    attach.send(sock, message)
    refused, _ = attach.receive(sock)
    assert isinstance(refused, attach.Refused)
    assert refused.reason == "message out of turn"
    sock.close()
    assert len(shared_relay.status().lanes) == len(fake.ends)


def test_control_peer_that_does_not_read_is_let_go(shared_relay: RelayProcess, fake: FakeTransceiverd) -> None:
    """Its answers pile up to a bound; meanwhile everybody else is served."""
    before = events(shared_relay, "slow peers")
    sock, _ = say_hello(shared_relay.directory, "operator")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            attach.send(sock, attach.StatusRequest())
    sock.close()
    assert events(shared_relay, "slow peers") == before + 1
    assert isinstance(fake.ask(attach.Ready(1)), attach.Accepted)


def test_control_socket_is_for_owner_and_group(shared_relay: RelayProcess) -> None:
    assert (shared_relay.directory / "relayd.sock").stat().st_mode & 0o777 == 0o660


def test_admission_lets_in_root_ourselves_and_whom_the_configuration_names() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        admission = Admission.of(["4711"], "")
        for uid in (0, os.geteuid(), 4711):
            assert admission.refuses(left, attach.Credentials(1, uid, uid)) is None
        assert "uid 4712" in (admission.refuses(left, attach.Credentials(1, 4712, 4712)) or "")


def test_admission_lets_in_the_group_by_primary_or_supplementary_membership() -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        primary = Admission(frozenset(), 4711)
        assert primary.refuses(left, attach.Credentials(1, 5000, 4711)) is None
        assert primary.refuses(left, attach.Credentials(1, 5000, 5000)) is not None
        for group in os.getgroups():  # the peer of this pair is this process
            assert Admission(frozenset(), group).refuses(left, attach.Credentials(1, 5000, 5000)) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a directory to a group")
def test_admission_without_a_group_lets_in_that_of_a_directory_which_root_made_for_it(tmp_path: Path) -> None:
    """As installed: two users, one group, no option. A directory of relayd's own gives nothing away."""
    os.chown(tmp_path, 0, 4711)
    tmp_path.chmod(0o2770)
    assert Admission.of([], "", tmp_path).gid == 4711
    tmp_path.chmod(0o770)
    assert Admission.of([], "", tmp_path).gid is None
    os.chown(tmp_path, 4712, 4711)
    tmp_path.chmod(0o2770)
    assert Admission.of([], "", tmp_path).gid is None


@pytest.mark.parametrize(("peers", "group"), [(["no-such-user"], ""), ([], "no-such-group")])
def test_admission_unknown_names_are_refused_at_the_start(peers: list[str], group: str) -> None:
    with pytest.raises(UnknownPeer, match="no-such-"):
        Admission.of(peers, group)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to connect as another user")
def test_control_other_user_is_refused_even_where_the_mode_lets_him_in() -> None:
    """Not in tmp_path: what is above it lets nobody else through."""
    with tempfile.TemporaryDirectory() as name, RelayProcess(Path(name), workers=1) as relay:
        relay.directory.chmod(0o755)
        (relay.directory / "relayd.sock").chmod(0o666)
        assert reap(fork(lambda: _try_as_other_user(relay))) == 0
        assert relay.status().control["connections refused"] == 1


def _try_as_other_user(relay: RelayProcess) -> None:
    os.setgroups([])
    os.setresgid(4711, 4711, 4711)
    os.setresuid(4711, 4711, 4711)
    _, answer = say_hello(relay.directory)
    assert isinstance(answer, attach.Refused)
    assert "uid 4711" in answer.found
