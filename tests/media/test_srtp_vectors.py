"""The RFCs' vectors hold the reference, and the reference holds libsrtp as our glue calls it."""

import random

import pytest

from tests.media import reference
from tests.media.world import CM_80, GCM_128, GCM_256, PROFILES
from transceiverd.media.srtp import SrtpContext

RTP = bytes.fromhex(
    "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573"
)
RTCP = bytes.fromhex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61" + "deadbeef" * 5)
SALT = bytes.fromhex("517569642070726f2071756f")
SEALED_RTP = {
    16: "f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833899d7f27beb16a9152cf765ee4390cce",
    32: "32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
}
SEALED_RTCP = {
    16: "63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda"
    "4ce09b4686303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
    32: "d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be"
    "8415f658c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
}


@pytest.mark.parametrize("size", [16, 32])
def test_srtp_rfc7714_section_16_rtp(size: int) -> None:
    assert reference.gcm_rtp(bytes(range(size)), SALT, RTP, 0xF17B) == RTP[:12] + bytes.fromhex(SEALED_RTP[size])


@pytest.mark.parametrize("size", [16, 32])
def test_srtp_rfc7714_section_17_rtcp(size: int) -> None:
    assert reference.gcm_rtcp(bytes(range(size)), SALT, RTCP, 0x5D4) == RTCP[:8] + bytes.fromhex(SEALED_RTCP[size])


def test_srtp_rfc3711_b2_keystream() -> None:
    key = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C")
    stream = reference.counter_mode(key, bytes.fromhex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000"), bytes(0xFF02 * 16))
    blocks = {
        0: "E03EAD0935C95E80E166B16DD92B4EB4",
        1: "D23513162B02D0F72A43A2FE4A5F97AB",
        2: "41E95B3BB0A2E8DD477901E4FCA894C0",
        0xFEFF: "EC8CDF7398607CB0F2D21675EA9EA1E4",
        0xFF00: "362B7C3C6773516318A077D7FC5073AE",
        0xFF01: "6A2CC3787889374FBEB4C81B17BA6C44",
    }
    for place, block in blocks.items():
        assert stream[16 * place : 16 * place + 16].hex().upper() == block


def test_srtp_rfc3711_b3_key_derivation() -> None:
    key = bytes.fromhex("E1F97A0D3E018BE0D64FA32C06DE4139")
    salt = bytes.fromhex("0EC675AD498AFEEBB6960B3AABE6")
    assert reference.derive(key, salt, 0, 16).hex().upper() == "C61E7A93744F39EE10734AFE3FF7A087"
    assert reference.derive(key, salt, 2, 14).hex().upper() == "30CBBC08863D8C85D49DB34A9AE1"
    assert reference.derive(key, salt, 1, 94).hex().upper().startswith("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")


@pytest.mark.parametrize("profile", [CM_80, GCM_128, GCM_256])
def test_srtp_glue_seals_as_the_rfcs_say(profile: int) -> None:
    dice = random.Random(profile)
    _, key_size, salt_size = PROFILES[profile]
    for rollover, advanced in ((0, 0x5D3), (1, 0), (5, 70), (0xFFFFFFFF, 1)):
        key, salt = dice.randbytes(key_size), dice.randbytes(salt_size)
        sender = SrtpContext(profile, key, salt, ssrc=0x5501A0B2)
        assert sender.set_rollover(0x5501A0B2, rollover)
        assert sender.protect(RTP) == reference.protect(profile, key, salt, RTP, rollover << 16 | 0xF17B)
        reporter = SrtpContext(profile, key, salt, ssrc=0x4D617273)
        reporter.advance_rtcp(advanced)
        assert reporter.protect_rtcp(RTCP) == reference.protect(profile, key, salt, RTCP, advanced + 1, rtcp=True)


@pytest.mark.parametrize("profile", [CM_80, GCM_128, GCM_256])
def test_srtp_glue_opens_what_the_reference_sealed_at_any_rollover(profile: int) -> None:
    _, key_size, salt_size = PROFILES[profile]
    key, salt = bytes(range(key_size)), bytes(range(salt_size))
    sealed = reference.protect(profile, key, salt, RTP, 7 << 16 | 0xF17B)
    receiver = SrtpContext(profile, key, salt, streams=[0x5501A0B2])
    assert receiver.set_rollover(0x5501A0B2, 7)
    assert receiver.unprotect(sealed) == RTP
    assert receiver.unprotect_rtcp(reference.protect(profile, key, salt, RTCP, 9, rtcp=True)) == RTCP


def test_srtp_refuses_wrong_keys() -> None:
    with pytest.raises(ValueError, match="not one of"):
        SrtpContext(0x0002, bytes(16), bytes(14))
    with pytest.raises(ValueError, match="needs 16"):
        SrtpContext(GCM_128, bytes(16), bytes(14))
    receiver = SrtpContext(GCM_128, bytes(16), bytes(12))
    with pytest.raises(ValueError, match="status"):
        receiver.unprotect(RTP + bytes(16))
