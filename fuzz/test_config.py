"""For any text either every section with every value in its bounds, or ConfigurationError in one line; never another
exception. The line that it names is the line that the key stands in."""

import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import attempt, examples
from fuzz.strategies.config import files, hostile
from relayd.config import Relay
from shm.daemon.common import Ringline
from shm.daemon.config import ConfigurationError, parse
from shm.daemon.config_text import line_of

SECTIONS: dict[str, type[msgspec.Struct]] = {"ringline": Ringline, "relay": Relay}


def loaded(text: str) -> dict[str, Any] | ConfigurationError:
    """The sections, or the refusal."""
    try:
        return parse(text, SECTIONS, file="r.toml")
    except ConfigurationError as error:
        return error


def document_of(text: str) -> dict[str, Any] | None:
    """As tomllib has it."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None


@examples(250)
@given(text=hostile())
def test_config_any_text(text: str) -> None:
    found = loaded(text)
    if isinstance(found, ConfigurationError):
        assert "\n" not in str(found), "a log line that the file forged"
        assert found.line is None or 1 <= found.line <= text.count("\n") + 1
        return
    document = document_of(text)
    assert document is not None
    for name, section in found.items():
        assert msgspec.convert(msgspec.to_builtins(section), SECTIONS[name]) == section
        for key, value in document.get(name, {}).items():
            assert msgspec.to_builtins(getattr(section, key)) == value


@examples(40)
@given(text=files())
def test_config_cut_at_every_byte(text: str) -> None:
    for end in range(len(text)):
        found = loaded(text[:end])
        assert isinstance(found, dict) or found.problem


@examples(200)
@given(before=files(), after=files(), key=st.sampled_from(["mark", '"ma rk"', "'mark'", '"m\\u0061rk"']))
def test_config_a_line_that_is_named_is_the_right_one(before: str, after: str, key: str) -> None:
    """A key that no other line has is found in its own line, whatever strings, lists and comments stand before it."""
    name = next(iter(tomllib.loads(f"{key} = 0")))
    text = f"{before}\n[zebra]\n{key} = 1\n{after}"
    if document_of(text) is None or not isinstance(document_of(text), dict):
        return
    assert line_of(text, ("zebra", name)) == before.count("\n") + 3


RENAMED = {("relay", "workers_count"): ("relay", "workers"), ("old", "name"): ("ringline", "machine")}


@examples(150)
@given(text=hostile(), former=st.sampled_from(["", "[relay]\nworkers_count = 2\n", "[old]\nname = 3\n", "old = 1\n"]))
def test_config_former_names(text: str, former: str) -> None:
    """A former name is read as the new one, or refused in one line; it never stands for something else."""
    found = attempt(ConfigurationError, lambda: parse(former + text, SECTIONS, file="r.toml", renamed=RENAMED))
    if isinstance(found, ConfigurationError):
        assert "\n" not in str(found)
        return
    if former.startswith("[relay]"):
        assert found["relay"].workers == 2
    if former.startswith("[old]"):
        assert found["ringline"].machine == 3


def test_config_former_names_beside_the_new() -> None:
    for text in ("[relay]\nworkers = 1\nworkers_count = 2\n", "ringline = 1\n[old]\nname = 3\n"):
        with pytest.raises(ConfigurationError, match="former name"):
            parse(text, SECTIONS, file="r.toml", renamed=RENAMED)
