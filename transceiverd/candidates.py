"""The host candidates of every answer: this machine's addresses, or those of the configuration, on the relay's port.

Read at start and when asked to again; the same list goes into every answer (DESIGN 5). RFC 8421: IPv4 and IPv6 in turn.
The candidates themselves are made in `sdp/candidate.py`, which does no I/O. Left out: link-local addresses (their
zone cannot be told in SDP), temporary and deprecated IPv6 addresses (they stop working under a running call), multicast
and wildcard addresses, names (nothing is resolved here).
"""

import ipaddress
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import ifaddr

from transceiverd.sdp.candidate import Candidate, IPAddress, host_candidates

__all__ = [
    "Candidate",
    "IPAddress",
    "advertised_addresses",
    "host_candidates",
    "is_advertisable",
    "missing_locals",
    "order_addresses",
]

CANDIDATES_MAX = 32  # of one answer: a client checks each, and a host full of containers has hundreds of addresses

INTERFACE_FLAGS = Path("/proc/net/if_inet6")  # where Linux tells which IPv6 address is temporary
UNFIT_FLAGS = 0x01 | 0x08 | 0x20 | 0x40  # linux/if_addr.h: temporary, duplicate found, deprecated, tentative


def advertised_addresses(configured: Sequence[str] = (), bind4: str = "0.0.0.0", bind6: str = "::") -> list[IPAddress]:
    """Addresses to advertise, best first: the configured ones, or every fit one of this machine for none or `auto`.

    `public=local` stands for 1:1 NAT: clients reach `local`, an address of this machine, as `public`, so `auto` leaves
    `local` out. `bind4` and `bind6` are what the relay listens on: empty, none of that family; one address, that only.
    Raises ValueError, naming the entry, for one that is no usable address.
    """
    entries = [_entry(text) for text in configured or ("auto",) if text != "auto"]
    mapped = {entry.local for entry in entries if entry.local is not None}
    chosen = [entry.public for entry in entries if _reaches(entry, bind4, bind6)]
    if not configured or "auto" in configured:
        own = (address for address in _machine_addresses() if _listens(address, bind4, bind6))
        chosen += [address for address in own if address not in mapped]
    return order_addresses(chosen)


def missing_locals(configured: Sequence[str]) -> list[str]:
    """Entries `public=local` whose `local` is no address of this machine now: a warning, since it may come yet."""
    own = set(_machine_addresses())
    return [text for text in configured if text != "auto" and (local := _entry(text).local) and local not in own]


class _Entry(NamedTuple):
    """One configured address."""

    public: IPAddress
    local: IPAddress | None


def _entry(text: str) -> _Entry:
    public, mapped, local = text.partition("=")
    entry = _Entry(_configured_address(public.strip()), _configured_address(local.strip()) if mapped else None)
    if entry.local is not None and entry.local.version != entry.public.version:
        raise ValueError(f"{text!r} maps an address to one of the other family")
    return entry


def _reaches(entry: _Entry, bind4: str, bind6: str) -> bool:
    """Whether packets for a configured address reach the relay; without `local` it is taken at its word."""
    if entry.local is None:
        return bool(bind4 if entry.public.version == 4 else bind6)
    return _listens(entry.local, bind4, bind6)


def _listens(local: IPAddress, bind4: str, bind6: str) -> bool:
    """Whether the relay listens on an address of this machine."""
    bound = bind4 if local.version == 4 else bind6
    if not bound:
        return False
    listening = ipaddress.ip_address(bound)
    return listening.is_unspecified or listening == local


def order_addresses(addresses: Iterable[IPAddress]) -> list[IPAddress]:
    """Without repeats; IPv6 and IPv4 in turn, wide scopes first, loopback last; at most CANDIDATES_MAX."""
    ranked = sorted(dict.fromkeys(addresses), key=_rank)
    reachable = [address for address in ranked if not address.is_loopback]
    loopback = [address for address in ranked if address.is_loopback]
    six = [address for address in reachable if address.version == 6]
    four = [address for address in reachable if address.version == 4]
    mixed = [address for pair in zip_longest(six, four) for address in pair if address is not None]
    return (mixed + sorted(loopback, key=lambda address: address.version))[:CANDIDATES_MAX]


def is_advertisable(address: IPAddress) -> bool:
    """Whether a client could reach it as written."""
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)


def _rank(address: IPAddress) -> tuple[bool, bool]:
    return (address.is_loopback, not address.is_global)


def _configured_address(text: str) -> IPAddress:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither `auto` nor an IP address") from None
    if not is_advertisable(address):
        raise ValueError(f"{text!r} cannot be advertised: link-local, multicast or wildcard")
    return address


def _machine_addresses() -> list[IPAddress]:
    """Every fit address of every interface, loopback included."""
    unfit = _unfit_addresses()
    found: list[IPAddress] = []
    for adapter in ifaddr.get_adapters():
        for entry in adapter.ips:
            text = entry.ip if isinstance(entry.ip, str) else entry.ip[0]
            address = ipaddress.ip_address(text.partition("%")[0])
            if is_advertisable(address) and address not in unfit:
                found.append(address)
    return found


def _unfit_addresses() -> set[IPAddress]:
    """IPv6 addresses that are temporary, deprecated, tentative or duplicate; empty where the kernel does not tell."""
    try:
        lines = INTERFACE_FLAGS.read_text("ascii").splitlines()
    except OSError:
        return set()
    unfit: set[IPAddress] = set()
    for line in lines:
        fields = line.split()
        if len(fields) == 6 and int(fields[4], 16) & UNFIT_FLAGS:
            unfit.add(ipaddress.IPv6Address(bytes.fromhex(fields[0])))
    return unfit
