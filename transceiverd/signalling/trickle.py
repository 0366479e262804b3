"""The body of a WHIP PATCH: an SDP fragment of candidates (RFC 8840 9, RFC 9725 4.3.1).

A lite agent has no use for candidates, so they are checked for form, counted and forgotten (FACTS 1). What matters is
whether the fragment means trickling, which is answered 204, or an ICE restart, which is not supported yet: 422.
"""

import re
from typing import NamedTuple

from transceiverd.signalling.errors import HttpError

MEDIA_TYPE = "application/trickle-ice-sdpfrag"
FRAGMENT_BYTES_MAX = 16_384  # a hundred candidates
LINE = re.compile(rb"[a-z]=[^\r\n]*")
UFRAG = re.compile(rb"^a=ice-ufrag:([A-Za-z0-9+/]{4,256})[ \t]*\r?$", re.MULTILINE)


class Fragment(NamedTuple):
    """What is of interest in a fragment."""

    ufrag: str | None
    candidates: int


def parse_fragment(body: bytes) -> Fragment:
    """Raises HttpError 400 for what is no SDP fragment."""
    lines = [line.removesuffix(b"\r") for line in body.split(b"\n") if line.strip()]
    if len(body) > FRAGMENT_BYTES_MAX or not lines or any(LINE.fullmatch(line) is None for line in lines):
        raise HttpError(400, "malformed_fragment", "the body is not an SDP fragment (RFC 8840 9)", param="body")
    found = UFRAG.search(body)
    candidates = sum(line.startswith(b"a=candidate:") for line in lines)
    return Fragment(found[1].decode("ascii") if found else None, candidates)
