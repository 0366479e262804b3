"""`multipart/form-data` from a body that is already in memory (RFC 7578, RFC 2046 5.1.1).

Called for call requests only. The body is bounded before it comes here, so parts are slices of it: nothing is written
to disk and nothing is decompressed. Lenient as browsers and SDKs need it: a preamble and an epilogue are ignored, LF
alone ends a header line. A file name is not looked at; a transfer encoding other than none is refused.
"""

import re

from transceiverd.signalling.errors import HttpError

PARTS_MAX = 16  # `sdp`, `session` and room for what another service's client adds
PART_HEADER_BYTES_MAX = 2048
BOUNDARY_CHARACTERS_MAX = 70  # RFC 2046 5.1.1
BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,200})"|([^\s;",]{1,200}))', re.IGNORECASE | re.ASCII)
NAME = re.compile(r';\s*name="([^"\r\n]{0,200})"|;\s*name=([^\s;"]{1,200})', re.IGNORECASE)
IDENTITY_ENCODINGS = frozenset({"", "7bit", "8bit", "binary"})


def parse_form(body: bytes, content_type: str) -> dict[str, bytes]:
    """Field name to value; the first of a name counts.

    `content_type` is the whole header value. Raises HttpError 400.
    """
    delimiter = b"--" + _boundary(content_type)
    if body.startswith(delimiter):
        body = b"\r\n" + body
    line = rb"\r?\n" + re.escape(delimiter) + rb"(?=--|[ \t]*\r?\n)"
    chunks = re.split(line, body, maxsplit=PARTS_MAX + 2)
    fields: dict[str, bytes] = {}
    for place, chunk in enumerate(chunks[1:]):
        if chunk.startswith(b"--"):
            return fields
        if place >= PARTS_MAX:
            raise _malformed(f"more than {PARTS_MAX} parts")
        name, value = _part(chunk)
        fields.setdefault(name, value)
    raise _malformed("the closing boundary is missing")


def _boundary(content_type: str) -> bytes:
    found = BOUNDARY.search(content_type)
    text = (found[1] or found[2]) if found else ""
    if not 1 <= len(text) <= BOUNDARY_CHARACTERS_MAX or not text.isascii():
        raise _malformed(f"its Content-Type has no boundary of 1 to {BOUNDARY_CHARACTERS_MAX} characters")
    return text.encode("ascii")


def _part(chunk: bytes) -> tuple[str, bytes]:
    """One part: padding and line end behind the boundary, headers, an empty line, the value."""
    _, line_end, rest = chunk.partition(b"\n")
    head = re.search(rb"\r?\n\r?\n", b"\n" + rest[:PART_HEADER_BYTES_MAX])
    if not line_end or head is None:
        raise _malformed("a part has no header, or one that is too long")
    headers = _headers((b"\n" + rest)[: head.start()])
    found = NAME.search(headers.get("content-disposition", ""))
    if found is None:
        raise _malformed("a part has no name")
    if headers.get("content-transfer-encoding", "").lower() not in IDENTITY_ENCODINGS:
        raise _malformed("a part has a Content-Transfer-Encoding")
    return found[1] if found[1] is not None else found[2], (b"\n" + rest)[head.end() :]


def _headers(raw: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").split("\n"):
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return headers


def _malformed(why: str) -> HttpError:
    return HttpError(400, "malformed_multipart", f"the multipart body is malformed: {why}", param="body")
