"""For any body and Content-Type either fields that are read again when written again, or a 400 that says why.

Every input whole and cut at every byte. What aiohttp's client writes is the oracle for what must be read.
"""

import asyncio

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import attempt, cuts, examples
from fuzz.strategies.mutation import mutated
from transceiverd.signalling.errors import HttpError
from transceiverd.signalling.multipart import PART_HEADER_BYTES_MAX, PARTS_MAX, parse_form

TYPE = "multipart/form-data; boundary=line"
NAMES = st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters='"\x7f;\\'), min_size=1, max_size=12)
FIELDS = st.dictionaries(NAMES, st.binary(max_size=30).filter(lambda value: b"--line" not in value), max_size=5)
PIECES = st.lists(
    st.sampled_from([
        b"--line", b"--line--", b"\r\n", b"\n", b"--", b" ", b'Content-Disposition: form-data; name="sdp"',
        b"Content-Disposition: form-data; name=session", b"Content-Transfer-Encoding: base64", b"v=0", b"\xff", b":",
    ]),
    max_size=14,
).map(b"".join)  # fmt: skip


def written(fields: dict[str, bytes]) -> bytes:
    """As browsers write a form."""
    parts = [
        b'--line\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value + b"\r\n"
        for name, value in fields.items()
    ]
    return b"".join([*parts, b"--line--\r\n"])


def check(body: bytes, content_type: str = TYPE) -> None:
    """The invariant for one input."""
    found = attempt(HttpError, parse_form, body, content_type)
    if isinstance(found, HttpError):
        assert (found.status, found.code) == (400, "malformed_multipart")
        assert found.message.isprintable()
        return
    assert len(found) <= PARTS_MAX
    again = {name: value for name, value in found.items() if name.isascii() and b"--line" not in value}
    assert parse_form(written(again), TYPE) == again


@examples(150)
@given(body=st.one_of(PIECES, mutated(FIELDS.map(written)), st.binary(max_size=80)))
def test_multipart_any_bytes(body: bytes) -> None:
    for part in cuts(body):
        check(part)


@examples(200)
@given(value=st.text(max_size=60))
def test_multipart_any_content_type(value: str) -> None:
    check(written({"sdp": b"v=0"}), f"multipart/form-data; {value}")
    check(written({"sdp": b"v=0"}), f"multipart/form-data; boundary={value}")


@examples(60)
@given(fields=st.dictionaries(NAMES, st.text(max_size=40), min_size=1, max_size=5))
def test_multipart_reads_what_aiohttp_writes(fields: dict[str, str]) -> None:
    form = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    payload = form()

    async def body() -> bytes:
        return await payload.as_bytes()

    read = parse_form(asyncio.run(body()), payload.content_type)
    assert read == {name.strip(): value.encode() for name, value in fields.items()} or any(
        name != name.strip() for name in fields
    )


def test_multipart_bounds() -> None:
    most = {f"field{n}": b"x" for n in range(PARTS_MAX)}
    assert parse_form(written(most), TYPE) == most
    for body in (
        written({**most, "more": b"x"}),
        written({"sdp": b"v=0"})[:-4],
        written({"sdp": b"v=0"}).replace(b"\r\n\r\n", b"\r\nX: " + b"y" * PART_HEADER_BYTES_MAX + b"\r\n\r\n", 1),
        b"--line\r\nContent-Type: x\r\n\r\nv=0\r\n--line--",
        b'--line\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nv\r\n--line--',
    ):
        with pytest.raises(HttpError):
            parse_form(body, TYPE)
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=" + "x" * 71, "x; boundary=é"):
        with pytest.raises(HttpError):
            parse_form(written(most), content_type)
