# cython: language_level=3, annotation_typing=False
"""Serial numbers made plain integers (RFC 9260 1.6, RFC 1982).

Inside the engine a TSN, stream sequence number or message identifier is an integer that never wraps; on the wire it is
the low 32 or 16 bits. `unwrap` finds the integer nearest to one that is known. Hostile values only ever land within
half a turn of what we know, so nothing can be made to jump.
"""


def unwrap32(value: int, near: int) -> int:
    """The integer nearest to `near` whose low 32 bits are `value`."""
    return near + ((value - near + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def unwrap16(value: int, near: int) -> int:
    """The integer nearest to `near` whose low 16 bits are `value`."""
    return near + ((value - near + 0x8000) & 0xFFFF) - 0x8000
