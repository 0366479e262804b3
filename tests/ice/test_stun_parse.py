"""Rules of the STUN codec, and that the compiled and the uncompiled one are the same."""

from types import ModuleType

import pytest
from hypothesis import given, settings

from shm.errors import MalformedPacket
from tests.ice.strategies import hostile_bytes, messages
from tests.ice.test_stun_vectors import REQUEST
from tests.twins import load_both, load_compiled, load_uncompiled
from transceiverd.ice import stun as stun_compiled

STUN = pytest.mark.parametrize("stun", load_both("transceiverd.ice.stun"), ids=lambda module: module.__name__)
UNCOMPILED = load_uncompiled("transceiverd.ice.stun")
KEY = b"a password of 24 letters"
HEADER = stun_compiled.header(stun_compiled.REQUEST, bytes(range(12)))


def packet(*attributes: tuple[int, bytes], fingerprint: bool = False) -> bytes:
    """A Binding request of these attributes."""
    data = HEADER + b"".join(stun_compiled.attribute(kind, value) for kind, value in attributes)
    return stun_compiled.seal_fingerprint(data) if fingerprint else stun_compiled.with_length(data, len(data))


def verdict(stun: ModuleType, data: bytes) -> object:
    """What parsing comes to: all fields, or the reason of the refusal. Another exception is a failure."""
    try:
        return stun.parse(data).fields()
    except MalformedPacket as error:
        reason = error.reason
    assert reason in stun.REASONS
    return reason


@STUN
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "stun-short"),
        (REQUEST[:19], "stun-short"),
        (b"\x40" + REQUEST[1:], "stun-type"),
        (b"\x80" + REQUEST[1:], "stun-type"),
        (REQUEST[:4] + b"\0" + REQUEST[5:], "stun-cookie"),
        (REQUEST[:-4], "stun-length"),
        (REQUEST + bytes(4), "stun-length"),
        (HEADER[:2] + b"\0\x02" + HEADER[4:] + b"ab", "stun-length"),
        (b"\x00\x03" + REQUEST[2:], "stun-method"),  # a TURN Allocate
        (b"\x02\x00" + REQUEST[2:], "stun-method"),  # a GOOG-PING: 0x080 was never negotiated
        (HEADER[:2] + b"\0\x04" + HEADER[4:] + b"\0\x06\0\x01", "stun-attribute-overrun"),
        (packet((0x0006, bytes(509))), "stun-attribute-size"),
        (packet((0x0024, bytes(3))), "stun-attribute-size"),
        (packet((0x0025, b"x")), "stun-attribute-size"),
        (packet((0x802A, bytes(7))), "stun-attribute-size"),
        (packet((0x8029, bytes(9))), "stun-attribute-size"),
        (packet((0x0008, bytes(19))), "stun-attribute-size"),
        (packet((0x001C, bytes(16))), "stun-attribute-size"),
        (packet((0x0020, bytes(4))), "stun-attribute-size"),
        (packet((0x0020, b"\0\x02" + bytes(6))), "stun-attribute-value"),
        (packet((0x0009, bytes(3))), "stun-attribute-size"),
        (packet((0x0009, b"\0\0\x02\x00")), "stun-attribute-value"),
        (packet((0x0009, b"\0\0\x04\x64")), "stun-attribute-value"),
        (packet((0x8028, bytes(3))), "stun-attribute-size"),
        (packet((0x8028, bytes(4))), "stun-fingerprint"),
        (packet((0x8028, bytes(4)), (0x8022, b"")), "stun-fingerprint-place"),
        (packet(*((0xC000 + i, b"") for i in range(33))), "stun-attributes-many"),
    ],
)
def test_stun_refuses_with_a_fixed_reason(stun: ModuleType, data: bytes, reason: str) -> None:
    with pytest.raises(MalformedPacket) as caught:
        stun.parse(data)
    assert caught.value.reason == reason


@STUN
def test_stun_first_of_equal_attributes_wins(stun: ModuleType) -> None:
    message = stun.parse(
        packet(
            (stun.USERNAME, b"first"),
            (stun.USERNAME, b"second"),
            (stun.PRIORITY, b"\0\0\0\x01"),
            (stun.PRIORITY, b"\0\0\0\x02"),
            (stun.ICE_CONTROLLING, bytes(7) + b"\x01"),
            (stun.ICE_CONTROLLING, bytes(7) + b"\x02"),
        )
    )
    assert (message.username, message.priority, message.controlling) == (b"first", 1, 1)


@STUN
def test_stun_nothing_after_integrity_counts_but_sha256_and_fingerprint(stun: ModuleType) -> None:
    signed = stun.seal_sha1(KEY, packet((stun.USERNAME, b"ours:theirs")))
    forged = signed + stun.attribute(stun.USE_CANDIDATE, b"") + stun.attribute(stun.PRIORITY, b"\xff\xff\xff\xff")
    forged += stun.attribute(0x0013, b"unknown and required")
    message = stun.parse(stun.seal_fingerprint(forged))
    assert message.verify(KEY)
    assert (message.use_candidate, message.priority, message.others) == (False, None, ())
    both = stun.parse(stun.seal_fingerprint(stun.seal_sha256(KEY, signed)))
    assert both.integrity is not None
    assert both.integrity_sha256 is not None
    assert both.verify(KEY)


@STUN
def test_stun_sha256_decides_when_both_are_there(stun: ModuleType) -> None:
    signed = stun.seal_sha1(KEY, packet((stun.USERNAME, b"ours:theirs")))
    forged = signed + stun.attribute(stun.MESSAGE_INTEGRITY_SHA256, bytes(32))
    message = stun.parse(stun.seal_fingerprint(forged))
    assert not message.verify(KEY)


@STUN
def test_stun_unknown_required_attributes_are_named_once(stun: ModuleType) -> None:
    message = stun.parse(packet((0x0013, b"a"), (0xC057, b""), (0x7FFF, b""), (0x0013, b"b"), (stun.REALM, b"r")))
    assert message.unknown_required() == [0x0013, 0x7FFF]


@STUN
@given(message=messages())
@settings(max_examples=150, deadline=None)
def test_stun_what_is_written_reads_the_same(stun: ModuleType, message: stun_compiled.Message) -> None:
    # What follows MESSAGE-INTEGRITY-SHA256 or MESSAGE-INTEGRITY is written in the one order that counts.
    data = message.serialize()
    parsed = stun.parse(data)
    assert parsed.fields() == message.fields()
    assert parsed.serialize() == data
    for sha256 in (False, True):
        signed = stun.parse(message.serialize(KEY, sha256))
        assert signed.verify(KEY)
        assert not signed.verify(KEY[:-1])


@given(data=hostile_bytes())
@settings(max_examples=400, deadline=None)
def test_stun_any_bytes_give_a_value_or_a_known_reason(data: bytes) -> None:
    """Invariant: either a value whose serialisation parses to the same value, or a known reason; compiled or not."""
    compiled = load_compiled("transceiverd.ice.stun")
    ours = verdict(compiled, data)
    assert ours == verdict(UNCOMPILED, data)
    if not isinstance(ours, str):
        assert verdict(compiled, compiled.parse(data).serialize()) == ours


@given(message=messages())
@settings(max_examples=25, deadline=None)
def test_stun_cut_at_every_byte_is_refused(message: stun_compiled.Message) -> None:
    compiled = load_compiled("transceiverd.ice.stun")
    data = message.serialize(KEY)
    for size in range(len(data)):
        reason = verdict(compiled, data[:size])
        assert reason in ("stun-short", "stun-length")
        assert reason == verdict(UNCOMPILED, data[:size])
        # With the header made to fit, the rest must hold the line.
        if size >= 20:
            patched = compiled.with_length(data[:size], size)
            assert verdict(compiled, patched) == verdict(UNCOMPILED, patched)
