"""The control socket's messages: each arrives as sent, with its descriptors; anything else is refused and closed."""

import os
import socket
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm import attach
from shm.attach import Hello, MalformedMessage, OfferCounters, OfferLane
from shm.errors import LayoutRefused
from shm.lane import Lane

Pair = tuple[socket.socket, socket.socket]

MESSAGES: list[attach.AnyMessage] = [
    Hello(role="transceiverd", layouts=[1], pid=7),
    attach.Welcome(layout=1, workers=2, worker_pids=[8, 9], machine=65_535, key_ids={0: "ab", 3: "cd"}),
    attach.Refused(reason="layout majors", found="1", allowed="2 and 3"),
    attach.Withdraw(transceiver=255),
    attach.Incarnation(transceiver=0, incarnation=2**64 - 1),
    attach.ConfirmKey(key_id=3, fingerprint="ef"),
    attach.KeyConfirmed(key_id=3),
    attach.Accepted(what="lane 0-1"),
    attach.Ready(transceivers=2),
    attach.StatusRequest(),
    attach.StatusReply(status={"workers": [{"pid": 1, "counters": {"received": 2**64 - 1}}]}),
    attach.WorkerReplaced(worker=1, pid=99),
]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, right


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_attach_message_arrives_as_sent(pair: Pair, message: attach.AnyMessage) -> None:
    attach.send(pair[0], message)
    assert attach.receive(pair[1]) == (message, [])


def test_attach_lane_travels_with_its_descriptors(pair: Pair) -> None:
    with Lane.create(2, 1, handshake_in=1024, media_in=1024, control_out=1024, media_out=1024) as lane:
        offer = OfferLane(transceiver=2, worker=1, incarnation=2**64 - 1)
        attach.send(pair[0], offer, lane.fds)
        message, fds = attach.receive(pair[1])
        assert message == offer
        assert not any(os.get_inheritable(fd) for fd in fds)
        with Lane.attach(fds) as seen:
            assert (seen.transceiver, seen.worker) == (2, 1)


def test_attach_sender_refuses_wrong_descriptors_and_lengths(pair: Pair) -> None:
    with pytest.raises(ValueError, match="OfferLane carries 4 descriptors, not 0"):
        attach.send(pair[0], OfferLane(transceiver=0, worker=0, incarnation=1))
    with pytest.raises(ValueError, match="StatusRequest carries 0 descriptors, not 1"):
        attach.send(pair[0], attach.StatusRequest(), [0])
    with pytest.raises(ValueError, match="allowed are 131072"):
        attach.send(pair[0], attach.StatusReply(status={"x": "y" * attach.MESSAGE_MAX}))
    attach.send(pair[0], attach.StatusReply(status={"x": "y" * 130_000}))
    assert isinstance(attach.receive(pair[1])[0], attach.StatusReply)


@pytest.mark.parametrize(
    ("data", "descriptors", "reason"),
    [
        (b"{", 0, "not a message"),
        (b"[" * 100_000, 0, "not a message"),
        (b'{"type":"unheard_of"}', 0, "not a message"),
        (b'{"type":"withdraw","transceiver":256}', 0, "not a message"),
        (b'{"type":"hello","role":"king","layouts":[1],"pid":1}', 0, "not a message"),
        (b"x" * (attach.MESSAGE_MAX + 1), 0, "too long"),
        (b'{"type":"status_request"}', 1, "wrong number of descriptors"),
        (b'{"type":"offer_counters","owner":"x","transceiver":0}', 4, "wrong number of descriptors"),
        (b'{"type":"offer_lane","transceiver":0,"worker":0,"incarnation":1}', 5, "wrong number of descriptors"),
        (b'{"type":"offer_lane","transceiver":0,"worker":0,"incarnation":1}', 60, "too long"),
    ],
)
def test_attach_receiver_refuses_and_closes(pair: Pair, data: bytes, descriptors: int, reason: str) -> None:
    before = os.listdir("/proc/self/fd")
    socket.send_fds(pair[0], [data], [0] * descriptors)
    with pytest.raises(MalformedMessage) as caught:
        attach.receive(pair[1])
    assert caught.value.reason == reason
    assert os.listdir("/proc/self/fd") == before


@settings(max_examples=60, deadline=None)
@given(data=st.one_of(st.binary(min_size=1), st.recursive(st.none() | st.text(), st.lists).map(msgspec.json.encode)))
def test_attach_receiver_raises_nothing_else(data: bytes) -> None:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        left.send(data)
        with pytest.raises(MalformedMessage):
            attach.receive(right)


def test_attach_end_and_emptiness_are_told_apart(pair: Pair) -> None:
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        attach.receive(pair[1])
    pair[0].close()
    with pytest.raises(EOFError):
        attach.receive(pair[1])


def test_attach_unknown_field_of_a_later_minor_is_ignored(pair: Pair) -> None:
    pair[0].send(b'{"type":"ready","transceivers":1,"later":true}')
    assert attach.receive(pair[1])[0] == attach.Ready(transceivers=1)


def test_attach_peer_is_who_the_kernel_says(pair: Pair) -> None:
    assert attach.peer_credentials(pair[0]) == (os.getpid(), os.getuid(), os.getgid())


def test_attach_picks_the_highest_common_layout_or_names_both() -> None:
    assert attach.common_layout([1]) == 1
    assert attach.common_layout([1, 2, 3], [2, 1]) == 2
    with pytest.raises(LayoutRefused, match="layout majors: found 3 and 4, this release speaks 1 and 2"):
        attach.common_layout([4, 3], [1, 2])
    with pytest.raises(LayoutRefused, match="found none"):
        attach.common_layout([])


def test_attach_counters_carry_one_descriptor(pair: Pair) -> None:
    with open(os.devnull, "rb") as file:
        attach.send(pair[0], OfferCounters(owner="transceiver 0 control", transceiver=0), [file.fileno()])
    message, fds = attach.receive(pair[1])
    assert message == OfferCounters(owner="transceiver 0 control", transceiver=0)
    assert len(fds) == 1
    attach.close_all(fds)
