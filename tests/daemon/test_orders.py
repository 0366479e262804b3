"""Orders over a daemon's socket: each gets one report, now or later, and whatever comes in harms nobody else."""

import contextlib
import os
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from shm.daemon import orders
from shm.daemon.loop import EventLoop
from shm.daemon.orders import NoDaemon, NotAnswering, Order, OrderDesk, Reply, Report, give_order, orders_path


class Desk:
    """A desk in a thread of its own, with a few handlers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.late: list[Reply] = []
        self.loop = EventLoop()
        handlers = {"echo": self._echo, "later": self._later, "fault": self._fault}
        self.desk = OrderDesk(self.loop, directory, "thing", handlers)
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def _echo(self, arguments: Mapping[str, str], reply: Reply) -> None:
        reply(Report(True, "done", {"arguments": dict(arguments)}))

    def _later(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        self.loop.call_after(50_000_000, lambda: reply(Report(True, "at last")))

    def _fault(self, _arguments: Mapping[str, str], _reply: Reply) -> None:
        raise RuntimeError("a bug")

    def order(self, name: str, **arguments: str) -> Report:
        return give_order(self.directory, "thing", Order(name, arguments), 10)

    def close(self) -> None:
        self.loop.call_after(0, self.loop.stop)
        os.write(self.loop._wakeup_write, b"\0")
        self.thread.join(10)
        self.desk.close()
        self.loop.close()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def raw(desk: Desk) -> socket.socket:
    end = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end.connect(str(orders_path(desk.directory, "thing")))  # waits where a full backlog would refuse
    return end


def test_orders_are_reported_on_now_or_later(desk: Desk) -> None:
    assert desk.order("echo", what="x") == Report(True, "done", {"arguments": {"what": "x"}})
    assert desk.order("later") == Report(True, "at last")


def test_orders_that_are_none_are_refused_with_what_is_known(desk: Desk) -> None:
    assert desk.order("dance") == Report(False, "unknown order 'dance'; known are echo, fault, later")
    with raw(desk) as end:
        end.send(b"\xff rubbish")
        assert b"not an order" in end.recv(4096)
    assert desk.order("echo").done


def test_orders_fault_of_a_handler_is_told_and_the_desk_goes_on(desk: Desk) -> None:
    report = desk.order("fault")
    assert not report.done
    assert "RuntimeError" in report.text
    assert desk.order("echo").done


def test_orders_peer_that_hangs_up_before_its_report_harms_nobody(desk: Desk) -> None:
    for _ in range(40):  # more than may be connected at once
        with raw(desk) as end:
            end.send(b'{"name": "later"}')
    assert desk.order("later").done


def test_orders_socket_is_for_root_and_the_daemons_user_only(desk: Desk) -> None:
    found = orders_path(desk.directory, "thing").stat()
    assert stat.S_IMODE(found.st_mode) == 0o600
    assert found.st_uid == os.geteuid()


def test_orders_to_nobody_say_where_and_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoDaemon, match=r"no thing at .*thing\.orders \(No such file or directory\): is it running"):
        give_order(tmp_path, "thing", Order("echo"), 1)
    made = Desk(tmp_path)
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_orders_to_a_daemon_that_accepts_nobody_say_so_in_words(tmp_path: Path) -> None:
    """The story: `relayctl` said "Resource temporarily unavailable: is it running", of a daemon that stood still."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(str(orders_path(tmp_path, "thing")))
        listening.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as first:
            first.connect(str(orders_path(tmp_path, "thing")))  # all that may wait
            with pytest.raises(NoDaemon, match=r"thing at .*thing\.orders did not take the order within 0\.05 s"):
                give_order(tmp_path, "thing", Order("echo"), 0.05)


@contextlib.contextmanager
def impostor(directory: Path, answer: bytes | None) -> Iterator[None]:
    """Listens where the desk would, and answers each connection so; None: never."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(str(orders_path(directory, "thing")))
    listening.listen(8)

    def serve() -> None:
        while True:
            end, _ = listening.accept()
            with end:
                if not end.recv(4096):
                    return
                end.send(answer or b"")

    thread = threading.Thread(target=serve)
    if answer is not None:
        thread.start()
    try:
        yield
        if answer is not None:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as last:
                last.connect(str(orders_path(directory, "thing")))
            thread.join(10)
    finally:
        listening.close()


def test_orders_to_one_that_is_silent_end_long_before_the_patience_with_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story: `relayctl reload` waited 30 s for each daemon, and twice, before it said that nobody was there."""
    monkeypatch.setattr(orders, "HELLO_SECONDS", 0.05)
    said = rf"^process {os.getpid()} \(.*\) at .*/thing\.orders gave no answer within 0\.05 s: .*; if not, name another"
    with impostor(tmp_path, None), pytest.raises(NotAnswering, match=said):
        give_order(tmp_path, "thing", Order("echo"), 3600)


def test_orders_that_take_long_are_waited_for_longer_than_a_hello(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "HELLO_SECONDS", 0.02)
    assert desk.order("later").text == "at last"  # after 50 ms


@pytest.mark.parametrize("answer", [b"\x93\x01no JSON", b"[]", b'"\xff"'])
def test_orders_to_one_that_answers_rubbish_say_who_it_is(tmp_path: Path, answer: bytes) -> None:
    """The story: relayctl ended with a traceback of its decoder."""
    with (
        impostor(tmp_path, answer),
        pytest.raises(NoDaemon, match=rf"^process {os.getpid()} .* is no thing, from what"),
    ):
        give_order(tmp_path, "thing", Order("echo"), 10)
