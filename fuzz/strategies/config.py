"""Configuration files: TOML that fits, that nearly fits, and that is none."""

from hypothesis import strategies as st

from shm.daemon.config import KNOWN_SECTIONS

KEYS = st.sampled_from(
    [
        "port",
        "workers",
        "bind4",
        "cpus",
        "batch",
        "prot",
        "machine",
        "log_level",
        "a",
        '"quo\\nted"',
        "'lit eral'",
        "x.y",
    ]
)
STRINGS = st.sampled_from(
    [
        '"text"', "'literal [ # '", '"""multi\nline ["""', "'''multi\n{ ' line'''", '"esc \\" ] \\u00e9"', '""', "''",
        '"""a\\\n b"""', '"# no comment"',
    ]
)  # fmt: skip
SCALARS = st.one_of(
    STRINGS,
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(
        ["true", "false", "1.5", "nan", "-inf", "0xff", "0o7", "1979-05-27", "07:32:00", "1979-05-27T07:32:00Z"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ",\n ".join(items) + "]"),
        st.lists(inner, max_size=2).map(
            lambda items: "{" + ", ".join(f"k{i} = {x}" for i, x in enumerate(items)) + "}"
        ),
    ),
    max_leaves=4,
)
SECTIONS = st.one_of(
    st.sampled_from(sorted(KNOWN_SECTIONS)), st.sampled_from(["realy", "relay.inner", '"re\\tlay"', "[relay]"])
)
LINES = st.one_of(
    st.builds(lambda key, value, tail: f"{key} = {value}{tail}", KEYS, VALUES, st.sampled_from(["", " # why", "  "])),
    st.builds(lambda name: f"[{name}]", SECTIONS),
    st.sampled_from(["", "# comment [ ' \" ", "   "]),
)


def files() -> st.SearchStrategy[str]:
    """Lines that are mostly TOML."""
    return st.lists(LINES, max_size=8).map("\n".join)


def hostile() -> st.SearchStrategy[str]:
    """Files, with characters put in, or any text."""
    broken = st.builds(
        lambda text, at, piece: text[: at % (len(text) + 1)] + piece + text[at % (len(text) + 1) :],
        files(), st.integers(0, 400), st.one_of(st.sampled_from(list("[]{}\"'#=\n\\.")), st.text(max_size=3)),
    )  # fmt: skip
    return st.one_of(files(), files(), broken, st.text(max_size=40))
