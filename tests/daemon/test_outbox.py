"""Messages to a peer that does not read wait in order, up to a bound, and take their descriptors along."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from shm.daemon.loop import EventLoop
from shm.daemon.outbox import PEER_GONE, Outbox, PeerTooSlow
from tests.daemon.no_descriptors import descriptors_left

LIMIT = 8
LARGE = bytes(30_000)


class Pair:
    """An outbox, and the peer's end."""

    def __init__(self) -> None:
        self.loop = EventLoop()
        ours, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.readable = 0
        self.outbox = Outbox(ours, self.loop, LIMIT, self._note)

    def _note(self) -> None:
        self.readable += 1

    def fill(self) -> int:
        """Send until a message has to wait; gives how many were sent in all."""
        sent = 0
        while not len(self.outbox):
            self.outbox.send(sent.to_bytes(4, "big") + LARGE)
            sent += 1
        return sent

    def close(self) -> None:
        self.outbox.close()
        self.peer.close()
        self.loop.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.close()


def test_outbox_keeps_order_across_the_wait(pair: Pair) -> None:
    sent = pair.fill()
    for extra in range(LIMIT - 1):
        pair.outbox.send((sent + extra).to_bytes(4, "big"))
    got: list[int] = []
    while len(got) < sent + LIMIT - 1:
        pair.loop.turn(0)
        got.append(int.from_bytes(pair.peer.recv(65536)[:4], "big"))
    assert got == list(range(sent + LIMIT - 1))
    assert len(pair.outbox) == 0


def test_outbox_full_is_said_and_nothing_is_lost_before(pair: Pair) -> None:
    pair.fill()
    for _ in range(LIMIT - 1):
        pair.outbox.send(b"x")
    with pytest.raises(PeerTooSlow):
        pair.outbox.send(b"x")
    assert len(pair.outbox) == LIMIT


def test_outbox_waiting_message_keeps_its_descriptors(pair: Pair) -> None:
    """The sender may close his own at once; the message must not carry another file that got the number."""
    pair.fill()
    read_end, write_end = os.pipe()
    pair.outbox.send(b"with a descriptor", [write_end])
    os.close(write_end)
    fds: list[int] = []
    while not fds:
        pair.loop.turn(0)
        fds = socket.recv_fds(pair.peer, 65536, 1)[1]
    os.write(fds[0], b"through")
    assert os.read(read_end, 16) == b"through"
    os.close(read_end)
    os.close(fds[0])


def test_outbox_close_closes_waiting_descriptors() -> None:
    pair = Pair()
    pair.fill()
    read_end, write_end = os.pipe()
    pair.outbox.send(b"with a descriptor", [write_end])
    os.close(write_end)
    pair.close()
    assert os.read(read_end, 1) == b""  # no writer is left
    os.close(read_end)


def test_outbox_knows_whether_the_peer_has_read(pair: Pair) -> None:
    assert not pair.outbox.unread()
    pair.outbox.send(b"x")
    assert pair.outbox.unread()
    pair.peer.recv(16)
    assert not pair.outbox.unread()


def test_outbox_peer_gone_while_messages_wait_is_seen_as_readable(pair: Pair) -> None:
    pair.fill()
    pair.peer.close()
    pair.loop.turn(0)
    pair.loop.turn(0)
    assert pair.readable > 0


def test_outbox_peer_gone_is_an_error(pair: Pair) -> None:
    pair.peer.close()
    with pytest.raises(BrokenPipeError):
        pair.outbox.send(b"x")


def test_outbox_without_descriptors_keeps_none(pair: Pair) -> None:
    """What cannot wait with all that it carries does not wait, and leaves nothing open."""
    pair.fill()
    waiting, before = len(pair.outbox), os.listdir("/proc/self/fd")
    with descriptors_left(1), pytest.raises(OSError) as caught:
        pair.outbox.send(b"x", [0, 0, 0])
    assert caught.value.errno == errno.EMFILE
    assert caught.value.errno not in PEER_GONE
    assert len(pair.outbox) == waiting
    assert os.listdir("/proc/self/fd") == before
