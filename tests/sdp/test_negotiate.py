"""The negotiation: which section is accepted, over which transport, with which payload types and direction."""

import pytest

from tests.sdp.offers import (
    AUDIO,
    AUDIO_ATTRIBUTES,
    DATA,
    FINGERPRINT,
    NAMES,
    SESSION,
    TRANSPORT,
    audio_offer,
    negotiated,
    sample,
    text,
)
from transceiverd.sdp.errors import MalformedSdp, UnacceptableOffer
from transceiverd.sdp.negotiation import NEGOTIATION_BYTES_MAX, decode_negotiation, encode_negotiation

OTHER = ["a=ice-ufrag:wxyz", "a=ice-pwd:zyxwvutsrqponmlkjihgfe", f"a=fingerprint:{FINGERPRINT}", "a=setup:passive"]

# client -> (payload types, bundle, direction, ufrag of the transport used, candidates offered); data channels off
EXPECTED = {
    "aiortc_1_16_audio_data": ([96, 0, 8], ("0",), "sendrecv", "wPbd", 4),
    "chromium_156_audio": ([111, 0, 8], ("0",), "sendrecv", None, 0),
    "chromium_156_audio_data": ([111, 0, 8], ("0",), "sendrecv", None, 0),
    "chromium_156_audio_data_candidates": ([111, 0, 8], ("0",), "sendrecv", None, 8),
    "chromium_156_audio_video_data": ([111, 0, 8], ("0",), "sendrecv", None, 0),
    "chromium_156_recvonly": ([111, 0, 8], ("0",), "sendonly", None, 0),
    "chromium_156_sped_snap": ([111, 0, 8], ("0",), "sendrecv", None, 0),
    "chromium_156_two_audio": ([111, 0, 8], ("0",), "sendrecv", None, 0),
    "firefox_144_audio_data": ([109, 0, 8], ("0",), "sendrecv", "4d1c9e0b", 0),
    "firefox_144_candidates": ([109, 0, 8], ("0",), "sendrecv", "4d1c9e0b", 3),
    "firefox_144_data_first": ([109, 0, 8], ("1",), "sendrecv", "4d1c9e0b", 0),
    "gstreamer_1_22_no_bundle": ([96], (), "recvonly", "4b9c0e3be5eaf1ae3ec4a4b0c9a2d861", 0),
    "gstreamer_1_26_max_bundle": ([96], ("audio0",), "sendrecv", "sZ0wXWyKkVoo0nYgT0zGZ4Z4Xw3sE1bL", 0),
    "libdatachannel_whip": ([111], ("0",), "recvonly", "dHhn", 1),
    "pion_4_audio_data": ([111, 0, 8], ("0",), "sendrecv", "OWTQbZlCvSJtAqGN", 4),
    "safari_18_audio_data": ([111, 0, 8], ("0",), "sendrecv", "Xq3k", 2),
}


def refused(offer: str | bytes, *, data_channels: bool = False) -> str:
    """The code of the error that an offer gives."""
    with pytest.raises(UnacceptableOffer) as caught:
        negotiated(offer, data_channels=data_channels)
    return caught.value.code


def test_negotiate_knows_every_sample() -> None:
    assert set(EXPECTED) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_negotiate_samples(name: str) -> None:
    payload_types, bundle, direction, ufrag, candidates = EXPECTED[name]
    negotiation = negotiated(sample(name))
    assert negotiation.audio is not None
    assert [payload.payload_type for payload in negotiation.audio.payloads] == payload_types
    assert negotiation.bundle == bundle
    assert negotiation.audio.direction == direction
    assert negotiation.candidates_offered == candidates
    assert ufrag in (None, negotiation.remote_ufrag)
    assert negotiation.data is None
    assert [section.accepted for section in negotiation.sections].count(True) == 1
    assert negotiation.setup == "active"
    assert negotiation.dtls_role == "client"


@pytest.mark.parametrize("name", NAMES)
def test_negotiate_survives_the_blob(name: str) -> None:
    negotiation = negotiated(sample(name), data_channels=True)
    data = encode_negotiation(negotiation)
    assert decode_negotiation(data) == negotiation
    assert len(data) < 1024


@pytest.mark.parametrize(
    ("name", "bundle", "ufrag"),
    [
        ("chromium_156_audio_video_data", ("0", "2"), None),
        ("firefox_144_audio_data", ("0", "1"), "4d1c9e0b"),
        ("firefox_144_data_first", ("0", "1"), "e7a20f53"),  # the tagged section is m=application, with its own ICE
        ("gstreamer_1_26_max_bundle", ("audio0", "application1"), "sZ0wXWyKkVoo0nYgT0zGZ4Z4Xw3sE1bL"),
    ],
)
def test_negotiate_data_channels_switch(name: str, bundle: tuple[str, ...], ufrag: str | None) -> None:
    negotiation = negotiated(sample(name), data_channels=True)
    assert negotiation.bundle == bundle
    assert negotiation.data is not None
    assert negotiation.data.remote_port == 5000
    assert ufrag in (None, negotiation.remote_ufrag)
    assert negotiation.sections[negotiation.transport_section].mid == bundle[0]


@pytest.mark.parametrize("setup", ["actpass", "active", "passive", None])
def test_negotiate_setup(setup: str | None) -> None:
    offer = audio_offer(*([f"a=setup:{setup}"] if setup else []), without="a=setup:actpass")
    assert (
        negotiated(offer).setup
        == {"actpass": "active", "active": "passive", "passive": "active", None: "passive"}[setup]
    )


@pytest.mark.parametrize(
    ("offered", "answered", "sends", "receives"),
    [
        ("sendrecv", "sendrecv", True, True),
        ("sendonly", "recvonly", False, True),
        ("recvonly", "sendonly", True, False),
        ("inactive", "inactive", False, False),
    ],
)
def test_negotiate_direction(offered: str, answered: str, sends: bool, receives: bool) -> None:
    audio = negotiated(audio_offer(f"a={offered}")).audio
    assert audio is not None
    assert (audio.direction, audio.sends, audio.receives) == (answered, sends, receives)


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        (audio_offer(without="a=rtcp-mux"), "rtcp_mux_required"),
        (audio_offer(without="a=ice-ufrag"), "missing_ice_credentials"),
        (audio_offer(without="a=ice-pwd"), "missing_ice_credentials"),
        (audio_offer(without="a=fingerprint"), "missing_fingerprint"),
        (audio_offer("a=fingerprint:md5 " + ":".join(["AB"] * 16), without="a=fingerprint:sha"), "fingerprint_refused"),
        (audio_offer("a=fingerprint:md2 " + ":".join(["AB"] * 16), without="a=fingerprint:sha"), "fingerprint_refused"),
        (audio_offer("a=fingerprint:SHA-1 " + ":".join(["AB"] * 20), without="a=fingerprint:s"), "fingerprint_refused"),
        (audio_offer("a=setup:holdconn", without="a=setup:actpass"), "setup_refused"),
        (audio_offer().replace("m=audio 9", "m=audio 0"), "section_disabled"),
        (audio_offer("a=bundle-only").replace("m=audio 9", "m=audio 0"), "bundle_only_alone"),
        (audio_offer().replace("UDP/TLS/RTP/SAVPF", "UDP/QUIC"), "unsupported_protocol"),
        (audio_offer().replace("RTP/SAVPF 111 0 8", "RTP/SAVPF 9 13"), "no_common_codec"),
        (audio_offer().replace("s=-", "s=-\r\na=ice-lite"), "ice_lite_offer"),
        (text(SESSION, TRANSPORT, DATA), "no_audio"),
        (text(SESSION, TRANSPORT, ["m=video 9 UDP/TLS/RTP/SAVPF 96", "a=rtcp-mux"]), "no_audio"),
    ],
)
def test_negotiate_refuses(offer: str, code: str) -> None:
    assert refused(offer) == code


def test_negotiate_trusts_one_of_several_fingerprints() -> None:
    offer = audio_offer("a=fingerprint:md5 " + ":".join(["AB"] * 16), "a=fingerprint:sha-384 " + ":".join(["cd"] * 48))
    assert [each.algorithm for each in negotiated(offer).remote_fingerprints] == ["sha-256", "sha-384"]


def test_negotiate_section_fingerprint_hides_the_sessions() -> None:
    """A section that brings only md5 must not be authenticated by what stands at session level."""
    weak = "a=fingerprint:md5 " + ":".join(["AB"] * 16)
    assert refused(text(SESSION, TRANSPORT, AUDIO, AUDIO_ATTRIBUTES, [weak])) == "fingerprint_refused"


@pytest.mark.parametrize(
    ("formats", "lines", "accepted"),
    [
        ("8 0 111", [], [111, 0, 8]),  # ours is the order
        ("0 8", [], [0, 8]),  # static types need no rtpmap
        ("0", ["a=rtpmap:0 L16/8000"], []),  # but one that is given counts
        ("96 97", ["a=rtpmap:96 OPUS/48000/2", "a=rtpmap:97 opus/48000/2"], [96]),
        ("96", ["a=rtpmap:96 opus/48000"], [96]),
        ("96", ["a=rtpmap:96 opus/48000/1"], []),
        ("96", ["a=rtpmap:96 opus/16000/2"], []),
        ("96", ["a=rtpmap:96 PCMU/8000/1"], [96]),
        ("96", ["a=rtpmap:96 PCMU/8000/2"], []),
        ("64 95 80", [f"a=rtpmap:{each} opus/48000/2" for each in (64, 95, 80)], []),  # RFC 5761 4
        ("63", ["a=rtpmap:63 opus/48000/2"], [63]),
        ("128 999", ["a=rtpmap:128 opus/48000/2", "a=rtpmap:999 opus/48000/2"], []),
        ("abc", [], []),
        ("111 13 126", ["a=rtpmap:13 CN/8000", "a=rtpmap:126 telephone-event/8000"], [111]),
    ],
)
def test_negotiate_payload_types(formats: str, lines: list[str], accepted: list[int]) -> None:
    offer = audio_offer(*lines).replace("SAVPF 111 0 8", f"SAVPF {formats}")
    if not accepted:
        assert refused(offer) == "no_common_codec"
        return
    audio = negotiated(offer).audio
    assert audio is not None
    assert [payload.payload_type for payload in audio.payloads] == accepted


@pytest.mark.parametrize(
    ("offered", "answered"),
    [
        ("minptime=10;useinbandfec=1", "minptime=10;useinbandfec=1"),
        ("useinbandfec=0; minptime=20 ;stereo=1", "useinbandfec=0;minptime=20"),
        ("minptime=10;minptime=20", "minptime=10"),
        ("minptime=2;useinbandfec=2", ""),
        ("minptime;useinbandfec", ""),
        ("stereo=1;sprop-stereo=1", ""),
        ("minptime=10\u2028a=x", ""),
        ("", ""),
    ],
)
def test_negotiate_opus_parameters(offered: str, answered: str) -> None:
    audio = negotiated(audio_offer(f"a=fmtp:111 {offered}", without="a=fmtp:111 minptime=10;useinbandfec=1")).audio
    assert audio is not None
    assert audio.payloads[0].fmtp == answered


def test_negotiate_first_acceptable_audio_section() -> None:
    unfit = ["m=audio 9 UDP/TLS/RTP/SAVPF 9", "a=mid:x", "a=rtcp-mux"]
    second = ["m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:z", "a=rtcp-mux"]
    group = ["a=group:BUNDLE x 0 z"]
    negotiation = negotiated(text(SESSION, group, TRANSPORT, unfit, AUDIO, AUDIO_ATTRIBUTES, second))
    assert [section.accepted for section in negotiation.sections] == [False, True, False]
    assert negotiation.bundle == ("0",)


@pytest.mark.parametrize(
    ("directions", "accepted"),
    [
        (("inactive", "sendrecv"), 1),  # one held, one in use
        (("recvonly", "sendonly"), 1),  # a transceiver for each direction: whom we do not hear we cannot answer
        (("recvonly", "sendrecv"), 1),
        (("sendonly", "sendrecv"), 1),
        (("sendrecv", "sendrecv"), 0),
        (("recvonly", "inactive"), 0),
        (("inactive", "inactive"), 0),
    ],
)
def test_negotiate_audio_section_in_which_the_client_talks(directions: tuple[str, str], accepted: int) -> None:
    """Chromium with two transceivers: the first one was accepted whatever it was for, and the call stayed mute."""
    first = [*AUDIO, f"a={directions[0]}", *AUDIO_ATTRIBUTES]
    second = [line.replace("mid:0", "mid:1") for line in AUDIO] + [f"a={directions[1]}", *AUDIO_ATTRIBUTES]
    negotiation = negotiated(text(SESSION, ["a=group:BUNDLE 0 1"], TRANSPORT, first, second))
    assert [section.accepted for section in negotiation.sections] == [accepted == 0, accepted == 1]
    assert negotiation.bundle == (str(accepted),)
    assert negotiation.transport_section == accepted


def test_negotiate_tagged_section_rejected() -> None:
    """With m=application tagged and rejected, the audio section's own transport counts, not the tagged one's."""
    offer = text(SESSION, ["a=group:BUNDLE 1 0"], DATA, OTHER, AUDIO, TRANSPORT, AUDIO_ATTRIBUTES)
    negotiation = negotiated(offer)
    assert (negotiation.remote_ufrag, negotiation.setup) == ("abcd", "active")
    assert (negotiation.transport_section, negotiation.bundle) == (1, ("0",))
    accepted = negotiated(offer, data_channels=True)
    assert (accepted.remote_ufrag, accepted.transport_section, accepted.bundle) == ("wxyz", 0, ("1", "0"))


def test_negotiate_bundle_only_takes_the_tagged_sections_transport() -> None:
    only = [AUDIO[0].replace(" 9 ", " 0 "), *AUDIO[1:], "a=bundle-only"]
    negotiation = negotiated(text(SESSION, ["a=group:BUNDLE 1 0"], DATA, OTHER, only, AUDIO_ATTRIBUTES))
    assert negotiation.remote_ufrag == "wxyz"
    assert negotiation.sections[1].accepted


def test_negotiate_group_order_decides_the_tagged_section() -> None:
    offer = text(SESSION, ["a=group:BUNDLE 1 0"], AUDIO, TRANSPORT, AUDIO_ATTRIBUTES, DATA, OTHER)
    assert negotiated(offer, data_channels=True).transport_section == 1


def test_negotiate_data_outside_the_group_is_rejected() -> None:
    for groups in ([], ["a=group:BUNDLE 0"], ["a=group:BUNDLE 0", "a=group:BUNDLE 1"]):
        offer = text(SESSION, groups, AUDIO, TRANSPORT, AUDIO_ATTRIBUTES, DATA, OTHER)
        negotiation = negotiated(offer, data_channels=True)
        assert negotiation.data is None
        assert not negotiation.sections[1].accepted


def test_negotiate_data_alone() -> None:
    offer = text(SESSION, ["a=group:BUNDLE 1"], DATA, OTHER, ["a=max-message-size:0"])
    negotiation = negotiated(offer, data_channels=True)
    assert negotiation.audio is None
    assert negotiation.data is not None
    assert (negotiation.data.remote_max_message_size, negotiation.bundle) == (0, ("1",))


def test_negotiate_message_size_default() -> None:
    data = negotiated(text(SESSION, DATA, OTHER), data_channels=True).data
    assert data is not None
    assert data.remote_max_message_size == 65_536


def test_negotiate_sctp_init() -> None:
    negotiation = negotiated(sample("chromium_156_sped_snap"), data_channels=True)
    assert negotiation.data is not None
    assert negotiation.data.remote_init is not None
    assert negotiation.data.remote_init[0] == 1, "the chunk type of INIT"
    assert len(negotiation.data.remote_init) == 30
    assert "sped" in negotiation.ice_options


@pytest.mark.parametrize("value", ["!!!!", "AQAAHqqE0", "AQ AA", "é", "=", "A" * 1000])
def test_negotiate_malformed_sctp_init(value: str) -> None:
    offer = text(SESSION, DATA, OTHER, [f"a=sctp-init:{value}"])
    with pytest.raises(MalformedSdp):
        negotiated(offer, data_channels=True)
    with pytest.raises(UnacceptableOffer, match="no audio"):
        negotiated(offer)


def test_negotiate_rejected_kinds_keep_their_shape() -> None:
    strange = ["m=hologram 7 X/Y alpha beta", "a=mid:h"]
    negotiation = negotiated(text(SESSION, TRANSPORT, AUDIO, AUDIO_ATTRIBUTES, strange))
    section = negotiation.sections[1]
    assert (section.kind, section.protocol, section.format, section.mid) == ("hologram", "X/Y", "alpha", "h")


def test_negotiate_bounds_the_blob() -> None:
    """Names as long as the grammar lets them be: a few of them fit, many are refused before they reach the blob."""
    kind, protocol, name = "k" * 32, "P" * 64, "f" * 64
    many = [f"m={kind} 9 {protocol} {name}", "a=mid:"]
    lines = [line if line != "a=mid:" else f"a=mid:{place:064d}" for place in range(15) for line in many]
    large = [f"a=ice-ufrag:{'u' * 256}", f"a=ice-pwd:{'p' * 256}", "a=setup:actpass"]
    large += ["a=fingerprint:sha-512 " + ":".join(["AB"] * 64)] * 8
    offer = text(SESSION, AUDIO, large, AUDIO_ATTRIBUTES, lines)
    assert refused(offer) == "offer_too_complex"
    fits = text(SESSION, AUDIO, large, AUDIO_ATTRIBUTES, lines[:12])
    assert len(encode_negotiation(negotiated(fits))) <= NEGOTIATION_BYTES_MAX
