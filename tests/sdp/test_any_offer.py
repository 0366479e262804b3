"""Whatever is offered: an answer that mirrors it, or SdpError; never another exception."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sdp.offers import FINGERPRINT, SESSION, identity, text
from transceiverd.sdp.answer import build_answer
from transceiverd.sdp.errors import SdpError
from transceiverd.sdp.negotiate import NegotiationConfig, negotiate
from transceiverd.sdp.negotiation import NEGOTIATION_BYTES_MAX, decode_negotiation, encode_negotiation
from transceiverd.sdp.parse import parse_offer

TRANSPORT_LINES = [
    ["a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuv"],
    [f"a=fingerprint:{FINGERPRINT}"],
    ["a=fingerprint:md5 " + ":".join(["AB"] * 16)],
    ["a=setup:actpass"],
    ["a=setup:passive"],
    ["a=setup:holdconn"],
]
SECTION_LINES = [
    ["a=rtcp-mux"],
    ["a=rtcp-rsize"],
    ["a=bundle-only"],
    ["a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10"],
    ["a=rtpmap:0 L16/8000"],
    ["a=sctp-init:AQAAFA=="],
    ["a=sctp-port:0", "a=max-message-size:0"],
    ["a=inactive"],
    ["a=recvonly"],
    ["a=candidate:1 1 udp 1 printer.local 9 typ host"],
]
HEADS = [
    f"m={kind} {port} {rest}"
    for kind, rest in (
        ("audio", "UDP/TLS/RTP/SAVPF 111 0 8"),
        ("audio", "RTP/AVP 0"),
        ("video", "UDP/TLS/RTP/SAVPF 96"),
        ("application", "UDP/DTLS/SCTP webrtc-datachannel"),
        ("application", "DTLS/SCTP 5000"),
        ("text", "X 1"),
    )
    for port in (0, 9, 9, 9)
]


def lines_of(choices: list[list[str]]) -> st.SearchStrategy[list[str]]:
    """Any of the groups of lines."""
    return st.lists(st.sampled_from(choices), max_size=8).map(
        lambda chosen: [line for group in chosen for line in group]
    )


@st.composite
def offers(draw: st.DrawFn) -> str:
    """Sections of every kind with any of the attributes, in groups of any shape; often with what is needed."""
    good = [line for group in (TRANSPORT_LINES[0], TRANSPORT_LINES[1], TRANSPORT_LINES[3]) for line in group]
    parts = [SESSION, draw(st.sampled_from([[], good, good, good])), draw(lines_of(TRANSPORT_LINES[:2]))]
    mids = draw(st.permutations("abcdef"))[: draw(st.integers(1, 5))]
    members = st.one_of(st.permutations(mids), st.lists(st.sampled_from("abcdef"), max_size=6))
    for group in draw(st.lists(members, max_size=2)):
        parts.append([f"a=group:BUNDLE {' '.join(group)}"])
    for mid in [*mids, *draw(st.sampled_from([[], [None]]))]:
        parts.append([draw(st.sampled_from(HEADS))])
        parts.append([f"a=mid:{mid}"] if mid else [])
        parts.append(draw(st.sampled_from([[], ["a=rtcp-mux"], ["a=rtcp-mux"]])))
        parts.append(draw(lines_of(SECTION_LINES if draw(st.booleans()) else TRANSPORT_LINES + SECTION_LINES)))
    return text(*parts)


@settings(max_examples=150, deadline=None)
@given(offers(), st.booleans())
def test_any_offer_is_mirrored_or_refused(offer: str, data_channels: bool) -> None:
    """Invariant: an answer with the offer's sections, whose accepted ones were offered; or SdpError."""
    try:
        asked = parse_offer(offer)
        negotiation = negotiate(asked, NegotiationConfig(data_channels=data_channels))
    except SdpError:
        return
    encoded = encode_negotiation(negotiation)
    assert len(encoded) <= NEGOTIATION_BYTES_MAX
    assert decode_negotiation(encoded) == negotiation
    answer = parse_offer(build_answer(negotiation, identity()))
    assert [(s.kind, s.protocol, s.attributes.mid) for s in answer.sections] == [
        (s.kind, s.protocol, s.attributes.mid) for s in asked.sections
    ]
    accepted = [place for place, section in enumerate(answer.sections) if section.port]
    assert accepted
    assert not any(asked.sections[place].disabled for place in accepted)
    assert negotiation.transport_section in accepted
    assert len(accepted) == 1 or len(negotiation.bundle) == len(accepted), "one transport"
    tagged = answer.sections[negotiation.transport_section]
    assert tagged.attributes.candidates == 2
    if negotiation.bundle:
        assert tagged.attributes.mid == negotiation.bundle[0]
