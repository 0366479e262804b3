"""What the options of a configuration are: names, types, defaults, limits, descriptions, and a reference of them.

Called by shm/daemon for its messages and for `--help-config`, by reload.py, which asks what may change live, and by
`systemd/reference.py`, which writes the installed configuration file and the reference page. An option is described
once, by its field's `Meta(description=...)`: meaning and the default's reason, then one last sentence, `Reload.` or
`Restart.`, which says how a change takes effect, with what a reload reaches where that is not all at once: `Reload, for
new calls.` The default, what is allowed and the unit are not written there: the code has them already.
"""

from __future__ import annotations

import inspect
import json
import re
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
    """Meaning, and the reason of the default, without the last word."""
    reloads: bool
    """Whether a change takes effect by a reload; else by a restart."""
    reach: str
    """What a reload reaches, where it is not everything at once: "for new calls"."""
    unit: str
    """In words; empty for what has none."""
    secret: bool
    """Its value is never shown."""

    @property
    def change(self) -> str:
        """How a change takes effect, in words."""
        return ("reload" if self.reloads else "restart") + (f", {self.reach}" if self.reach else "")


# The last sentence of every description.
_CHANGE = re.compile(r"\s*\b(Reload|Restart)(?:, ([^.]*))?\.$")
# STYLE 3 puts units last in a name.
_UNITS = {"ms": "milliseconds", "us": "microseconds", "seconds": "seconds", "bytes": "bytes", "minutes": "minutes"}
_MAX = ("max", "min")


def options_of(struct: type[msgspec.Struct]) -> list[Option]:
    """The options of a section in the order of the struct.

    Raises TypeError, our own bug, for a field without a default or whose description does not say how it changes.
    """
    hints = get_type_hints(struct, include_extras=True)
    return [_option(struct, field, hints[field.name]) for field in msgspec.structs.fields(struct)]


def _option(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo, kind: Any) -> Option:
    metas = _metas(kind)
    description = next((meta.description for meta in metas if meta.description), "")
    change = _CHANGE.search(description)
    if change is None:
        raise TypeError(f"{struct.__name__}.{field.name}: its description must end with `Reload.` or `Restart.`")
    extras: dict[str, Any] = {}
    for meta in metas:
        extras |= meta.extra or {}
    return Option(
        name=field.encode_name,
        attribute=field.name,
        type=kind,
        default=_default(struct, field),
        description=description[: change.start()],
        reloads=change[1] == "Reload",
        reach=change[2] or "",
        unit=extras.get("unit", _unit_of(field.encode_name)),
        secret=bool(extras.get("secret")),
    )


def _unit_of(name: str) -> str:
    """By the end of the name."""
    words = [word for word in name.split("_") if word not in _MAX]
    return _UNITS.get(words[-1], "") if words else ""


def _metas(kind: Any) -> list[msgspec.Meta]:
    return [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]


def _default(struct: type[msgspec.Struct], field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    raise TypeError(f"{struct.__name__}.{field.name} has no default: a configuration may lack every key")


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


def facts_of(option: Option) -> str:
    """What can be said of an option without knowing what it is for."""
    unit = f"Unit: {option.unit}. " if option.unit else ""
    default = toml_value(option.default)
    return f"{unit}Default: {default}. Allowed: {allowed_values(option.type)}. Takes effect by: {option.change}."


def format_reference(sections: Mapping[str, type[msgspec.Struct]]) -> str:
    """A commented TOML file: every option with its default, commented out, so that it changes nothing as it stands."""
    return "\n".join(_section_reference(name, struct) for name, struct in sections.items())


def _section_reference(name: str, struct: type[msgspec.Struct]) -> str:
    lines = [*_comment(inspect.getdoc(struct) or ""), f"[{name}]", ""]
    for option in options_of(struct):
        lines += _comment(option.description)
        lines += _comment(facts_of(option))
        # No blank behind the sign: that is how an option is told from a sentence. TOML has no null.
        value = "" if option.default is None else f" {toml_value(option.default)}"
        lines += [f"#{option.name} ={value}", ""]
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    paragraphs = [line for line in text.split("\n\n") if line.strip()]
    return [f"# {line}" for paragraph in paragraphs for line in textwrap.wrap(" ".join(paragraph.split()), LINE_WIDTH)]


def format_page(sections: Mapping[str, type[msgspec.Struct]]) -> str:
    """The same as Markdown, a table for each section."""
    return "\n".join(_section_page(name, struct) for name, struct in sections.items())


def _section_page(name: str, struct: type[msgspec.Struct]) -> str:
    lines = [f"## [{name}]", "", " ".join((inspect.getdoc(struct) or "").split()), ""]
    lines += ["| key | default | unit | allowed | change | meaning |", "|---|---|---|---|---|---|"]
    for option in options_of(struct):
        cells = (f"`{option.name}`", f"`{toml_value(option.default)}`", option.unit, allowed_values(option.type),
                 option.change, option.description)  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*lines, ""])


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
