"""The ufrag's 180 bits (DESIGN 3), in the compiled codec, in its uncompiled twin, and in the native verifier."""

import base64
import hashlib
import hmac
from types import ModuleType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relayd import keyring
from relayd.ufrag import ALPHABET, UfragKeys
from shm.errors import MalformedPacket
from tests.twins import load_both, load_compiled, load_uncompiled

MODULES = load_both("relayd.ufrag")
compiled = load_compiled("relayd.ufrag")
uncompiled = load_uncompiled("relayd.ufrag")

KEYS = UfragKeys(2, {0: b"\x00" * 32, 2: bytes(range(32))})
RING = keyring.Keyring(KEYS)

fields = st.fixed_dictionaries(
    {
        "machine": st.integers(0, 0xFFFF),
        "transceiver": st.integers(0, 0xFF),
        "slot": st.integers(0, 0xFFFFFF),
        "generation": st.integers(0, 0xFFFF),
        "nonce": st.integers(0, (1 << 48) - 1),
    }
)
ZEROS = {"machine": 0, "transceiver": 0, "slot": 0, "generation": 0, "nonce": 0}
ONES = {"machine": 0xFFFF, "transceiver": 0xFF, "slot": 0xFFFFFF, "generation": 0xFFFF, "nonce": (1 << 48) - 1}


def independent(secret: bytes, key_id: int, given: dict[str, int]) -> str:
    """The ufrag by the words of DESIGN 3: a string of bits, base64 of the standard library."""
    widths = {"machine": 16, "transceiver": 8, "slot": 24, "generation": 16, "nonce": 48}
    bits = f"{0:02b}{key_id:02b}" + "".join(f"{given[name]:0{width}b}" for name, width in widths.items())
    assert len(bits) == 116
    body = int(bits + "0000", 2).to_bytes(15, "big")
    tag = hmac.new(secret, b"ringline-ufrag-1" + body, hashlib.sha256).digest()[:8]
    whole = bits + "".join(f"{byte:08b}" for byte in tag)
    assert len(whole) == 180
    return base64.b64encode(int(whole.ljust(192, "0"), 2).to_bytes(24, "big")).decode()[:30]


@settings(max_examples=200, deadline=None)
@example(ZEROS)
@example(ONES)
@given(fields)
def test_ufrag_mint_is_what_the_design_says(given: dict[str, int]) -> None:
    expected = independent(KEYS.secret(2), 2, given)
    for module in MODULES:
        assert module.mint(KEYS, **given) == expected
    assert len(expected) == 30
    assert set(expected) <= set(ALPHABET)


@settings(max_examples=200, deadline=None)
@example(ZEROS)
@example(ONES)
@given(fields)
def test_ufrag_decode_gives_back_what_mint_was_given(given: dict[str, int]) -> None:
    for module in MODULES:
        text = module.mint(KEYS, **given)
        for decoded in (module.decode(text), module.verify(KEYS, text)):
            assert {name: getattr(decoded, name) for name in given} == given
            assert (decoded.version, decoded.key_id) == (0, 2)
            assert module.encode(decoded) == text
        origin = given["machine"] << 48 | given["transceiver"] << 40 | given["slot"] << 16 | given["generation"]
        assert module.decode(text).origin == origin
        assert RING.verify(text.encode()) == origin


@settings(max_examples=60, deadline=None)
@given(fields, st.integers(0, 179))
def test_ufrag_with_one_bit_changed_never_verifies(given: dict[str, int], bit: int) -> None:
    text = compiled.mint(KEYS, **given)
    number = 0
    for character in text:
        number = number << 6 | ALPHABET.index(character)
    number ^= 1 << bit
    forged = "".join(ALPHABET[number >> 6 * (29 - i) & 63] for i in range(30))
    assert forged != text
    for module in MODULES:
        assert module.verify(KEYS, forged) is None
    assert RING.verify(forged.encode()) < 0


@settings(max_examples=200, deadline=None)
@given(st.text(ALPHABET, min_size=30, max_size=30))
def test_ufrag_made_up_never_verifies(text: str) -> None:
    assert compiled.verify(KEYS, text) is None
    assert uncompiled.verify(KEYS, text) is None
    assert RING.verify(text.encode()) < 0


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=30, max_size=30) | st.text(ALPHABET, min_size=30, max_size=30).map(str.encode))
def test_ufrag_twins_and_native_verifier_agree_on_any_thirty_bytes(raw: bytes) -> None:
    text = raw.decode("latin-1")
    for offset in (0, 10, 20):
        assert compiled.decode_word(raw, offset) == uncompiled.decode_word(raw, offset)
    words = [uncompiled.decode_word(raw, offset) for offset in (0, 10, 20)]
    for index in range(15):
        assert compiled.body_byte(words[0], words[1], index) == uncompiled.body_byte(words[0], words[1], index)
    results = [reason_or_fields(module, text) for module in MODULES]
    assert all(result == results[0] for result in results)
    if isinstance(results[0], str):
        assert keyring.REASONS[-RING.verify(raw)] == results[0]


def reason_or_fields(module: ModuleType, text: str) -> object:
    try:
        return tuple(module.decode(text))
    except MalformedPacket as refusal:
        return refusal.reason


@pytest.mark.parametrize("module", MODULES)
def test_ufrag_of_another_length_or_alphabet_is_malformed(module: ModuleType) -> None:
    text = module.mint(KEYS, 1, 2, 3, 4, 5)
    for size in [*range(30), 31, 60]:
        assert reason_or_fields(module, (text * 2)[:size]) == "ufrag length"
    for wrong in "=-_ \x00\u00e9\u20ac":
        for place in (0, 9, 10, 29):
            assert reason_or_fields(module, text[:place] + wrong + text[place + 1 :]) == "ufrag character"
    assert reason_or_fields(module, "Q" + text[1:]) == "ufrag version"


@pytest.mark.parametrize("module", MODULES)
def test_ufrag_fields_too_wide_are_refused_when_minted(module: ModuleType) -> None:
    for name, value in ONES.items():
        with pytest.raises(ValueError, match="does not fit"):
            module.mint(KEYS, **{**ZEROS, name: value + 1})
        with pytest.raises(ValueError, match="does not fit"):
            module.mint(KEYS, **{**ZEROS, name: -1})


def test_ufrag_verifies_under_every_key_in_the_file_and_no_other() -> None:
    old = UfragKeys(0, {0: KEYS.secret(0)})
    text = compiled.mint(old, 1, 2, 3, 4, 5)
    assert compiled.verify(KEYS, text) is not None
    assert RING.verify(text.encode()) >= 0
    without = UfragKeys(2, {2: KEYS.secret(2)})
    assert compiled.verify(without, text) is None
    assert keyring.REASONS[-keyring.Keyring(without).verify(text.encode())] == "ufrag key"
    other = UfragKeys(0, {0: b"\x01" * 32})
    assert compiled.verify(other, text) is None
    assert keyring.REASONS[-keyring.Keyring(other).verify(text.encode())] == "ufrag tag"
