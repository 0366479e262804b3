"""The state cookie: all that an INIT asks us to remember, given to the peer to keep (RFC 9260 5.1.3).

However many INITs come, nothing is stored for them. The cookie is only ours to read; it is not encrypted, since it
holds nothing that the peer does not know but our own tag, which the INIT ACK tells it anyway.
"""

import hmac
import struct
from typing import NamedTuple

from transceiverd.engine import SECOND
from transceiverd.sctp.errors import Refused

LIFETIME = 60 * SECOND  # Valid.Cookie.Life, RFC 9260 16
KEY_SIZE = 16
MAC_SIZE = 16  # of HMAC-SHA-256
_COOKIE = struct.Struct("!QLLLLLHBLL")
SIZE = MAC_SIZE + _COOKIE.size


class Cookie(NamedTuple):
    """What two INITs agreed on. The tie tags are those of the association that was there before, or 0."""

    created: int
    local_tag: int
    local_tsn: int
    peer_tag: int
    peer_tsn: int
    peer_window: int
    peer_streams: int
    features: int
    tie_local: int
    tie_peer: int


def seal(cookie: Cookie, key: bytes) -> bytes:
    """The cookie's bytes under a MAC."""
    body = _COOKIE.pack(*cookie)
    return hmac.digest(key, body, "sha256")[:MAC_SIZE] + body


def unseal(data: bytes, key: bytes) -> Cookie:
    """The cookie, if it is one of ours; raises Refused."""
    if len(data) != SIZE:
        raise Refused("cookie-forged")
    body = data[MAC_SIZE:]
    if not hmac.compare_digest(hmac.digest(key, body, "sha256")[:MAC_SIZE], data[:MAC_SIZE]):
        raise Refused("cookie-forged")
    return Cookie(*_COOKIE.unpack(body))
