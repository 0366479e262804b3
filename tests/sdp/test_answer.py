"""The text of answers: what RFC 8829, 8839, 9143 and the clients ask for."""

import pytest

from tests.sdp.offers import NAMES, SESSION, audio_offer, identity, negotiated, sample, text
from transceiverd.sdp.answer import build_answer
from transceiverd.sdp.parse import parse_offer


def answer(offer: str | bytes, *, data_channels: bool = False, **changes: object) -> list[str]:
    """The lines of an answer."""
    whole = build_answer(negotiated(offer, data_channels=data_channels), identity(**changes))
    assert whole.endswith("\r\n")
    return whole.removesuffix("\r\n").split("\r\n")


@pytest.mark.parametrize("data_channels", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_answer_mirrors_the_offer(name: str, data_channels: bool) -> None:
    """Same sections, kinds, protocols and mids in the same order; rejected means port 0 and not in the group."""
    offer = parse_offer(sample(name))
    parsed = parse_offer("\r\n".join(answer(sample(name), data_channels=data_channels)))
    assert [(s.kind, s.protocol, s.attributes.mid) for s in parsed.sections] == [
        (s.kind, s.protocol, s.attributes.mid) for s in offer.sections
    ]
    accepted = [section for section in parsed.sections if section.port]
    assert accepted
    assert all(section.attributes.ice_ufrag and section.attributes.fingerprints for section in accepted)
    assert all(set(a.formats) <= set(o.formats) for a, o in zip(parsed.sections, offer.sections, strict=True))
    if offer.session.bundle_groups:
        assert set(parsed.session.bundle_groups[0]) == {section.attributes.mid for section in accepted}
    else:
        assert not parsed.session.bundle_groups
    assert sum(section.attributes.candidates > 0 for section in parsed.sections) == 1


def test_answer_whole() -> None:
    """One answer in full, as a picture of it."""
    fingerprint = "a=fingerprint:sha-256 " + ":".join(["00"] * 32)
    transport = [f"a=ice-ufrag:{'u' * 30}", f"a=ice-pwd:{'p' * 24}", fingerprint, "a=setup:active"]
    expected = [
        *["v=0", "o=- 77 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "a=ice-lite", "a=ice-options:ice2"],
        "a=msid-semantic:WMS *",
        *transport,
        *["m=audio 3478 UDP/TLS/RTP/SAVPF 111 0 8", "c=IN IP4 192.0.2.2", "a=mid:0"],
        *transport,
        "a=candidate:2722872736 1 udp 2130706431 192.0.2.2 3478 typ host",
        "a=candidate:271313451 1 udp 2130706175 2001:db8::2 3478 typ host",
        *["a=end-of-candidates", "a=sendrecv", "a=msid:ringline ringline-audio", "a=rtcp-mux", "a=rtcp-rsize"],
        *["a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"],
        *["a=rtpmap:0 PCMU/8000", "a=rtpmap:8 PCMA/8000"],
        *["a=ssrc:4660 cname:cname-of-the-call", "a=ssrc:4660 msid:ringline ringline-audio"],
        *["m=application 0 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:1"],
    ]
    assert answer(sample("chromium_156_audio_data")) == expected


def test_answer_says_rtcp_rsize_only_to_who_knows_it() -> None:
    assert "a=rtcp-rsize" in answer(audio_offer("a=rtcp-rsize"))
    assert "a=rtcp-rsize" not in answer(audio_offer())


def test_answer_names_no_stream_when_it_sends_none() -> None:
    lines = answer(audio_offer("a=sendonly"))
    assert "a=recvonly" in lines
    assert not any(line.startswith(("a=ssrc", "a=msid:")) for line in lines)


def test_answer_takes_nothing_else_over() -> None:
    """No header extension, feedback, or unknown line of the offer comes back."""
    lines = answer(sample("chromium_156_audio_video_data"))
    assert not any(line.startswith(("a=extmap", "a=rtcp-fb", "a=rtcp-xr", "a=ssrc-group", "a=rid")) for line in lines)


def test_answer_without_candidates() -> None:
    lines = answer(audio_offer(), candidates=())
    assert "m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8" in lines
    assert "c=IN IP4 0.0.0.0" in lines


def test_answer_without_mid() -> None:
    assert not any(line.startswith(("a=mid", "a=group")) for line in answer(audio_offer(without="a=mid")))


def test_answer_data_section() -> None:
    lines = answer(sample("chromium_156_sped_snap"), data_channels=True, sctp_init=b"\x01\x00\x00\x14")
    data = lines[lines.index("m=application 3478 UDP/DTLS/SCTP webrtc-datachannel") :]
    assert {"a=sctp-port:5000", "a=max-message-size:262144", "a=sctp-init:AQAAFA==", "a=setup:active"} <= set(data)
    assert "a=group:BUNDLE 0 1" in lines
    without = answer(sample("chromium_156_audio_data"), data_channels=True, sctp_init=b"\x01\x00\x00\x14")
    assert not any(line.startswith("a=sctp-init") for line in without), "only who offered it gets it"


def test_answer_tagged_data_section_carries_the_candidates() -> None:
    lines = answer(sample("firefox_144_data_first"), data_channels=True)
    candidates = [place for place, line in enumerate(lines) if line.startswith("a=candidate")]
    assert max(candidates) < lines.index("m=audio 3478 UDP/TLS/RTP/SAVPF 109 0 8")
    assert "a=group:BUNDLE 0 1" in lines


def test_answer_session_id_is_a_63_bit_number() -> None:
    assert f"o=- {2**63 - 1} 1 IN IP4 127.0.0.1" in answer(audio_offer(), session_id=2**64 - 1)


def test_answer_is_ascii_without_injection() -> None:
    offer = audio_offer("a=ice-options:a\x0bb é", "a=unknown:\ra=inactive")
    lines = answer(offer)
    assert "\n".join(lines).isascii()
    assert not any("\r" in line for line in lines)
    assert "a=inactive" not in lines


def test_answer_to_many_sections() -> None:
    videos = [["m=video 9 UDP/TLS/RTP/SAVPF 96 97", f"a=mid:v{place}", "a=rtpmap:96 VP8/90000"] for place in range(15)]
    lines = answer(audio_offer() + text(*videos))
    assert lines.count("m=video 0 UDP/TLS/RTP/SAVPF 96") == 15
    assert SESSION[0] == lines[0]
