"""Which `Host` headers are answered (RFC 9110 7.2), against DNS rebinding.

A web page of any origin can let its own name resolve to 127.0.0.1 and then reads this server as its own origin. Where
no token protects it, only names are answered that no stranger's DNS can own: `localhost` and literal addresses, and
what the configuration adds.
"""

import functools
import ipaddress
from collections.abc import Iterable, Sequence

from aiohttp import web

from transceiverd.signalling.errors import HttpError

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class HostRule:
    """The host names that one application answers to."""

    def __init__(self, names: Iterable[str] = (), *, any_literal: bool = False, any_name: bool = False) -> None:
        self._names = frozenset(name.lower().strip("[]") for name in names)
        self._any_literal = any_literal
        self._any_name = any_name

    def accepts(self, host: str) -> bool:
        """Whether a Host header's value, port included, is one of ours."""
        name = host_name(host)
        if name is None:
            return False
        return self._any_name or name in self._names or (self._any_literal and _is_literal(name))

    def require(self, request: web.BaseRequest, values: Sequence[str] | None = None) -> None:
        """Raise HttpError 421 for a host that is not ours. `values`: instead of the request's Host headers."""
        if values is None:
            values = request.headers.getall("Host", [])
        if len(values) != 1 or not self.accepts(values[0]):
            raise HttpError(
                421,
                "unknown_host",
                "this server does not answer to that Host; `hosts` in [signalling] lists more",
                param="Host",
            )


@functools.lru_cache(64)  # a server has few names; a stranger's inventions push them out for one request
def host_name(host: str) -> str | None:
    """The name of a `Host` value in lower case, without port and brackets; None when it is not well-formed."""
    name, port = host.strip().lower(), ""
    if name.startswith("["):
        name, bracket, port = name[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        port = port[1:]
    elif ":" in name:
        name, _, port = name.partition(":")
    if not name or not name.isascii() or (port and not (port.isdigit() and len(port) <= 5)):
        return None
    return name if _is_literal(name) or all(part.isalnum() or part in "-._" for part in name) else None


@functools.lru_cache(64)
def _is_literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
