"""Handshake messages come out whole, once and in order, whatever their fragments went through; memory is bounded."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.errors import MalformedPacket
from transceiverd.dtls.messages import Fragment, parse_fragments
from transceiverd.dtls.reassembly import AHEAD_MAX, MessageReassembly

REASONS = {
    "handshake message cut",
    "handshake fragment outside its message",
    "handshake fragment empty",
}


def cut(message_sequence: int, body: bytes, sizes: list[int]) -> list[Fragment]:
    """A message in fragments of these sizes, the rest in one."""
    fragments, offset = [], 0
    for size in [*sizes, len(body)]:
        piece = body[offset : offset + size]
        if piece or not body:
            fragments.append(Fragment(11, len(body), message_sequence, offset, piece))
        offset += len(piece)
        if offset == len(body):
            break
    return fragments


@settings(max_examples=80, deadline=None)
@given(
    bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=AHEAD_MAX),
    sizes=st.lists(st.integers(1, 120), max_size=8),
    seed=st.integers(0, 2**32),
)
def test_reassembly_gives_each_message_once_in_order(bodies: list[bytes], sizes: list[int], seed: int) -> None:
    dice = random.Random(seed)
    fragments = [piece for number, body in enumerate(bodies) for piece in cut(number, body, sizes)]
    fragments += dice.choices(fragments, k=len(fragments) // 2)
    dice.shuffle(fragments)
    reassembly = MessageReassembly(16_372, 32_768)
    taken = []
    for fragment in fragments:
        (again,) = parse_fragments(fragment.serialize())
        assert again == fragment
        repeated = reassembly.add(fragment)
        assert repeated == (fragment.message_sequence < reassembly.next_sequence)
        taken += reassembly.take()
    assert [(message.message_sequence, message.body) for message in taken] == list(enumerate(bodies))
    assert reassembly.bytes_held == 0


def test_reassembly_is_bounded() -> None:
    reassembly = MessageReassembly(16_372, 32_768)
    refused = set()
    for number in range(200):
        try:
            reassembly.add(Fragment(11, 16_000, number % 12, number, b"x"))
        except MalformedPacket as error:
            refused.add(error.reason)
        assert reassembly.bytes_held <= 32_768
    assert refused == {"handshake reassembly full", "handshake message too far ahead"}
    with pytest.raises(MalformedPacket, match="handshake message too long"):
        reassembly.add(Fragment(11, 16_373, 0, 0, b"x"))


def test_reassembly_lets_a_whole_message_through_forged_pieces() -> None:
    reassembly = MessageReassembly(16_372, 32_768)
    for number in (0, 1):
        reassembly.add(Fragment(11, 16_000, number, 0, b"forged"))
    with pytest.raises(MalformedPacket, match="handshake fragment conflicts"):
        reassembly.add(Fragment(2, 100, 0, 0, b"real"))
    for number in range(3):
        reassembly.add(Fragment(2, 4, number, 0, b"real"))
    assert [message.body for message in reassembly.take()] == [b"real"] * 3
    assert reassembly.bytes_held == 0


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80))
def test_messages_parse_or_are_malformed(data: bytes) -> None:
    for end in range(len(data) + 1):
        try:
            fragments = parse_fragments(data[:end])
        except MalformedPacket as error:
            reason = error.reason
        else:
            assert b"".join(fragment.serialize() for fragment in fragments) == data[:end]
            continue
        assert reason in REASONS
