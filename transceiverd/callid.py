"""Call ids: `rtc_` + routing prefix + 128 random bits (DESIGN 3), minted by a transceiver, read by signalling.

The routing prefix names machine (16 bits) and transceiver (8 bits) in four characters of URL-safe base64, so that
any signalling process can pass a request on without a table. Knowing an id is the right to end its call, so ids are
compared in constant time and never come from the ufrag, which travels in the clear.

    rtc_ MMMT RRRRRRRRRRRRRRRRRRRRRR      30 characters; shm/layout.h keeps 48 bytes for it
"""

import base64
import hmac
import secrets
from typing import NamedTuple

SCHEME = "rtc_"
RANDOM_BYTES = 16  # 128 bits
PREFIX_CHARACTERS = 4  # 24 bits
RANDOM_CHARACTERS = 22  # 128 bits, the last character carries 2 of them
CHARACTERS = len(SCHEME) + PREFIX_CHARACTERS + RANDOM_CHARACTERS
SHORT_CHARACTERS = 16  # for logs: 48 random bits tell calls apart and end none


class CallRoute(NamedTuple):
    """Where a call was made."""

    machine: int
    transceiver: int


def mint(machine: int, transceiver: int) -> str:
    """A new id from the system's random source."""
    prefix = machine.to_bytes(2, "big") + transceiver.to_bytes(1, "big")
    return SCHEME + _encode(prefix) + _encode(secrets.token_bytes(RANDOM_BYTES))


def route(call_id: str) -> CallRoute | None:
    """The machine and transceiver that an id names; None when it is not an id, or not written as `mint` writes."""
    if len(call_id) != CHARACTERS or not call_id.startswith(SCHEME) or not call_id.isascii():
        return None
    prefix_text = call_id[len(SCHEME) : len(SCHEME) + PREFIX_CHARACTERS]
    random_text = call_id[len(SCHEME) + PREFIX_CHARACTERS :]
    try:
        prefix, random = _decode(prefix_text), _decode(random_text)
    except ValueError:
        return None
    if _encode(prefix) != prefix_text or _encode(random) != random_text:
        return None
    return CallRoute(int.from_bytes(prefix[:2], "big"), prefix[2])


def same(left: str, right: str) -> bool:
    """Whether two ids are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(left.encode("utf-8", "surrogatepass"), right.encode("utf-8", "surrogatepass"))


def short(call_id: str) -> str:
    """The part of an id that may stand in a log."""
    return call_id[:SHORT_CHARACTERS]


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
