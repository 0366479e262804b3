"""Typed configuration: one TOML file for both daemons, one frozen struct for each section (DESIGN 5, STYLE 8).

Called by each daemon's start and `--check-config`. A section is a `msgspec.Struct` (frozen, every field with a default)
whose fields are `Annotated[type, Meta(ge=..., le=..., description="meaning. Restart.")]`; a combination that
cannot be is refused by its `__post_init__` with ValueError. A value that must not be shown has
`Meta(extra={"secret": True})`. Every refusal is a ConfigurationError that names file, line, key, what was found and
what is allowed.
Left out: environment variables (there are none), and reloading (reload.py).
"""

from __future__ import annotations

import difflib
import logging
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from shm.daemon.config_reference import Option, allowed_values, options_of, toml_value
from shm.daemon.config_text import dotted, first_of_two, line_of

log = logging.getLogger("configuration")

__all__ = [
    "DEFAULT_PATH",
    "KNOWN_SECTIONS",
    "ConfigurationError",
    "Option",
    "line_in",
    "load",
    "parse",
]

DEFAULT_PATH = Path("/etc/ringline/ringline.toml")
"""Used when no --config is given; may be absent."""

KNOWN_SECTIONS = frozenset(
    {
        "ringline",
        "relay",
        "transceiver",
        "ice",
        "dtls",
        "media",
        "signalling",
        "operator",
        "data_channel",
        "application",
    }
)
"""Top-level sections of all daemons: each reads its own and lets the others' pass."""

RENAMED: Mapping[tuple[str, str], tuple[str, str]] = {}
"""Keys that have another name since the release before: (section, key) as they were and as they are. The old name works
for one release, with a warning; its line is taken out in the release after. None is renamed at present."""

FILE_BYTES_MAX = 1 << 20
"""A configuration is a few kilobytes; more is a wrong path."""


class ConfigurationError(ValueError):
    """A configuration that cannot be used. `line` is None where there is no one line to blame."""

    def __init__(
        self,
        problem: str,
        *,
        file: str,
        line: int | None = None,
        key: str = "",
        found: str = "",
        allowed: str = "",
        nearest: str = "",
    ) -> None:
        place = file if line is None else f"{file}:{line}"
        text = f"{place}: {key}: {problem}" if key else f"{place}: {problem}"
        if found:
            text += f"; found {found}"
        if allowed:
            text += f"; allowed: {allowed}"
        if nearest:
            text += f"; did you mean `{nearest}`?"
        super().__init__(text)
        self.problem = problem
        self.file = file
        self.line = line
        self.key = key
        self.found = found
        self.allowed = allowed
        self.nearest = nearest


def load(
    path: str | Path | None,
    sections: Mapping[str, type[msgspec.Struct]],
) -> dict[str, Any]:
    """The sections asked for, by name, from the file at `path`; a section that the file lacks has its defaults.

    `path` None means DEFAULT_PATH, which may be absent; a path that was given must exist. Raises ConfigurationError.
    """
    file = DEFAULT_PATH if path is None else Path(path)
    if path is None and not file.exists():
        return parse("", sections, file=str(file))
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=str(file)) from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigurationError("too large", file=str(file), allowed=f"at most {FILE_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            "not UTF-8", file=str(file), line=line, found=f"byte {data[error.start]:#04x}"
        ) from None
    return parse(text, sections, file=str(file))


def parse(
    text: str,
    sections: Mapping[str, type[msgspec.Struct]],
    *,
    file: str = "<text>",
    renamed: Mapping[tuple[str, str], tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """`load` for a text that is there already; `file` is what errors call it. `renamed`: instead of RENAMED."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(error, text, file) from None
    known = KNOWN_SECTIONS | frozenset(sections)
    former = _take_new_names(document, RENAMED if renamed is None else renamed, sections, text, file)
    for name in document:
        if name not in known:
            raise _unknown_section(name, document[name], sections, known, text, file)
    return {
        name: _section(name, struct, document.get(name, {}), text, file, former) for name, struct in sections.items()
    }


Names = dict[tuple[str, ...], tuple[str, ...]]


def _take_new_names(
    document: dict[str, Any],
    renamed: Mapping[tuple[str, str], tuple[str, str]],
    sections: Mapping[str, type[msgspec.Struct]],
    text: str,
    file: str,
) -> Names:
    """Move what stands under a former name, with a warning; gives the former name of each key that was moved."""
    former: Names = {}
    for old, new in renamed.items():
        table = document.get(old[0])
        if not isinstance(table, dict) or old[1] not in table or new[0] not in sections:
            continue
        target = document.setdefault(new[0], {})
        line = line_of(text, old)
        if not isinstance(target, dict) or new[1] in target:
            problem = f"the former name of {dotted(new)}, which is given, too"
            raise ConfigurationError(problem, file=file, line=line, key=dotted(old))
        log.warning("%s:%s: %s is called %s now; the next release will not know the old name",
                    file, line, dotted(old), dotted(new))  # fmt: skip
        target[new[1]] = table.pop(old[1])
        former[new] = old
        if not table and old[0] not in KNOWN_SECTIONS:
            del document[old[0]]
    return former


def line_in(file: str, key: str) -> int | None:
    """The line of a file that names `section.key`, for a check that looks at several sections; None where none does."""
    try:
        text = Path(file).read_text()
    except (OSError, UnicodeDecodeError):
        return None
    return line_of(text, tuple(key.split(".")))


def _syntax_error(error: tomllib.TOMLDecodeError, text: str, file: str) -> ConfigurationError:
    """tomllib gives the line in its message only."""
    message = str(error)
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if place is None:
        return ConfigurationError(f"not TOML: {message}", file=file)
    line = int(place[1]) if place[1] else text.count("\n") + 1
    if message.startswith(("Cannot overwrite", "Cannot declare")) and (twice := first_of_two(text, line)) is not None:
        key, first = twice
        return ConfigurationError(f"given twice, first on line {first}", file=file, line=line, key=dotted(key))
    return ConfigurationError(f"not TOML: {message[: place.start()]}", file=file, line=line)


def _unknown_section(
    name: str,
    value: Any,
    sections: Mapping[str, type[msgspec.Struct]],
    known: frozenset[str],
    text: str,
    file: str,
) -> ConfigurationError:
    """Mostly a typo; or a key above the first header, as in files of daemons that have no sections."""
    owners = [f"[{section}]" for section, struct in sections.items() if name in struct.__struct_encode_fields__]
    if isinstance(value, dict):
        return _unknown_key((name,), known, text, file, "unknown section")
    return ConfigurationError(
        "a key outside of any section",
        file=file,
        line=line_of(text, (name,)),
        key=dotted((name,)),
        allowed=f"below {' or '.join(owners)}" if owners else f"sections, [name]: {', '.join(sorted(known))}",
    )


def _unknown_key(
    key: tuple[str, ...], allowed: frozenset[str], text: str, file: str, problem: str
) -> ConfigurationError:
    nearest = difflib.get_close_matches(key[-1], sorted(allowed), n=1, cutoff=0.6)
    return ConfigurationError(
        problem,
        file=file,
        line=line_of(text, key),
        key=dotted(key),
        allowed=", ".join(sorted(allowed)),
        nearest=".".join((*key[:-1], nearest[0])) if nearest else "",
    )


def _section(name: str, struct: type[msgspec.Struct], table: Any, text: str, file: str, former: Names) -> Any:
    """Field by field, so that an error knows its key and its type."""
    line = line_of(text, (name,))
    if not isinstance(table, dict):
        raise ConfigurationError(
            "not a section", file=file, line=line, key=name, found=_shown(table), allowed=f"a table: [{name}]"
        )
    options = {option.name: option for option in options_of(struct)}
    for key in table:
        if key not in options:
            raise _unknown_key((name, key), frozenset(options), text, file, "unknown key")
    values = {
        options[key].attribute: _value((name, key), value, options[key], text, file, former)
        for key, value in table.items()
    }
    try:
        return struct(**values)
    except (ValueError, TypeError) as error:
        key = _blamed(str(error), name, table)
        key = former.get(key, key)
        raise ConfigurationError(str(error), file=file, line=line_of(text, key), key=dotted(key)) from None


def _blamed(problem: str, name: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    """Of keys that cannot be together, the first that the words name and the section gives; else the section."""
    return next(((name, word) for word in re.findall(r"\w+", problem) if word in table), (name,))


def _value(key: tuple[str, ...], value: Any, option: Option, text: str, file: str, former: Names) -> Any:
    key = former.get(key, key)
    try:
        return msgspec.convert(value, option.type)
    except msgspec.ValidationError as error:
        inner = _inner_path(str(error))
        raise ConfigurationError(
            "wrong value" if not inner else f"wrong value at {inner}",
            file=file,
            line=line_of(text, key),
            key=dotted(key),
            found="a value not shown here" if option.secret else _shown(value),
            allowed=allowed_values(option.type),
        ) from None


def _inner_path(message: str) -> str:
    """Where in a list or table: msgspec ends its message with "- at `$[1]`"."""
    place = re.search(r" - at `\$(.+)`$", message)
    return place[1].lstrip(".") if place else ""


def _shown(value: Any) -> str:
    """As TOML would have it, and short: a whole file pasted into a value must not fill the log."""
    try:
        text = toml_value(value)
    except TypeError:  # dates and times: no option has one, but a file may
        text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
