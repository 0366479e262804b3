"""Record framing parses or refuses anything; the record layer opens each authentic record once and seals none twice."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.errors import MalformedPacket
from transceiverd.dtls.records import (
    APPLICATION_DATA,
    HEADER_BYTES,
    RECORDS_A_DATAGRAM_MAX,
    SEQUENCE_MAX,
    Record,
    RecordLayer12,
    parse_record,
    parse_records,
)
from transceiverd.dtls.state import VERSION_DTLS_1_2, MemoryState, Role
from transceiverd.dtls.suites import SUITES, CipherSuite, derive_key_block, prf

REASONS = {"record cut", "record type", "record version", "record too long", "too many records"}

records = st.builds(
    Record,
    content_type=st.integers(20, 23),
    version=st.sampled_from([0xFEFD, 0xFEFF]),
    epoch=st.integers(0, 3),
    sequence=st.integers(0, SEQUENCE_MAX),
    body=st.binary(max_size=40),
)
# Nearly valid: whole records with some bytes changed.
hostile = st.builds(
    lambda whole, changes: bytes(changes.get(i, byte) for i, byte in enumerate(whole)),
    st.lists(records, min_size=1, max_size=3).map(lambda found: b"".join(record.serialize() for record in found)),
    st.dictionaries(st.integers(0, 60), st.integers(0, 255), max_size=3),
)


@settings(max_examples=120, deadline=None)
@given(st.one_of(st.binary(max_size=60), hostile))
def test_records_parse_or_are_malformed(data: bytes) -> None:
    # Whole and cut at every byte: records that serialise to the same bytes, or a known reason.
    for end in range(len(data) + 1):
        try:
            found = parse_records(data[:end])
        except MalformedPacket as error:
            reason = error.reason
        else:
            assert b"".join(record.serialize() for record in found) == data[:end]
            continue
        assert reason in REASONS


@settings(max_examples=50, deadline=None)
@given(st.lists(records, min_size=1, max_size=RECORDS_A_DATAGRAM_MAX))
def test_records_survive_the_wire(sent: list[Record]) -> None:
    assert parse_records(b"".join(record.serialize() for record in sent)) == sent


def test_records_of_a_datagram_are_bounded() -> None:
    empty = Record(22, 0xFEFD, 0, 0, b"").serialize()
    assert len(parse_records(empty * RECORDS_A_DATAGRAM_MAX)) == RECORDS_A_DATAGRAM_MAX
    with pytest.raises(MalformedPacket, match="too many records"):
        parse_records(empty * (RECORDS_A_DATAGRAM_MAX + 1))


def test_suites_prf_gives_the_known_answer() -> None:
    # The P_SHA256 vector that TLS 1.2 implementers exchanged on the IETF TLS list.
    secret = bytes.fromhex("9bbe436ba940f017b17652849a71db35")
    seed = bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c")
    expected = (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17"
        "abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
    )
    assert prf("sha256", secret, b"test label", seed, 100).hex() == expected


def pair(suite: CipherSuite = SUITES[0]) -> tuple[MemoryState, MemoryState]:
    """Both ends' states with keys."""
    block = derive_key_block(suite, b"m" * 48, b"c" * 32, b"s" * 32)
    common = {"version": VERSION_DTLS_1_2, "cipher_suite": suite.number, "write_epoch": 1, "read_epoch": 1}
    client = MemoryState(
        **common, role=Role.CLIENT, write_key=block.client_key, write_iv=block.client_iv,
        read_key=block.server_key, read_iv=block.server_iv,
    )  # fmt: skip
    server = MemoryState(
        **common, role=Role.SERVER, write_key=block.server_key, write_iv=block.server_iv,
        read_key=block.client_key, read_iv=block.client_iv,
    )  # fmt: skip
    return client, server


def opened(layer: RecordLayer12, sealed: bytes) -> bytes | str:
    """The plaintext, or the reason why not."""
    try:
        return layer.open(parse_record(sealed))
    except MalformedPacket as error:
        return error.reason


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_record_layer_seals_and_opens(suite: CipherSuite) -> None:
    client, server = pair(suite)
    sealer, opener = RecordLayer12(client), RecordLayer12(server)
    for size in (0, 1, 100, 1 << 14):
        sealed = sealer.seal(APPLICATION_DATA, b"x" * size)
        assert len(sealed) == size + sealer.overhead
        assert opened(opener, sealed) == b"x" * size
        assert opened(opener, sealed) == "record replayed"


@pytest.mark.parametrize("suite", SUITES[::2], ids=lambda suite: suite.name)
def test_record_layer_refuses_each_flipped_bit_and_each_cut(suite: CipherSuite) -> None:
    client, server = pair(suite)
    sealed = RecordLayer12(client).seal(APPLICATION_DATA, b"some data")
    layer = RecordLayer12(server)
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = parse_records(bytes(flipped))
        except MalformedPacket:
            continue
        assert all(isinstance(opened(layer, record.serialize()), str) for record in found)
    record = parse_record(sealed)
    for end in range(len(record.body)):
        assert opened(layer, msgspec.structs.replace(record, body=record.body[:end]).serialize()).startswith("record ")
    assert (server.read_highest, server.read_window) == (0, 0)
    assert opened(layer, sealed) == b"some data"


def test_record_layer_counts_before_it_hands_out() -> None:
    client, server = pair()
    sealer, opener = RecordLayer12(client), RecordLayer12(server)
    for number in range(3):
        record = parse_record(sealer.seal(APPLICATION_DATA, b"x"))
        assert (record.epoch, record.sequence) == (1, number)
        assert client.write_sequence == number + 1
        opener.open(record)
        assert server.read_highest == number + 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=80), st.integers(0, 80))
def test_record_layer_window_is_a_set(order: list[int], rebuild_at: int) -> None:
    # Model: the set of all numbers seen; what is 64 or more behind the highest is refused as well.
    client, server = pair()
    layer = RecordLayer12(server)
    seen: set[int] = set()
    for step, sequence in enumerate(order):
        if step == rebuild_at:
            layer = RecordLayer12(server)
        client.write_sequence = sequence
        fresh = sequence not in seen and sequence > max(seen, default=-1) - 64
        result = opened(layer, RecordLayer12(client).seal(APPLICATION_DATA, b"x"))
        assert result == (b"x" if fresh else "record replayed")
        if fresh:
            seen.add(sequence)


def test_record_layer_window_accepts_nothing_twice_after_a_death() -> None:
    # A process may die between the stores of a window's move: nothing seen before may be accepted after any prefix.
    class Recording(MemoryState):
        __slots__ = ()
        stores: list = []  # noqa: RUF012

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name.startswith("read_"):
                self.stores.append((name, value))

    dice = random.Random(1)
    for _ in range(200):
        client, template = pair()
        server = Recording(**{name: getattr(template, name) for name in MemoryState.__slots__})
        numbers = sorted(dice.sample(range(100), 10))
        for number in numbers:
            client.write_sequence = number
            RecordLayer12(server).open(parse_record(RecordLayer12(client).seal(APPLICATION_DATA, b"x")))
        before = {name: getattr(server, name) for name in MemoryState.__slots__}
        server.stores.clear()
        client.write_sequence = numbers[-1] + dice.randrange(1, 80)
        RecordLayer12(server).open(parse_record(RecordLayer12(client).seal(APPLICATION_DATA, b"x")))
        for survived in range(len(server.stores) + 1):
            left = MemoryState(**before)
            for name, value in server.stores[:survived]:
                setattr(left, name, value)
            for number in numbers:
                client.write_sequence = number
                sealed = RecordLayer12(client).seal(APPLICATION_DATA, b"x")
                assert opened(RecordLayer12(left), sealed) == "record replayed"


def test_record_layer_refuses_to_wrap() -> None:
    client, _ = pair()
    client.write_sequence = SEQUENCE_MAX
    layer = RecordLayer12(client)
    assert len(layer.seal(APPLICATION_DATA, b"")) == HEADER_BYTES + 24
    with pytest.raises(OverflowError):
        layer.seal(APPLICATION_DATA, b"")
