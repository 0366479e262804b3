"""For any input either a message whose serialisation parses to the same, or MalformedPacket with a known reason.

Every input whole, cut at every byte, and cut with a length and FINGERPRINT that fit again. Twins agree; aioice agrees
but where tests/ice/test_stun_aioice.py explains why not.
"""

import struct
from types import ModuleType
from typing import Any

from aioice import stun as aioice
from hypothesis import given

from fuzz.oracle import assert_linear, cuts, examples, verdict
from fuzz.strategies.stun import KEY, checks, hostile
from tests.ice.test_stun_aioice import STRICTER, assert_same, duplicated, laxer
from tests.twins import load_compiled, load_uncompiled

COMPILED = load_compiled("transceiverd.ice.stun")
PLAIN = load_uncompiled("transceiverd.ice.stun")


def said(module: ModuleType, data: bytes) -> Any:
    """All fields, or the reason."""
    found = verdict(module.parse, data, COMPILED.REASONS)
    return found if isinstance(found, str) else found.fields()


def check(data: bytes) -> None:
    """The invariant for one input."""
    ours = said(COMPILED, data)
    assert ours == said(PLAIN, data)
    if isinstance(ours, str):
        return
    message = COMPILED.parse(data)
    assert said(COMPILED, message.serialize()) == ours
    plain = PLAIN.parse(data)
    assert plain.serialize() == message.serialize()
    assert plain.verify(KEY) == message.verify(KEY)
    assert plain.unknown_required() == message.unknown_required()


def reframed(part: bytes) -> list[bytes]:
    """With a length that fits, and with a FINGERPRINT too, where there can be one."""
    if len(part) < 20 or len(part) % 4:
        return []
    framed = COMPILED.with_length(part, len(part))
    return [framed, COMPILED.seal_fingerprint(framed)]


@examples(60)
@given(data=hostile())
def test_stun_any_bytes(data: bytes) -> None:
    for part in cuts(data):
        for tried in (part, *reframed(part)):
            check(tried)


@examples(150)
@given(data=hostile())
def test_stun_takes_linear_time(data: bytes) -> None:
    # Twice for FINGERPRINT (the CRC, and the length it is taken under), once for the values, a few for headers.
    assert_linear(PLAIN.parse, data, COMPILED.REASONS, per_byte=5)


@examples(40)
@given(data=checks())
def test_stun_every_flipped_bit_of_a_check_is_seen(data: bytes) -> None:
    """A check with one bit changed is refused, or its integrity fails: nothing of it is ever believed.

    One bit in FINGERPRINT's type makes another attribute of it, behind MESSAGE-INTEGRITY, where nothing counts: then
    FINGERPRINT is missing, and the agent drops it for that.
    """
    assert COMPILED.parse(data).verify(KEY)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        found = verdict(COMPILED.parse, bytes(changed), COMPILED.REASONS)
        assert isinstance(found, str) or not found.fingerprint
        # FINGERPRINT is no secret: whoever changes a bit puts it right. Then the integrity must fail.
        body = bytes(changed[:-8])
        resealed = COMPILED.seal_fingerprint(COMPILED.with_length(body, len(body)))
        if resealed[:-8] == data[:-8]:
            continue  # the bit was in the length or in FINGERPRINT itself
        found = verdict(COMPILED.parse, resealed, COMPILED.REASONS)
        assert isinstance(found, str) or not found.verify(KEY) or found.message_class != COMPILED.REQUEST


@examples(200)
@given(data=hostile())
def test_stun_differs_from_aioice_only_where_explained(data: bytes) -> None:
    ours = verdict(COMPILED.parse, data, COMPILED.REASONS)
    try:
        theirs = aioice.parse_message(data)
    except (ValueError, struct.error):
        assert isinstance(ours, str) or laxer(ours) or duplicated(data)
        return
    if isinstance(ours, str):
        assert ours in STRICTER, ours
    elif not duplicated(data) and ours.integrity_sha256 is None:
        assert_same(ours, theirs)
