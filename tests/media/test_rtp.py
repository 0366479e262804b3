"""RTP packets that are refused, each with its reason. Any other input, twins and aiortc: fuzz/test_rtp.py."""

import pytest

from shm.errors import MalformedPacket
from tests.twins import load_both


@pytest.mark.parametrize("module", load_both("transceiverd.media.rtp"))
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "rtp-truncated"),
        (bytes([0x80]) + bytes(10), "rtp-truncated"),
        (bytes([0x40]) + bytes(11), "rtp-version"),
        (bytes([0x82]) + bytes(18), "rtp-csrc-truncated"),
        (bytes([0x90]) + bytes(14), "rtp-extension-truncated"),
        (bytes([0x90]) + bytes(13) + b"\x00\x02" + bytes(7), "rtp-extension-truncated"),
        (bytes([0xA0]) + bytes(11), "rtp-padding"),
        (bytes([0xA0]) + bytes(12), "rtp-padding"),
        (bytes([0xA0]) + bytes(12) + b"\x03", "rtp-padding"),
    ],
)
def test_rtp_names_what_is_wrong(module: object, data: bytes, reason: str) -> None:
    with pytest.raises(MalformedPacket) as caught:
        module.parse_rtp(data)  # type: ignore[attr-defined]
    assert caught.value.reason == reason
