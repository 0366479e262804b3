"""Our answers against aiortc: its own offer, our answer, its opinion."""

import asyncio

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from aiortc.sdp import SessionDescription

from tests.sdp.offers import NAMES, identity, negotiated, sample
from transceiverd.sdp.answer import build_answer
from transceiverd.sdp.parse import parse_offer


@pytest.mark.parametrize("data_channels", [False, True])
@pytest.mark.parametrize("with_data", [False, True])
def test_aiortc_accepts_the_answer(with_data: bool, data_channels: bool) -> None:
    async def call() -> None:
        peer = RTCPeerConnection()
        try:
            peer.addTrack(AudioStreamTrack())
            if with_data:
                peer.createDataChannel("oai-events")
            await peer.setLocalDescription(await peer.createOffer())
            negotiation = negotiated(peer.localDescription.sdp, data_channels=data_channels)
            answer = build_answer(negotiation, identity(candidates=()))
            await peer.setRemoteDescription(RTCSessionDescription(sdp=answer, type="answer"))
            assert peer.signalingState == "stable"
            assert peer.getTransceivers()[0].currentDirection == "sendrecv"
            assert peer.getSenders()[0].transport.transport.iceGatherer is not None
        finally:
            await peer.close()

    asyncio.run(call())


@pytest.mark.parametrize("data_channels", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_aiortc_reads_the_answer_as_meant(name: str, data_channels: bool) -> None:
    """aiortc's SDP parser as oracle for what our text says."""
    negotiation = negotiated(sample(name), data_channels=data_channels)
    read = SessionDescription.parse(build_answer(negotiation, identity()))
    assert [media.port != 0 for media in read.media] == [section.accepted for section in negotiation.sections]
    assert negotiation.audio is not None
    media = read.media[negotiation.audio.section]
    assert media.direction == negotiation.audio.direction
    assert [codec.payloadType for codec in media.rtp.codecs] == [
        each.payload_type for each in negotiation.audio.payloads
    ]
    assert media.rtcp_mux
    assert media.ice.iceLite
    assert media.dtls.role == negotiation.dtls_role
    tagged = read.media[negotiation.transport_section]
    assert [(each.ip, each.port) for each in tagged.ice_candidates] == [("192.0.2.2", 3478), ("2001:db8::2", 3478)]
    assert tagged.ice_candidates_complete


@pytest.mark.parametrize("name", NAMES)
def test_aiortc_and_our_parser_read_offers_alike(name: str) -> None:
    ours, theirs = parse_offer(sample(name)), SessionDescription.parse(sample(name).decode())
    assert len(ours.sections) == len(theirs.media)
    for section, media in zip(ours.sections, theirs.media, strict=True):
        assert (section.kind, section.port, section.protocol) == (media.kind, media.port, media.profile)
        assert list(section.formats) == [str(each) for each in media.fmt]
        assert (section.attributes.mid or "") == media.rtp.muxId
        credentials = ours.ice_credentials(section)
        assert (credentials or (None, None)) == (media.ice.usernameFragment, media.ice.password)
        assert section.attributes.candidates == len(media.ice_candidates)
        assert section.attributes.sctp_port == media.sctp_port
        assert sorted(section.attributes.rtpmaps) == sorted(codec.payloadType for codec in media.rtp.codecs)
