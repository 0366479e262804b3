"""What a log may say of a client's address (`[ringline] log_addresses`).

Set once by logs.py; apart from it, because engines that name an address in a line know no clock.
"""

import ipaddress

_OCTETS = frozenset(str(octet) for octet in range(256))
NETWORK_BITS = {4: 24, 6: 48}  # what is left when only the network is shown: one site among many


class _Shown:
    """How much, in this process."""

    mode = "full"


def show_addresses(mode: str) -> None:
    """`full`, `network` or `none`, from now on."""
    _Shown.mode = mode


def client_address(text: str) -> str:
    """A client's address as it may stand in a log; anything else becomes a question mark, so that nothing of a peer's
    making gets in by this way."""
    if _Shown.mode == "full" and _plain_ipv4(text):
        return text
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "?"
    if _Shown.mode == "full":
        return str(address)
    if _Shown.mode == "none":
        return "a client"
    return str(ipaddress.ip_network((address, NETWORK_BITS[address.version]), strict=False))


def _plain_ipv4(text: str) -> bool:
    """The way `ipaddress` would write it, at a tenth of what an object of it costs, twice in every call."""
    parts = text.split(".")
    return len(parts) == 4 and all(map(_OCTETS.__contains__, parts))
