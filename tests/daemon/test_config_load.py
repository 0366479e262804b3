"""The configuration: typed, with defaults, and every refusal says where, what was found, and what is allowed."""

import enum
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct

from shm.daemon import config
from shm.daemon.common import Ringline
from shm.daemon.config import ConfigurationError, load, parse
from shm.daemon.config_reference import format_page, format_reference


class Shape(enum.Enum):
    ROUND = "round"
    FLAT = "flat"


class Relay(Struct, frozen=True, forbid_unknown_fields=True):
    """The public sockets."""

    port: Annotated[int, Meta(ge=1, le=65535, description="UDP port. Restart.")] = 3478
    workers: Annotated[int, Meta(ge=0, description="Number of workers; 0: one for each CPU. Restart.")] = 0
    bind: Annotated[str, Meta(description="Address. Restart.")] = "0.0.0.0"
    share: Annotated[float, Meta(gt=0, lt=1, description="Of something. Reload.")] = 0.5
    busy: Annotated[bool, Meta(description="Whether. Reload, for new calls.")] = False
    cpus: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], Meta(description="CPUs. Restart.")] = ()
    mode: Annotated[Literal["fast", "slow"], Meta(description="How. Restart.")] = "fast"
    shape: Annotated[Shape, Meta(description="Outline. Restart.")] = Shape.ROUND
    token: Annotated[str, Meta(description="A secret. Reload.", extra={"secret": True}, min_length=4)] = "none"
    limit: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Bound. Restart.")] = None
    wait_ms: Annotated[int, Meta(ge=0, description="A pause. Reload.")] = 5

    def __post_init__(self) -> None:
        if self.busy and self.workers > 4:
            raise ValueError("busy workers are at most 4")


SECTIONS: dict[str, type[Struct]] = {"ringline": Ringline, "relay": Relay}


def refusal(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, SECTIONS, file="r.toml")
    return caught.value


def test_config_values_of_the_file_and_defaults_for_the_rest() -> None:
    text = '[relay]\nport = 5000\ncpus = [0, 2]\nshape = "flat"\n[ice]\nnot_ours = "at all"\n'
    loaded = parse(text, SECTIONS)
    assert loaded == {"ringline": Ringline(), "relay": Relay(port=5000, cpus=(0, 2), shape=Shape.FLAT)}


@pytest.mark.parametrize(
    ("text", "line", "key", "found", "allowed"),
    [
        ("[relay]\n\nport = 70000", 3, "relay.port", "70000", "an integer from 1 to 65535"),
        ('[relay]\nport = "x"', 2, "relay.port", '"x"', "an integer from 1 to 65535"),
        ("[relay]\nport = true", 2, "relay.port", "true", "an integer from 1 to 65535"),
        ("relay.port = 0", 1, "relay.port", "0", "an integer from 1 to 65535"),
        ("relay = { port = 0 }", 1, "relay.port", "0", "an integer from 1 to 65535"),
        ("[relay]\nshare = 1.5", 2, "relay.share", "1.5", "a number above 0 below 1"),
        ("[relay]\nbusy = 1", 2, "relay.busy", "1", "true or false"),
        ('[relay]\nmode = "Fast"', 2, "relay.mode", '"Fast"', 'one of "fast", "slow"'),
        ('[relay]\nshape = "square"', 2, "relay.shape", '"square"', 'one of "round", "flat"'),
        ("[relay]\ncpus = [0,\n -1]", 2, "relay.cpus", "[0, -1]", "a list of: an integer from 0"),
        ("[relay]\nlimit = 0", 2, "relay.limit", "0", "an integer from 1"),
        ("[relay]\nport = 1979-05-27", 2, "relay.port", "1979-05-27", "an integer from 1 to 65535"),
        ("relay = 3", 1, "relay", "3", "a table: [relay]"),
        ("[[relay]]\nport = 1", 1, "relay", "[{", "a table: [relay]"),
    ],
)
def test_config_wrong_value_names_line_key_found_allowed(
    text: str, line: int, key: str, found: str, allowed: str
) -> None:
    error = refusal(text)
    assert (error.file, error.line, error.key, error.allowed) == ("r.toml", line, key, allowed)
    assert error.found.startswith(found)
    assert str(error).startswith(f"r.toml:{line}: {key}: ")
    assert error.found in str(error)
    assert error.allowed in str(error)


@pytest.mark.parametrize(
    ("text", "line", "key", "nearest"),
    [
        ("[relay]\nprot = 1", 2, "relay.prot", "relay.port"),
        ("[relay]\nport = 1\nworker = 2", 3, "relay.worker", "relay.workers"),
        ("[rely]\nport = 1", 1, "rely", "relay"),
        ("ringlin.machine = 1", 1, "ringlin", "ringline"),
        ("[relay]\nqqqqqqq = 1", 2, "relay.qqqqqqq", ""),
    ],
)
def test_config_unknown_key_names_the_nearest(text: str, line: int, key: str, nearest: str) -> None:
    error = refusal(text)
    assert (error.line, error.key, error.nearest) == (line, key, nearest)
    assert ("did you mean" in str(error)) == bool(nearest)
    assert nearest.rpartition(".")[2] in error.allowed


@pytest.mark.parametrize(
    ("text", "line", "key", "allowed"),
    [
        ("port = 1\n[relay]\nworkers = 1", 1, "port", "below [relay]"),
        ("\nqqqqqqq = 1", 2, "qqqqqqq", "sections, [name]: "),
    ],
)
def test_config_key_outside_of_any_section_is_told_where_it_belongs(
    text: str, line: int, key: str, allowed: str
) -> None:
    """Other daemons' files have no sections: "unknown section" was no help to who wrote `port = 1` alone."""
    error = refusal(text)
    assert (error.line, error.key) == (line, key)
    assert "outside of any section" in str(error)
    assert error.allowed.startswith(allowed)


def test_config_impossible_combination_names_the_key_that_it_speaks_of() -> None:
    error = refusal("[ringline]\n[relay]\nmode = 'fast'\nbusy = true\nworkers = 5")
    assert (error.line, error.key) == (4, "relay.busy")
    assert "busy workers are at most 4" in str(error)


def test_config_secret_is_not_shown() -> None:
    error = refusal('[relay]\ntoken = "abc"')
    assert "abc" not in str(error)
    assert error.allowed == "a string of at least 4 characters"


@pytest.mark.parametrize(("text", "line"), [("[relay]\nport = \n", 2), ("[relay", 1), ('x = "', 1)])
def test_config_text_that_is_no_toml_names_the_line(text: str, line: int) -> None:
    error = refusal(text)
    assert error.line == line
    assert "not TOML" in str(error)


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ("[relay]\nport = 1\nworkers = 2\nport = 3\n", 4, "relay.port", 2),
        ("[relay]\nport = 1\n[ringline]\n[relay]\nworkers = 2\n", 4, "relay", 1),
        ("relay.port = 1\n\nrelay.port = 2\n", 3, "relay.port", 1),
    ],
)
def test_config_duplicated_key_or_section_names_both_lines(text: str, line: int, key: str, first: int) -> None:
    error = refusal(text)
    assert (error.line, error.key) == (line, key)
    assert f"given twice, first on line {first}" in str(error)


def test_config_long_value_does_not_fill_the_log() -> None:
    error = refusal(f'[relay]\nport = "{"x" * 10_000}"')
    assert len(str(error)) < 300


def test_config_forged_line_break_stays_one_line() -> None:
    assert "\n" not in str(refusal('[relay]\nport = "x\\n2026-01-01 all is well"'))
    assert "\n" not in str(refusal('"rel\\nay" = 3'))


def test_config_missing_file_is_an_error_only_where_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "absent.toml")
    assert load(None, SECTIONS) == {"ringline": Ringline(), "relay": Relay()}
    with pytest.raises(ConfigurationError, match=r"absent\.toml: cannot be read: No such file"):
        load(tmp_path / "absent.toml", SECTIONS)
    (tmp_path / "absent.toml").write_text("[relay]\nport = 7\n")
    assert load(None, SECTIONS)["relay"].port == 7
    assert load(str(tmp_path / "absent.toml"), SECTIONS)["relay"].port == 7


def test_config_file_that_cannot_be_a_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path, SECTIONS)
    (tmp_path / "latin").write_bytes(b"[relay]\nbind = '\xe9'\n")
    with pytest.raises(ConfigurationError, match="latin:2: not UTF-8; found byte 0xe9"):
        load(tmp_path / "latin", SECTIONS)
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbf[relay]\nport = 7\n")  # as some editors save it
    assert load(tmp_path / "marked", SECTIONS)["relay"].port == 7
    (tmp_path / "large").write_bytes(b"#" * (config.FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigurationError, match="too large"):
        load(tmp_path / "large", SECTIONS)


AWKWARD = """
# [relay] port = 1
title = \"\"\"
[relay]
port = 2
\"\"\"
other = '''
[relay]'''
list = [
  "[relay]", # ]
  'port = 3',
]
table = { relay = { port = 1 } }
"quoted key" . 'other' = 1 # = 2

[ relay . 'inner' ]
deep = 1
[relay]
busy = true
  workers =  4
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("title",), 3),
        (("other",), 7),
        (("list",), 9),
        (("table", "relay", "port"), 13),
        (("quoted key", "other"), 14),
        (("relay",), 16),
        (("relay", "inner", "deep"), 17),
        (("relay", "busy"), 19),
        (("relay", "workers"), 20),
        (("relay", "absent"), 16),
        (("absent",), None),
    ],
)
def test_config_line_of_a_key_in_an_awkward_file(key: tuple[str, ...], line: int | None) -> None:
    from shm.daemon.config_text import line_of

    tomllib.loads(AWKWARD)
    assert line_of(AWKWARD, key) == line


RENAMED = {("relay", "threads"): ("relay", "workers"), ("ringline", "host"): ("relay", "bind")}


def test_config_former_name_works_and_warns_with_the_new_one(caplog: pytest.LogCaptureFixture) -> None:
    text = '[ringline]\nhost = "127.0.0.1"\n[relay]\nthreads = 3\n'
    loaded = parse(text, SECTIONS, file="r.toml", renamed=RENAMED)
    assert loaded["relay"] == Relay(workers=3, bind="127.0.0.1")
    said = {record.getMessage() for record in caplog.records}
    assert said == {
        "r.toml:4: relay.threads is called relay.workers now; the next release will not know the old name",
        "r.toml:2: ringline.host is called relay.bind now; the next release will not know the old name",
    }
    assert {record.levelname for record in caplog.records} == {"WARNING"}


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("[relay]\nworkers = 1\nthreads = 3\n", 3, "relay.threads", "the former name of relay.workers, which is given"),
        ("[relay]\nthreads = -1\n", 2, "relay.threads", "an integer from 0"),
    ],
)
def test_config_former_name_is_judged_where_it_stands(text: str, line: int, key: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, SECTIONS, file="r.toml", renamed=RENAMED)
    assert (caught.value.line, caught.value.key) == (line, key)
    assert words in str(caught.value)


def test_config_reference_parses_and_changes_nothing() -> None:
    text = format_reference(SECTIONS)
    assert parse(text, SECTIONS) == parse("", SECTIONS)
    set_all = "\n".join(line.lstrip("#") for line in text.splitlines() if not line.startswith(("# ", "#limit")))
    assert parse(set_all, SECTIONS) == parse("", SECTIONS)
    assert sorted(set_all.split()) != sorted(text.split())
    for comment in ("# The public sockets.\n[relay]", "# UDP port.\n", "# Number of workers; 0: one for each CPU.\n"):
        assert comment in text
    port = "# Default: 3478. Allowed: an integer from 1 to 65535. Takes effect by: restart.\n#port = 3478\n"
    assert port in text
    pause = "# Unit: milliseconds. Default: 5. Allowed: an integer from 0. Takes effect by: reload.\n#wait_ms = 5\n"
    assert pause in text
    assert "Takes effect by: reload, for new calls.\n#busy" in text
    assert "\n#limit =\n" in text
    assert max(map(len, text.splitlines())) <= 105


def test_config_page_has_a_row_for_every_option() -> None:
    text = format_page(SECTIONS)
    for field in msgspec.structs.fields(Relay):
        assert f"| `{field.name}` | " in text
    assert "| `wait_ms` | `5` | milliseconds | an integer from 0 | reload | A pause. |" in text
    columns = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert columns == {7}


def test_config_option_that_does_not_say_how_it_changes_is_our_own_bug() -> None:
    class Silent(Struct):
        port: Annotated[int, Meta(description="A port.")] = 1

    with pytest.raises(TypeError, match=r"Silent\.port: its description must end"):
        format_reference({"silent": Silent})


def test_config_struct_field_without_default_is_our_own_bug() -> None:
    class Broken(Struct):
        port: Annotated[int, Meta(description="A port. Restart.")]

    with pytest.raises(TypeError, match="no default"):
        format_reference({"broken": Broken})


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["relay", "ringline", "ice", "rely", "a b"]),
        st.integers()
        | st.dictionaries(
            st.sampled_from(["port", "busy", "cpus", "prot", "machine", "token", 'k"ey']),
            st.integers(-5, 70000) | st.booleans() | st.text(max_size=3) | st.lists(st.integers(-1, 3), max_size=2),
            max_size=4,
        ),
        max_size=3,
    )
)
def test_config_any_document_is_loaded_or_refused_with_its_line(document: dict[str, Any]) -> None:
    from shm.daemon.config_reference import toml_value

    text = ""
    for name, table in document.items():
        value = (
            f"{{ {', '.join(f'{toml_value(k)} = {toml_value(v)}' for k, v in table.items())} }}"
            if isinstance(table, dict)
            else toml_value(table)
        )
        text += f"{toml_value(name)} = {value}\n"
    refused = None
    try:
        assert set(parse(text, SECTIONS)) == set(SECTIONS)
    except ConfigurationError as error:
        refused = error
    assert refused is None or (refused.line and refused.key)
