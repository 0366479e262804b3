"""The parser of offers: grammar, bounds, levels, and that nothing but MalformedSdp ever comes out."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sdp.offers import AUDIO, FINGERPRINT, NAMES, SESSION, TRANSPORT, audio_offer, sample, text
from transceiverd.sdp.errors import MalformedSdp
from transceiverd.sdp.limits import SdpLimits
from transceiverd.sdp.offer import Fingerprint, RtpMap
from transceiverd.sdp.parse import parse_offer

# line -> code
MALFORMED_LINES = [
    ("x", "malformed_line"),
    ("=a", "malformed_line"),
    ("am=audio", "malformed_line"),
    ("m=audio", "malformed_media"),
    ("m=audio 9", "malformed_media"),
    ("m=audio 9 UDP/TLS/RTP/SAVPF", "malformed_media"),
    ("m=audio 65536 UDP/TLS/RTP/SAVPF 111", "malformed_media"),
    ("m=audio -1 UDP/TLS/RTP/SAVPF 111", "malformed_media"),
    ("m=audio ٩ UDP/TLS/RTP/SAVPF 111", "malformed_media"),
    ("m=au(dio 9 UDP/TLS/RTP/SAVPF 111", "malformed_media"),
    ("m=audio 9 UDP//RTP 111", "malformed_media"),
    ("m=audio 9 UDP/TLS/RTP/SAVPF 11\r1", "malformed_media"),
    ("m=audio 9 UDP/TLS/RTP/SAVPF " + " ".join(["1"] * 65), "too_many_formats"),
    ("a=mid:", "malformed_attribute"),
    ("a=mid", "malformed_attribute"),
    ("a=mid:a b", "malformed_attribute"),
    ("a=mid:" + "m" * 65, "malformed_attribute"),
    ("a=ice-ufrag:abc", "malformed_attribute"),
    ("a=ice-ufrag:ab-d", "malformed_attribute"),
    ("a=ice-ufrag:" + "u" * 257, "malformed_attribute"),
    ("a=ice-pwd:" + "p" * 21, "malformed_attribute"),
    ("a=ice-pwd:" + "p" * 257, "malformed_attribute"),
    ("a=ice-pwd:" + "p" * 21 + "é", "malformed_attribute"),
    ("a=fingerprint:sha-256", "malformed_attribute"),
    ("a=fingerprint:sha-256 AB:CD", "malformed_attribute"),
    ("a=fingerprint:sha-256 " + ":".join(["GG"] * 32), "malformed_attribute"),
    ("a=fingerprint:sha-256 " + "AB" * 32, "malformed_attribute"),
    ("a=setup:both", "malformed_attribute"),
    ("a=rtpmap:111", "malformed_attribute"),
    ("a=rtpmap:111 opus", "malformed_attribute"),
    ("a=rtpmap:111 opus/fast", "malformed_attribute"),
    ("a=rtpmap:111 opus/9999999999", "malformed_attribute"),
    ("a=rtpmap:111 opus/48000/0", "malformed_attribute"),
    ("a=sctp-port:70000", "malformed_attribute"),
    ("a=max-message-size:-1", "malformed_attribute"),
    ("a=max-message-size:99999999999999999999", "malformed_attribute"),
    ("a=" + "x" * 4100, "line_too_long"),
]


def refused(offer: str | bytes, limits: SdpLimits | None = None) -> MalformedSdp:
    """The error that an offer gives."""
    with pytest.raises(MalformedSdp) as caught:
        parse_offer(offer, limits)
    return caught.value


@pytest.mark.parametrize(("line", "code"), MALFORMED_LINES)
def test_parse_malformed_lines(line: str, code: str) -> None:
    error = refused(audio_offer(line))
    assert error.code == code
    assert error.message.isprintable(), "a message can stand in a log line"
    assert len(error.message) < 300


@pytest.mark.parametrize(
    "line",
    [
        "a=unknown",
        "a=unknown:with a value",
        "a=extmap-allow-mixed",
        "a=extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level",
        "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:xxxx",
        "a=:",
        "a=",
        "z=0 0",
        "q=unknown type",
        "b=AS:64",
        "",
        "a=candidate:complete nonsense",
        "a=fmtp:webrtc-datachannel max-message-size=100000",
        "a=group:BUNDLE",
        "a=group:LS 0",
        "a=group:",
        "a=fingerprint:md5 " + ":".join(["AB"] * 16),
    ],
)
def test_parse_ignores_what_it_need_not_know(line: str) -> None:
    assert parse_offer(audio_offer(line)).sections[0].kind == "audio"


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        ("", "not_sdp"),
        ("hello", "not_sdp"),
        ("v=1\r\n", "not_sdp"),
        ("o=- 1 1 IN IP4 0.0.0.0\r\nv=0\r\n", "not_sdp"),
        ("v=0\r\n", "no_media"),
        (b"v=0\r\n\xff\xfe", "not_utf8"),
        (text(SESSION, AUDIO, AUDIO), "duplicate_mid"),
    ],
)
def test_parse_whole(offer: str | bytes, code: str) -> None:
    assert refused(offer).code == code


def test_parse_line_ends() -> None:
    crlf = audio_offer()
    for other in (crlf.replace("\r\n", "\n"), crlf.removesuffix("\r\n"), crlf + "\r\n\r\n", "\r\n" + crlf):
        assert parse_offer(other) == parse_offer(crlf) == parse_offer(crlf.encode())


def test_parse_other_line_separators_split_nothing() -> None:
    section = parse_offer(audio_offer("a=unknown:x\u2028a=inactive\x0ba=inactive\x85a=inactive")).sections[0]
    assert section.attributes.direction is None


@pytest.mark.parametrize(
    ("limits", "offer", "code"),
    [
        (SdpLimits(bytes_max=200), audio_offer(), "sdp_too_large"),
        (SdpLimits(bytes_max=300), audio_offer("a=x:" + "é" * 100), "sdp_too_large"),
        (SdpLimits(lines_max=10), audio_offer(), "too_many_lines"),
        (SdpLimits(lines_max=20), audio_offer() + "\n" * 30, "too_many_lines"),
        (SdpLimits(sections_max=1), audio_offer("m=video 0 RTP/AVP 96"), "too_many_sections"),
        (SdpLimits(candidates_max=1), audio_offer("a=candidate:1", "a=candidate:2"), "too_many_candidates"),
        (SdpLimits(fingerprints_max=1), audio_offer(f"a=fingerprint:{FINGERPRINT}"), "too_many_fingerprints"),
        (SdpLimits(formats_max=2), audio_offer(), "too_many_formats"),
    ],
)
def test_parse_bounds(limits: SdpLimits, offer: str, code: str) -> None:
    assert refused(offer, limits).code == code
    assert refused(offer.encode(), limits).code == code
    assert parse_offer(offer), "the defaults have room for it"


def test_parse_never_quotes_a_password() -> None:
    assert "secret" not in refused(audio_offer("a=ice-pwd:secret")).message


def test_parse_first_of_repeated_attributes_counts() -> None:
    section = parse_offer(
        audio_offer("a=mid:9", "a=ice-ufrag:zzzz", "a=setup:passive", "a=rtpmap:111 other/1")
    ).sections[0]
    assert section.attributes.mid == "0"
    assert section.attributes.ice_ufrag == "abcd"
    assert section.attributes.setup == "actpass"
    assert section.attributes.rtpmaps[111] == RtpMap("opus", 48000, 2)


def test_parse_levels() -> None:
    offer = parse_offer(text(SESSION, TRANSPORT, ["a=recvonly", "a=ice-options:trickle"], AUDIO))
    section = offer.sections[0]
    assert offer.ice_credentials(section) == ("abcd", "abcdefghijklmnopqrstuv")
    assert offer.fingerprints(section) == [Fingerprint("sha-256", ":".join(["AB"] * 32))]
    assert (offer.setup(section), offer.direction(section)) == ("actpass", "recvonly")
    assert offer.ice_options(section) == ("trickle",)


def test_parse_section_level_wins() -> None:
    own = ["a=ice-ufrag:wxyz", "a=ice-pwd:" + "w" * 22, "a=fingerprint:sha-384 " + ":".join(["cd"] * 48), "a=sendonly"]
    offer = parse_offer(text(SESSION, TRANSPORT, ["a=recvonly"], AUDIO, own))
    section = offer.sections[0]
    assert offer.ice_credentials(section) == ("wxyz", "w" * 22)
    assert [each.algorithm for each in offer.fingerprints(section)] == ["sha-384"]
    assert offer.fingerprints(section)[0].value == ":".join(["CD"] * 48), "digests are upper case"
    assert offer.direction(section) == "sendonly"


def test_parse_credentials_come_from_one_level() -> None:
    offer = parse_offer(text(SESSION, TRANSPORT, AUDIO, ["a=ice-ufrag:wxyz"]))
    assert offer.ice_credentials(offer.sections[0]) == ("abcd", "abcdefghijklmnopqrstuv")


@pytest.mark.parametrize("name", NAMES)
def test_parse_samples(name: str) -> None:
    offer = parse_offer(sample(name))
    audio = next(section for section in offer.sections if section.kind == "audio")
    assert offer.ice_credentials(audio) is not None
    assert offer.fingerprints(audio)
    assert offer.setup(audio) == "actpass"


@pytest.mark.parametrize("name", NAMES)
def test_parse_samples_cut_anywhere(name: str) -> None:
    """Invariant: an offer or MalformedSdp, for every prefix of a real offer."""
    whole = sample(name)
    for end in range(0, len(whole), 19):
        never_another_exception(whole[:end])


LINES = st.sampled_from(
    ["v=0", "m=audio 9 UDP/TLS/RTP/SAVPF 111 0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel", *AUDIO, *TRANSPORT]
    + [line.replace("\r", "") for line, _ in MALFORMED_LINES]
)
ATTRIBUTES = st.builds(
    "a={}:{}".format,
    st.sampled_from(
        ["mid", "rtpmap", "fmtp", "fingerprint", "group", "ice-options", "setup", "sctp-port", "candidate"]
    ),
    st.text(max_size=40),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(LINES, ATTRIBUTES, st.text(max_size=30)), max_size=30), st.sampled_from(["\r\n", "\n"]))
def test_parse_hostile_lines(lines: list[str], end: str) -> None:
    """Invariant: an offer or MalformedSdp, whole and cut."""
    whole = end.join(["v=0", *lines])
    never_another_exception(whole)
    for place in range(0, len(whole), max(1, len(whole) // 8)):
        never_another_exception(whole[:place])


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(st.characters(), max_size=200)))
def test_parse_any_input(data: bytes | str) -> None:
    """Invariant: an offer or MalformedSdp."""
    never_another_exception(data)


def never_another_exception(data: bytes | str) -> None:
    """Parse, and let only what is promised pass."""
    with contextlib.suppress(MalformedSdp):
        parse_offer(data)
