"""For any body either an offer and an answer that parses, or SdpError with a code; never another exception.

Every input whole; short ones also cut at every byte. aiortc's parser is the oracle: what both take, they read alike.
"""

import re

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given

from fuzz.oracle import attempt, examples
from fuzz.strategies.sdp import AWKWARD_VALUES, edited, hostile, small
from tests.sdp.offers import audio_offer, identity
from transceiverd.sdp.answer import build_answer
from transceiverd.sdp.attributes import VALUED
from transceiverd.sdp.errors import SdpError
from transceiverd.sdp.limits import SdpLimits
from transceiverd.sdp.negotiate import NegotiationConfig, negotiate
from transceiverd.sdp.negotiation import decode_negotiation, encode_negotiation
from transceiverd.sdp.offer import Offer
from transceiverd.sdp.parse import parse_offer

CODE = re.compile(r"[a-z0-9_]{3,40}")  # a counter's label: fixed text, nothing of the peer's
LIMITS = SdpLimits()
MESSAGE_CHARACTERS_MAX = 400


def shown(refusal: SdpError) -> None:
    """A refusal that is fit to be counted, shown and logged."""
    assert CODE.fullmatch(refusal.code)
    assert refusal.message.isprintable()
    assert len(refusal.message) < MESSAGE_CHARACTERS_MAX


def offer_of(body: bytes) -> Offer | None:
    """The parsed offer, or None for a refusal."""
    found = attempt(SdpError, parse_offer, body)
    if isinstance(found, SdpError):
        shown(found)
        return None
    assert isinstance(found, Offer)
    return found


def answered(body: bytes) -> None:
    """The invariant."""
    offer = offer_of(body)
    if offer is None:
        return
    assert len(offer.sections) <= LIMITS.sections_max
    for data_channels in (False, True):
        negotiation = attempt(SdpError, negotiate, offer, NegotiationConfig(data_channels=data_channels))
        if isinstance(negotiation, SdpError):
            shown(negotiation)
            continue
        assert decode_negotiation(encode_negotiation(negotiation)) == negotiation
        answer = parse_offer(build_answer(negotiation, identity()))
        assert [section.kind for section in answer.sections] == [section.kind for section in offer.sections]


@examples(250)
@given(body=hostile())
def test_sdp_any_body(body: bytes) -> None:
    answered(body)


@pytest.mark.parametrize("level", ["session", "section"])
def test_sdp_every_attribute_with_every_value(level: str) -> None:
    """One line more in an offer that is good: each name that is understood with each value of the strategies' list."""
    for name in VALUED:
        for value in AWKWARD_VALUES:
            line = f"a={name}:{value}"
            offer = audio_offer(line) if level == "section" else audio_offer().replace("m=audio", f"{line}\r\nm=audio")
            answered(offer.encode("utf-8", "surrogatepass"))


@examples(25)
@given(body=small())
def test_sdp_cut_at_every_byte(body: bytes) -> None:
    for end in range(len(body)):
        answered(body[:end])


@examples(80)
@given(body=edited())
def test_sdp_reads_what_aiortc_reads(body: bytes) -> None:
    """What both take. aiortc refuses much that we ignore (its errors are of many kinds), splits lines at any Unicode
    line end, and does not know sections with port 0 or another level's defaults: so sections' first lines are compared,
    and what stands in them once."""
    offer = offer_of(body)
    if offer is None or not body.isascii() or b"\x00" in body or b"\x0b" in body or b"\x0c" in body:
        return
    try:
        theirs = SessionDescription.parse(body.decode())
    except Exception:  # noqa: BLE001 - any: see above
        return
    assert len(theirs.media) == len(offer.sections)
    for section, media in zip(offer.sections, theirs.media, strict=True):
        assert (section.kind, section.port, section.protocol) == (media.kind, media.port, media.profile)
