"""`multipart/form-data` in memory: table, bounds, and that nothing but HttpError comes out."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transceiverd.signalling.errors import HttpError
from transceiverd.signalling.multipart import PARTS_MAX, parse_form

KIND = "multipart/form-data; boundary=frontier"


def part(name: str, value: str, header: str = "") -> str:
    """One part with its delimiter line."""
    return f'--frontier\r\nContent-Disposition: form-data; name="{name}"\r\n{header}\r\n{value}\r\n'


END = "--frontier--\r\n"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (part("sdp", "v=0\r\n") + END, {"sdp": b"v=0\r\n"}),
        (part("sdp", "v=0\r\n") + "--frontier--", {"sdp": b"v=0\r\n"}),
        (part("a", "1") + part("b", "2") + END, {"a": b"1", "b": b"2"}),
        (part("a", "1") + part("a", "2") + END, {"a": b"1"}),
        ("preamble\r\n" + part("a", "1") + END + "epilogue", {"a": b"1"}),
        (part("a", "") + END, {"a": b""}),
        (part("", "x") + END, {"": b"x"}),
        (part("a", "x\r\n--frontierx\r\ny") + END, {"a": b"x\r\n--frontierx\r\ny"}),
        (part("a", "x--frontier") + END, {"a": b"x--frontier"}),
        (part("a", "1").replace("--frontier\r\n", "--frontier  \t\r\n") + END, {"a": b"1"}),
        (part("a", "1", "Content-Type: application/sdp\r\n") + END, {"a": b"1"}),
        (part("a", "1").replace('name="a"', 'name="a"; filename="x.sdp"') + END, {"a": b"1"}),
        (part("a", "1").replace('name="a"', 'filename="name=b"; name=a') + END, {"a": b"1"}),
        ((part("a", "1") + END).replace("\r\n", "\n"), {"a": b"1"}),
        (END, {}),
    ],
)
def test_multipart_fields(body: str, fields: dict[str, bytes]) -> None:
    assert parse_form(body.encode(), KIND) == fields
    assert parse_form(body.encode(), 'Multipart/Form-Data; charset=utf-8; boundary="frontier"') == fields


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", KIND),
        (b"--frontier", KIND),
        (b"--frontier\r\n", KIND),
        (part("a", "1").encode(), KIND),
        ((part("a", "1") + END).encode(), "multipart/form-data"),
        ((part("a", "1") + END).encode(), "multipart/form-data; boundary="),
        ((part("a", "1") + END).encode(), "multipart/form-data; boundary=" + "x" * 71),
        ((part("a", "1") + END).encode(), "multipart/form-data; boundary=other"),
        ((part("a", "1").replace("name=", "other=") + END).encode(), KIND),
        ((part("a", "1").replace("Content-Disposition", "Content-Type") + END).encode(), KIND),
        ((part("a", "1", "Content-Transfer-Encoding: base64\r\n") + END).encode(), KIND),
        ((part("a", "1", "X: " + "y" * 3000 + "\r\n") + END).encode(), KIND),
        ((part("a", "1") * (PARTS_MAX + 1) + END).encode(), KIND),
    ],
)
def test_multipart_malformed(body: bytes, kind: str) -> None:
    with pytest.raises(HttpError) as caught:
        parse_form(body, kind)
    assert (caught.value.status, caught.value.code) == (400, "malformed_multipart")


PIECES = st.sampled_from(
    ["--frontier", "--", "\r\n", "\n", 'Content-Disposition: form-data; name="sdp"', "\r\n\r\n", "v=0", ";", "name="]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PIECES.map(str.encode), st.binary(max_size=8)), max_size=30), st.text(max_size=40))
def test_multipart_any_input(pieces: list[bytes], kind: str) -> None:
    """Invariant: fields or HttpError 400, whole and cut."""
    whole = b"".join(pieces)
    for data in (whole, *(whole[:end] for end in range(0, len(whole), max(1, len(whole) // 8)))):
        for content_type in (KIND, kind):
            with contextlib.suppress(HttpError):
                assert all(isinstance(value, bytes) for value in parse_form(data, content_type).values())
