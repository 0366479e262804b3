"""Call ids: what is in them, what is refused, and how they are compared."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transceiverd import callid


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 65535), st.integers(0, 255))
def test_callid_routes_to_its_maker(machine: int, transceiver: int) -> None:
    made = callid.mint(machine, transceiver)
    assert callid.route(made) == (machine, transceiver)
    assert made.startswith("rtc_")
    assert len(made) == 30
    assert made.removeprefix("rtc_").replace("-", "").replace("_", "").isalnum(), "safe in a URL's path"


def test_callid_is_random() -> None:
    assert len({callid.mint(0, 0) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtc_",
        "x" * 30,
        "rtc_AAAA" + "A" * 21,
        "rtc_AAAA" + "A" * 23,
        "rtc_AAAA" + "A" * 21 + "B",  # the last character carries two bits only: this is another way to write zero
        "rtc_AAAA" + "A" * 21 + "=",
        "rtc_AA+A" + "A" * 22,
        "rtc_AA/A" + "A" * 22,
        "rtc_AA A" + "A" * 22,
        "RTC_AAAA" + "A" * 22,
        "rtc_éAAA" + "A" * 22,
        "rtc_AAAA" + "A" * 21 + "\n",
    ],
)
def test_callid_refuses(text: str) -> None:
    assert callid.route(text) is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_callid_any_text(text: str) -> None:
    """Invariant: a route or None."""
    callid.route(text)
    callid.route("rtc_" + text)
    assert callid.same(text, text)


def test_callid_same() -> None:
    left, right = callid.mint(0, 0), callid.mint(0, 0)
    assert callid.same(left, left)
    assert not callid.same(left, right)
    assert not callid.same(left, left + "A")
    assert len(callid.short(left)) == 16
