"""For any text either fields that encode to the same text, or MalformedPacket with a known reason; verified alike."""

from hypothesis import given

from fuzz.oracle import examples, verdict
from fuzz.strategies.ufrag import FIELDS, MACHINE_KEYS, texts, ufrags
from relayd import keyring
from relayd.keyring import Keyring
from relayd.ufrag import Ufrag, encode
from relayd.ufrag import verify as verify_in_python
from tests.twins import load_compiled, load_uncompiled

COMPILED = load_compiled("relayd.ufrag")
PLAIN = load_uncompiled("relayd.ufrag")
REASONS = ("ufrag length", "ufrag character", "ufrag version")
KEYRING = Keyring(MACHINE_KEYS)


def native(text: str) -> int | str:
    """What the worker says: an origin, or its reason."""
    found = KEYRING.verify(text.encode("latin-1", "replace"))
    return found if found >= 0 else keyring.REASONS[-found]


@examples(200)
@given(text=texts())
def test_ufrag_any_text(text: str) -> None:
    for end in range(len(text) + 1):
        part = text[:end]
        ours = verdict(COMPILED.decode, part, REASONS)
        assert ours == verdict(PLAIN.decode, part, REASONS)
        if not isinstance(ours, str):
            assert encode(ours) == part
            # What the worker puts under the tag, byte by byte out of the words, is what the codec packs.
            words = [PLAIN.decode_word(part.encode(), place) for place in (0, 10)]
            tagged = bytes(PLAIN.body_byte(*words, index) for index in range(15))
            assert tagged == (PLAIN.pack_body(ours) << 4).to_bytes(15, "big")


@examples(300)
@given(text=texts())
def test_keyring_verifies_what_the_codec_verifies(text: str) -> None:
    """The worker's native verdict against hmac and the plain decoder; only 30 characters ever get that far."""
    if len(text) != 30:
        return
    fields = verify_in_python(MACHINE_KEYS, text)
    said = native(text)
    if fields is not None:
        assert said == fields.origin
        return
    decoded = verdict(PLAIN.decode, text, REASONS)
    if isinstance(decoded, str):
        assert said == decoded
    else:
        assert said == ("ufrag tag" if decoded.key_id in MACHINE_KEYS.ids() else "ufrag key")


@examples(100)
@given(fields=FIELDS)
def test_ufrag_what_is_encoded_decodes_to_the_same(fields: Ufrag) -> None:
    decoded = verdict(COMPILED.decode, encode(fields), REASONS)
    assert decoded == (fields if fields.version == 0 else "ufrag version")


@examples(20)
@given(text=ufrags(MACHINE_KEYS))
def test_keyring_refuses_every_flipped_bit(text: str) -> None:
    number = 0
    for character in text:
        number = number << 6 | COMPILED.ALPHABET.index(character)
    for bit in range(180):
        flipped = number ^ (1 << bit)
        changed = "".join(COMPILED.ALPHABET[flipped >> 6 * (29 - place) & 63] for place in range(30))
        assert isinstance(native(changed), str), bit
