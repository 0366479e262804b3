"""What the record layer needs to go on, as plain fields (DESIGN 2.13).

In the product the fields lie in `struct session_dtls` of the session segment; anything with these attributes will do,
and `MemoryState` is that for handshakes in progress and for tests. Written by the control thread alone.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

VERSION_DTLS_1_2 = 0xFEFD


class Role(IntEnum):
    """Who sent the ClientHello; the numbers are those of `struct session_dtls`."""

    CLIENT = 1
    SERVER = 2


class DtlsState(Protocol):
    """`struct session_dtls`: keys and counters of one association."""

    version: int  # 0: no keys yet; written last
    cipher_suite: int  # IANA number
    role: int
    closed: bool  # close_notify or a fatal alert was sent or authenticated
    write_epoch: int
    read_epoch: int
    write_sequence: int  # next to use; advanced before the record is handed out
    read_highest: int  # highest authenticated sequence number + 1; 0: none
    read_window: int  # bit i: read_highest - 1 - i was seen
    write_key: bytes
    read_key: bytes
    write_iv: bytes
    read_iv: bytes


@dataclass(slots=True)
class MemoryState:
    """A `DtlsState` of its own."""

    version: int = 0
    cipher_suite: int = 0
    role: int = 0
    closed: bool = False
    write_epoch: int = 0
    read_epoch: int = 0
    write_sequence: int = 0
    read_highest: int = 0
    read_window: int = 0
    write_key: bytes = field(default=b"", repr=False)
    read_key: bytes = field(default=b"", repr=False)
    write_iv: bytes = field(default=b"", repr=False)
    read_iv: bytes = field(default=b"", repr=False)


def install_state(source: DtlsState, target: DtlsState) -> None:
    """Copy every field, `version` last: whoever finds it set finds all the rest."""
    target.version = 0
    target.cipher_suite = source.cipher_suite
    target.role = source.role
    target.closed = source.closed
    target.write_epoch = source.write_epoch
    target.read_epoch = source.read_epoch
    target.write_sequence = source.write_sequence
    target.read_highest = source.read_highest
    target.read_window = source.read_window
    target.write_key = source.write_key
    target.read_key = source.read_key
    target.write_iv = source.write_iv
    target.read_iv = source.read_iv
    target.version = source.version
