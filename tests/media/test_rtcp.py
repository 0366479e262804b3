"""RTCP compounds that are refused, each with its reason. Any other input, twins and aiortc: fuzz/test_rtcp.py."""

import pytest

from shm.errors import MalformedPacket
from tests.twins import load_both


@pytest.mark.parametrize("module", load_both("transceiverd.media.rtcp"))
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "rtcp-truncated"),
        ("80c9", "rtcp-truncated"),
        ("40c9000100000001", "rtcp-version"),
        ("80c9000200000001", "rtcp-length"),
        ("80c90001000000 01 80", "rtcp-truncated"),
        ("a0c9000200000001000000ff", "rtcp-padding"),
        ("a0c900020000000100000002", "rtcp-padding"),
        ("a0c9000200000001000000048 0c9000100000001", "rtcp-padding"),
        ("81c9000100000001", "rtcp-report-truncated"),
        ("80c80001000000 01", "rtcp-report-truncated"),
        ("81ca0001 00000001", "rtcp-description-truncated"),
        ("81ca0002 00000001 01080000", "rtcp-description-truncated"),
        ("82cb0001 00000001", "rtcp-bye-truncated"),
        ("81cb0002 00000001 04616263", "rtcp-bye-truncated"),
    ],
)
def test_rtcp_names_what_is_wrong(module: object, data: str, reason: str) -> None:
    with pytest.raises(MalformedPacket) as caught:
        module.parse_rtcp(bytes.fromhex(data.replace(" ", "")))  # type: ignore[attr-defined]
    assert caught.value.reason == reason
