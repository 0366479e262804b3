"""What the options of a configuration are: names, types, defaults, limits, descriptions, and a reference of them.

Called by shm/daemon for its messages, by `--help`-like output, and by whoever writes the commented configuration
file that is installed. A description is the field's `Meta(description=...)`, or else the docstring under the field.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec import inspect as types

LINE_WIDTH = 100
"""Columns of a generated reference: comments of this width read well beside an editor's margin."""


class Option(NamedTuple):
    """One key of a section."""

    name: str
    """As the file has it."""
    attribute: str
    """As the struct has it."""
    type: Any
    default: Any
    description: str
    secret: bool
    """Its value is never shown."""


def options_of(struct: type[msgspec.Struct]) -> list[Option]:
    """The options of a section in the order of the struct. Raises TypeError for a field without a default."""
    hints = get_type_hints(struct, include_extras=True)
    docstrings = _docstrings(struct)
    found = []
    for field in msgspec.structs.fields(struct):
        kind = hints[field.name]
        metas = _metas(kind)
        described = [meta.description for meta in metas if meta.description]
        found.append(
            Option(
                name=field.encode_name,
                attribute=field.name,
                type=kind,
                default=_default(struct, field),
                description=described[0] if described else docstrings.get(field.name, ""),
                secret=any((meta.extra or {}).get("secret") for meta in metas),
            )
        )
    return found


def _metas(kind: Any) -> list[msgspec.Meta]:
    return [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]


def _default(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    raise TypeError(f"{struct.__name__}.{field.name} has no default: a configuration may lack every key")


def _docstrings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The string below each field, where the source is at hand."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0]
    except (OSError, TypeError, SyntaxError):
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(below.value.value)
    return found


# ---------------------------------------------------------------------------------------------- types in words


def allowed_values(kind: Any) -> str:
    """A type in the words of whoever writes the file: "an integer from 0 to 65535"."""
    return _words(types.type_info(kind))


def _words(info: types.Type) -> str:  # noqa: PLR0911 - a table of types
    match info:
        case types.Metadata():
            return _words(info.type)
        case types.BoolType():
            return "true or false"
        case types.IntType():
            return "an integer" + _range(info.ge, info.gt, info.le, info.lt)
        case types.FloatType():
            return "a number" + _range(info.ge, info.gt, info.le, info.lt)
        case types.StrType():
            return "a string" + _string_limits(info)
        case types.LiteralType():
            return "one of " + ", ".join(json.dumps(value) for value in info.values)
        case types.EnumType():
            return "one of " + ", ".join(json.dumps(member.value) for member in info.cls)
        case types.ListType() | types.VarTupleType() | types.SetType() | types.FrozenSetType():
            return f"a list of: {_words(info.item_type)}" + _lengths(info.min_length, info.max_length, "items")
        case types.DictType():
            return f"a table of: {_words(info.value_type)}"
        case types.UnionType():
            return ", or ".join(_words(member) for member in info.types if not isinstance(member, types.NoneType))
        case types.StructType():
            return "a table with " + ", ".join(field.encode_name for field in info.fields)
        case _:
            return type(info).__name__.removesuffix("Type").lower()


def _range(ge: Any, gt: Any, le: Any, lt: Any) -> str:
    low = f"from {ge}" if ge is not None else f"above {gt}" if gt is not None else ""
    high = f"to {le}" if le is not None else f"below {lt}" if lt is not None else ""
    if high and not low:
        high = f"up to {le}" if le is not None else high
    return "".join(f" {part}" for part in (low, high) if part)


def _string_limits(info: types.StrType) -> str:
    pattern = f" that matches {info.pattern}" if info.pattern else ""
    return _lengths(info.min_length, info.max_length, "characters") + pattern


def _lengths(least: int | None, most: int | None, unit: str) -> str:
    if least is None and most is None:
        return ""
    if least is None or most is None:
        return f" of at most {most} {unit}" if least is None else f" of at least {least} {unit}"
    return f" of {least} to {most} {unit}"


# ---------------------------------------------------------------------------------------------- reference


def describe(struct: type[msgspec.Struct]) -> str:
    """One paragraph an option: name, default, what is allowed, meaning."""
    return "\n".join(
        f"{option.name} (default {toml_value(option.default)}; {allowed_values(option.type)})\n"
        + textwrap.indent(textwrap.fill(option.description, LINE_WIDTH - 4), "    ")
        for option in options_of(struct)
    )


def format_reference(sections: Mapping[str, type[msgspec.Struct]]) -> str:
    """A commented TOML file of all options at their defaults; it parses, and changes nothing as it stands."""
    return "\n".join(_section_reference(name, struct) for name, struct in sections.items())


def _section_reference(name: str, struct: type[msgspec.Struct]) -> str:
    lines = [*_comment(inspect.getdoc(struct) or ""), f"[{name}]", ""]
    for option in options_of(struct):
        lines += _comment(option.description)
        lines += _comment(f"Allowed: {allowed_values(option.type)}.")
        # TOML has no null: an option that is unset by default is shown commented out.
        unset = option.default is None
        lines += [f"# {option.name} =" if unset else f"{option.name} = {toml_value(option.default)}", ""]
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    paragraphs = [line for line in text.split("\n\n") if line.strip()]
    return [f"# {line}" for paragraph in paragraphs for line in textwrap.wrap(" ".join(paragraph.split()), LINE_WIDTH)]


def toml_value(value: Any) -> str:  # noqa: PLR0911 - a table of types
    """A default as TOML. Raises TypeError for what TOML cannot say."""
    match value:
        case None:
            return "unset"
        case Enum():
            return toml_value(value.value)
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list() | tuple() | frozenset() | set():
            return f"[{', '.join(toml_value(item) for item in value)}]"
        case dict():
            return "{ " + ", ".join(f"{json.dumps(key)} = {toml_value(item)}" for key, item in value.items()) + " }"
        case msgspec.Struct():
            return toml_value(msgspec.to_builtins(value))
        case _:
            raise TypeError(f"no TOML for {value!r}")
