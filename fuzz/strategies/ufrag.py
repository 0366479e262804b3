"""ufrags: minted, of any fields, and texts that nearly are one."""

from hypothesis import strategies as st

from relayd.ufrag import ALPHABET, BODY_WIDTHS, LENGTH, TAG_BITS, Ufrag, UfragKeys, encode, mint

# Fixed keys: two of four ids. The native harness has the same.
MACHINE_KEYS = UfragKeys(0, {0: bytes(32), 2: bytes(range(32))})

FIELDS = st.builds(Ufrag, *(st.integers(0, (1 << width) - 1) for width in (*BODY_WIDTHS, TAG_BITS)))


def ufrags(keys: UfragKeys) -> st.SearchStrategy[str]:
    """ufrags that verify."""
    return st.builds(
        mint, st.just(keys), st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, 0xFFFFFF),
        st.integers(0, 0xFFFF), st.integers(0, (1 << 48) - 1),
    )  # fmt: skip


def texts() -> st.SearchStrategy[str]:
    """Right and wrong ones: a character changed, another length, characters outside the alphabet, any text."""
    characters = st.one_of(st.sampled_from(ALPHABET), st.characters())
    whole = st.one_of(ufrags(MACHINE_KEYS), FIELDS.map(encode))
    changed = st.builds(
        lambda text, at, character: text[:at] + character + text[at + 1 :],
        whole,
        st.integers(0, LENGTH - 1),
        characters,
    )
    return st.one_of(
        whole, changed, changed, st.text(characters, min_size=LENGTH, max_size=LENGTH), st.text(characters, max_size=40)
    )
