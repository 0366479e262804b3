"""Finds the line of a key in a TOML text, for error messages. Called by shm/daemon with texts that tomllib accepts.

tomllib gives values without places. This reads only what it takes to know where each key stands: table headers, keys
(bare, quoted, dotted), and where values end (strings, multi-line strings, arrays, inline tables). Keys inside of inline
tables and arrays are found as the key that holds them.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator

_PART = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_KEY})[ \t]*\]\]?")
_ASSIGNMENT = re.compile(rf"[ \t]*({_KEY})[ \t]*=")
_TOKEN = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:[^"\\\n]|\\.)*"' r"|'[^'\n]*'" r"|\#[^\n]*|[\[\]{}\n]",
    re.DOTALL,
)


def line_of(text: str, key: tuple[str, ...]) -> int | None:
    """The first line, from 1, that names `key`, or the longest beginning of it that is named anywhere; else None."""
    best: tuple[int, int | None] = (0, None)
    for line, named in _named_keys(text):
        shared = _shared(named, key)
        # A header [a.b] or a key a.b.c names each of its beginnings as well.
        if shared > best[0]:
            best = (shared, line)
    return best[1]


def first_of_two(text: str, line: int) -> tuple[tuple[str, ...], int] | None:
    """The key that `line` gives for the second time, and the line of the first; None when it is not such a one."""
    lines: dict[tuple[str, ...], int] = {}
    for at, key in _named_keys(text):
        if at == line:
            return (key, lines[key]) if key in lines else None
        lines.setdefault(key, at)
    return None


def _shared(named: tuple[str, ...], key: tuple[str, ...]) -> int:
    """How many leading parts are the same."""
    count = 0
    for one, other in zip(named, key, strict=False):
        if one != other:
            break
        count += 1
    return count


def _named_keys(text: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Every header and every assignment outside of values: its line and the whole key."""
    table: tuple[str, ...] = ()
    position, line = 0, 1
    while position < len(text):
        end = text.find("\n", position)
        end = len(text) if end < 0 else end
        if header := _HEADER.match(text, position, end):
            table = _parts(header[1])
            yield line, table
        elif assignment := _ASSIGNMENT.match(text, position, end):
            yield line, table + _parts(assignment[1])
            end = _value_end(text, assignment.end())
        line += text.count("\n", position, end) + 1
        position = end + 1


def _value_end(text: str, position: int) -> int:
    """Where the line ends on which the value that starts at `position` ends."""
    depth = 0
    for token in _TOKEN.finditer(text, position):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif token[0] == "\n" and depth <= 0:
            return token.start()
    return len(text)


def dotted(key: tuple[str, ...]) -> str:
    """A key as TOML writes it, in one line: what is not bare is quoted, so that input cannot forge lines of a log."""
    return ".".join(part if _BARE.fullmatch(part) else json.dumps(part) for part in key)


def _parts(key: str) -> tuple[str, ...]:
    """The parts of a dotted key, without quotes and escapes."""
    return tuple(
        next(iter(tomllib.loads(f"{part} = 0"))) if part[0] in "\"'" else part for part in re.findall(_PART, key)
    )
