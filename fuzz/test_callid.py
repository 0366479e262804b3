"""For any text either a route that minting would give, or None; never an exception. Equality is of the whole text."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import examples
from transceiverd import callid

IDS = st.builds(callid.mint, st.integers(0, 0xFFFF), st.integers(0, 0xFF))
CHARACTERS = st.one_of(st.sampled_from("AZaz09-_+/= %\0\r\n"), st.characters())
CHANGED = st.builds(
    lambda text, at, character: text[:at] + character + text[at + 1 :], IDS, st.integers(0, 29), CHARACTERS
)
TEXTS = st.one_of(
    IDS, CHANGED, CHANGED, st.text(CHARACTERS, max_size=34), st.text(CHARACTERS, max_size=26).map("rtc_".__add__)
)


@examples(300)
@given(text=TEXTS)
def test_callid_any_text(text: str) -> None:
    for end in range(len(text) + 1):
        found = callid.route(text[:end])
        if found is not None:
            # One spelling for each id: what routes is what was minted, to the last character.
            prefix = callid.mint(found.machine, found.transceiver)[:8]
            assert text[:end].startswith(prefix)
            assert end == callid.CHARACTERS
            assert text.isascii()
        assert len(callid.short(text[:end])) <= callid.SHORT_CHARACTERS


@examples(100)
@given(left=TEXTS, right=TEXTS)
def test_callid_same_is_equality(left: str, right: str) -> None:
    assert callid.same(left, right) == (left == right)
    assert callid.same(left, left)
