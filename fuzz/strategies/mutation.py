"""From something valid to something nearly valid: what every protocol's hostile strategy ends in.

Used by the other files of this folder. A mutation is a small edit that a parser could fall for: a bit, a byte, a length
field at its limits, a piece cut out, doubled or put elsewhere.
"""

from collections.abc import Callable

from hypothesis import strategies as st

# Values that lengths, counts and indexes go wrong at, as two bytes.
EDGES = tuple(number.to_bytes(2, "big") for number in (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFC, 0xFFFF))


def _flip(data: bytes, place: int, value: int) -> bytes:
    at = place % len(data)
    return data[:at] + bytes((data[at] ^ (1 << value % 8),)) + data[at + 1 :]


def _byte(data: bytes, place: int, value: int) -> bytes:
    at = place % len(data)
    return data[:at] + bytes((value % 256,)) + data[at + 1 :]


def _edge(data: bytes, place: int, value: int) -> bytes:
    at = place % len(data)
    return (data[:at] + EDGES[value % len(EDGES)] + data[at + 2 :])[: max(len(data), 2)]


def _cut(data: bytes, place: int, value: int) -> bytes:
    return data[: place % (len(data) + 1)]


def _drop(data: bytes, place: int, value: int) -> bytes:
    at = place % len(data)
    return data[:at] + data[at + 1 + value % 8 :]


def _double(data: bytes, place: int, value: int) -> bytes:
    at = place % len(data)
    return data[: at + value % 32] + data[at:]


def _append(data: bytes, place: int, value: int) -> bytes:
    return data + bytes((value % 256,)) * (1 + place % 5)


EDITS: tuple[Callable[[bytes, int, int], bytes], ...] = (_flip, _byte, _edge, _cut, _drop, _double, _append)


def _edited(data: bytes, edits: list[tuple[int, int, int]]) -> bytes:
    for kind, place, value in edits:
        if data:
            data = EDITS[kind](data, place, value)
    return data


def mutated(valid: st.SearchStrategy[bytes], most: int = 4) -> st.SearchStrategy[bytes]:
    """Valid bytes with one to `most` edits."""
    edit = st.tuples(st.integers(0, len(EDITS) - 1), st.integers(0, 2000), st.integers(0, 255))
    return st.builds(_edited, valid, st.lists(edit, min_size=1, max_size=most))


def hostile(valid: st.SearchStrategy[bytes], noise_max: int = 120) -> st.SearchStrategy[bytes]:
    """Valid, nearly valid, two joined, or noise."""
    return st.one_of(
        mutated(valid), valid, st.tuples(valid, mutated(valid)).map(b"".join), st.binary(max_size=noise_max)
    )
