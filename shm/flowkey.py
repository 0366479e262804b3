"""The flow key (DESIGN 3): transport, client address, local address, ports and scope, packed into 48 canonical bytes.

Owns the text-and-tuple view of `struct flow_key` in layout.h. Called by control threads, signalling, status and tests;
the packet path handles the 48 bytes as they are and never comes here. Canonical form: an IPv4 address is written as
`::ffff:a.b.c.d` (RFC 4291 2.5.5.2), everything not used is zero, so that two keys are equal when their bytes are.
Left out: parsing of "address:port" text, and names; a key never comes from a name.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from shm.errors import MalformedPacket

TRANSPORT_UDP = 1
"""enum ringline_transport in layout.h."""
TRANSPORT_TCP = 2
"""enum ringline_transport in layout.h."""

KEY_SIZE = 48
"""Bytes of `struct flow_key`."""

_KEY = struct.Struct("<16s16sHHIB7s")
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_NO_PADDING = bytes(7)
_CLIENT_PORT_OFFSET = 32
_LOCAL_PORT_OFFSET = 34

Address = IPv4Address | IPv6Address


class FlowKey(NamedTuple):
    """One flow: `client` is the peer's address, `local` the address of ours that it wrote to, never the wildcard.

    Ports are plain integers; `scope` is the interface index of an IPv6 link-local address and otherwise 0.
    """

    transport: int
    client: Address
    client_port: int
    local: Address
    local_port: int
    scope: int = 0

    def pack(self) -> bytes:
        """The 48 bytes of `struct flow_key`. Raises ValueError when a number does not fit its field."""
        if self.transport not in (TRANSPORT_UDP, TRANSPORT_TCP):
            raise ValueError(f"transport {self.transport} is neither UDP (1) nor TCP (2)")
        try:
            return _KEY.pack(
                pack_address(self.client),
                pack_address(self.local),
                self.client_port,
                self.local_port,
                self.scope,
                self.transport,
                _NO_PADDING,
            )
        except struct.error as error:
            raise ValueError(f"port or scope out of range in {self}: {error}") from None

    @classmethod
    def unpack(cls, data: bytes | bytearray | memoryview) -> FlowKey:
        """The key in 48 bytes. Raises MalformedPacket when they are not the canonical form of any key."""
        if len(data) != KEY_SIZE:
            raise MalformedPacket("flow-key-size")
        client, local, client_port, local_port, scope, transport, padding = _KEY.unpack(data)
        if transport not in (TRANSPORT_UDP, TRANSPORT_TCP):
            raise MalformedPacket("flow-key-transport")
        if padding != _NO_PADDING:
            raise MalformedPacket("flow-key-padding")
        return cls(transport, unpack_address(client), client_port, unpack_address(local), local_port, scope)


def pack_address(address: Address) -> bytes:
    """16 bytes in network order; IPv4 as an IPv4-mapped IPv6 address."""
    return address.packed if address.version == 6 else _MAPPED_PREFIX + address.packed


def unpack_address(data: bytes) -> Address:
    """The address in 16 bytes; an IPv4-mapped one comes back as IPv4. An IPv6 scope lives in the key, not here."""
    if len(data) != 16:
        raise MalformedPacket("address-size")
    return IPv4Address(data[12:]) if data.startswith(_MAPPED_PREFIX) else IPv6Address(data)


def key_client(key: bytes) -> tuple[str, int]:
    """The client's address as text and its port, from 48 packed bytes; for logs, candidates and XOR-MAPPED-ADDRESS."""
    return _endpoint(key, 0, _CLIENT_PORT_OFFSET)


def key_local(key: bytes) -> tuple[str, int]:
    """Our address that the client wrote to, as text, and its port, from 48 packed bytes."""
    return _endpoint(key, 16, _LOCAL_PORT_OFFSET)


def _endpoint(key: bytes, address_offset: int, port_offset: int) -> tuple[str, int]:
    if len(key) != KEY_SIZE:
        raise MalformedPacket("flow-key-size")
    port = int.from_bytes(key[port_offset : port_offset + 2], "little")
    packed = key[address_offset : address_offset + 16]
    if packed.startswith(_MAPPED_PREFIX):  # without an object: logs and lists of sessions ask often
        return f"{packed[12]}.{packed[13]}.{packed[14]}.{packed[15]}", port
    return str(IPv6Address(packed)), port
