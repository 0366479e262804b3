"""For any datagram on the control socket either a message that encodes to the same, or MalformedMessage with a known
reason; descriptors that came along are the caller's or closed, never leaked; never another exception."""

import os
import socket
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import attempt, examples
from fuzz.strategies.control import MESSAGES, hostile, objects
from shm.attach import DESCRIPTORS, DESCRIPTORS_MAX, AnyMessage, MalformedMessage, close_all, receive, send

REASONS = ("too long", "not a message", "wrong number of descriptors")
BYTES = hostile(st.one_of(MESSAGES, objects()).map(msgspec.json.encode))

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """The two ends of a control socket."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


def open_descriptors() -> int:
    """Of this process."""
    return len(os.listdir("/proc/self/fd"))


def received(pair: Pair, data: bytes, descriptors: int) -> AnyMessage | str:
    """What the other end makes of it."""
    socket.send_fds(pair[0], [data], [pair[0].fileno()] * descriptors)
    found = attempt(MalformedMessage, receive, pair[1])
    if isinstance(found, MalformedMessage):
        assert found.reason in REASONS
        return found.reason
    message: AnyMessage
    message, fds = found
    assert len(fds) == descriptors == DESCRIPTORS.get(type(message), 0)
    close_all(fds)
    return message


@examples(150)
@given(data=BYTES.filter(bool), descriptors=st.integers(0, DESCRIPTORS_MAX + 3))
def test_control_any_datagram(pair: Pair, data: bytes, descriptors: int) -> None:
    before = open_descriptors()
    message = received(pair, data, descriptors)
    assert open_descriptors() == before
    if not isinstance(message, str):
        again = received(pair, msgspec.json.encode(message), descriptors)
        # A float that is no number is never equal to itself, but is written alike.
        assert again == message or msgspec.json.encode(again) == msgspec.json.encode(message)


@examples(15)
@given(message=MESSAGES)
def test_control_cut_at_every_byte(pair: Pair, message: AnyMessage) -> None:
    data = msgspec.json.encode(message)
    for end in range(1, len(data)):
        assert isinstance(received(pair, data[:end], DESCRIPTORS.get(type(message), 0)), str)


@examples(60)
@given(message=MESSAGES)
def test_control_what_is_sent_is_received(pair: Pair, message: AnyMessage) -> None:
    send(pair[0], message, [pair[0].fileno()] * DESCRIPTORS.get(type(message), 0))
    found, fds = receive(pair[1])
    close_all(fds)
    assert msgspec.json.encode(found) == msgspec.json.encode(message)
