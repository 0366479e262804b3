"""Who may place, see and end calls: bearer tokens from the configuration (RFC 6750 2.1), or everybody.

Called by the public application for every call route, and by the operator's where tokens are set. Tokens are compared
by their hashes and in constant time, all of them each time, so that neither a character nor the list's order can be
timed.
"""

import hashlib
import hmac
from collections.abc import Iterable

from aiohttp import web

from transceiverd.signalling.errors import HttpError

OWNER_CHARACTERS = 16  # 64 bits: enough to tell a server's tokens apart
CHALLENGE = 'Bearer realm="ringline"'


class TokenList:
    """The tokens that are accepted; none: everybody is let in."""

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self.replace(tokens)

    def replace(self, tokens: Iterable[str]) -> None:
        """Accept these from now on, and no others."""
        self._digests = [_digest(token) for token in tokens]

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return not self._digests

    def accepts(self, token: str) -> bool:
        """Whether a token is one of the list."""
        digest = _digest(token)
        matched = False
        for known in self._digests:
            matched |= hmac.compare_digest(known, digest)
        return matched

    def require(self, request: web.Request) -> str:
        """Who asks (`owner_of` the token), or nobody in particular. Raise HttpError 401 without an accepted token."""
        if self.open:
            return ""
        values = request.headers.getall("Authorization", [])
        scheme, _, token = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token.strip():
            raise HttpError(
                401,
                "missing_token",
                "this server wants the header Authorization: Bearer <token>",
                headers={"WWW-Authenticate": CHALLENGE},
            )
        if not self.accepts(token.strip()):
            raise HttpError(
                401,
                "invalid_token",
                "the bearer token is not one of this server's",
                headers={"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'},
            )
        return owner_of(token.strip())


def owner_of(token: str) -> str:
    """A name for the holder of a token: the same in every process, and no way back to the token."""
    labelled = b"ringline-owner-1 " + token.encode("utf-8", "surrogateescape")
    return hashlib.sha256(labelled).hexdigest()[:OWNER_CHARACTERS]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
