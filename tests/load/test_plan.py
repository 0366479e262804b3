"""A load run is bounded, and is against this machine unless somebody says otherwise."""

import pytest

from transceiverd.load.plan import Plan


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080", "http://localhost:8080/whip", "https://[::1]/", "http://127.9.9.9"]
)
def test_plan_takes_loopback(url: str) -> None:
    assert Plan(url=url).is_loopback


@pytest.mark.parametrize("url", ["http://192.0.2.1:8080", "https://example.org/whip", "http://127.0.0.1.example.org"])
def test_plan_refuses_other_machines_unless_told(url: str) -> None:
    with pytest.raises(ValueError, match="--allow-remote"):
        Plan(url=url)
    assert not Plan(url=url, allow_remote=True).is_loopback


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("calls", 0), ("calls", 20_001), ("rate", 0.0), ("rate", 1e9), ("seconds", 3601.0), ("seconds", -1.0),
        ("patience_seconds", 0.0), ("payload_bytes", 20), ("payload_bytes", 1500), ("mix", 1.01),
        ("consent_seconds", 0),
    ],
)  # fmt: skip
def test_plan_is_bounded_and_says_what_is_allowed(option: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=r"found .*, allowed are"):
        Plan(url="http://127.0.0.1", **{option: wrong})


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8080", "", "http://", "http://127.0.0.1:99999"])
def test_plan_refuses_what_is_no_url(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Plan(url=url)


def test_plan_counts_aiortc_calls_by_share() -> None:
    assert Plan(url="http://127.0.0.1", calls=200, mix=0.05).aiortc_calls == 10
