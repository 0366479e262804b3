"""What every target asks of a parser: a value or a known reason, whole and cut at every byte, in linear time.

Used by the targets. `verdict` lets every exception but MalformedPacket through: that is the invariant.
"""

import os
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings

from shm.errors import MalformedPacket

SECONDS = float(os.environ.get("RINGLINE_FUZZ_SECONDS", "0"))  # for each test; see conftest.py

Parse = Callable[[Any], Any]
Error = TypeVar("Error", bound=Exception)


def examples(most: int) -> settings:
    """A target's settings: its number of examples, no deadline (the machine may be busy)."""
    return settings(max_examples=most, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def verdict(parse: Parse, data: bytes | str, reasons: Collection[str]) -> Any:
    """The value, or as text the reason of the refusal, which must be one of `reasons`."""
    try:
        return parse(data)
    except MalformedPacket as error:
        reason = error.reason
    assert reason in reasons, f"unknown reason {reason!r}"
    return reason


def attempt(errors: type[Error] | tuple[type[Error], ...], function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function gives, or the expected error that it raises."""
    try:
        return function(*arguments)
    except errors as error:
        return error


def cuts(data: bytes) -> Iterator[bytes]:
    """Whole, and cut at every byte."""
    for end in range(len(data), -1, -1):
        yield data[:end]


class Counted(bytes):
    """Bytes that count how many of them are looked at, also through slices: for uncompiled parsers."""

    book: list[int]

    @classmethod
    def of(cls, data: bytes) -> "Counted":
        """Counting from zero."""
        counted = cls(data)
        counted.book = [0]
        return counted

    @property
    def looked_at(self) -> int:
        """Bytes looked at so far."""
        return self.book[0]

    def __getitem__(self, place: Any) -> Any:
        found = bytes.__getitem__(self, place)
        if isinstance(found, int):
            self.book[0] += 1
            return found
        self.book[0] += len(found)
        part = Counted(found)
        part.book = self.book
        return part


def assert_linear(parse: Parse, data: bytes, reasons: Collection[str], per_byte: int, start: int = 64) -> None:
    """No input makes the parser look at more than `per_byte` bytes for each of its own, plus a few."""
    counted = Counted.of(data)
    verdict(parse, counted, reasons)
    assert counted.looked_at <= start + per_byte * len(data), (counted.looked_at, len(data))
