"""Which sections of an offer are accepted, over which transport (RFC 3264, 8829 5.3, 9143 7.3, 8842).

Called by signalling with a parsed offer; the outcome is `Negotiation`. One audio section is accepted: of those that
can be, the first in which the client talks and hears; with `data_channels` one data section beside it. Everything
else is rejected with port 0, also the BUNDLE group's tagged section: then the next accepted one carries the transport.
Sections outside the accepted one's BUNDLE group would need a second transport and are rejected too. No header
extension is accepted, so none is looked at.
"""

import base64
import binascii

import msgspec

from shm.errors import MalformedPacket
from transceiverd.sctp.packet import parse_init
from transceiverd.sdp.errors import MalformedSdp, UnacceptableOffer
from transceiverd.sdp.negotiation import (
    NEGOTIATION_BYTES_MAX,
    AnswerSection,
    AudioNegotiation,
    DataNegotiation,
    Direction,
    Negotiation,
    encode_negotiation,
)
from transceiverd.sdp.offer import MediaSection, Offer
from transceiverd.sdp.payloads import accepted_payloads
from transceiverd.sdp.sections import audio_refusal, best_acceptable, data_refusal
from transceiverd.sdp.transport import transport_of

__all__ = ["Negotiation", "NegotiationConfig", "negotiate"]

REMOTE_MESSAGE_SIZE_DEFAULT = 65_536  # RFC 8841 6.1: where a=max-message-size is missing
SCTP_PORT_DEFAULT = 5_000  # RFC 8841 5.2 makes a=sctp-port mandatory; everybody who forgets it means this
INIT_BYTES_MAX = 512  # the INIT of Chromium 156 is 30 bytes

OPPOSITE: dict[str, Direction] = {
    "sendrecv": "sendrecv",
    "sendonly": "recvonly",
    "recvonly": "sendonly",
    "inactive": "inactive",
}


class NegotiationConfig(msgspec.Struct, frozen=True):
    """What this server offers beyond audio."""

    data_channels: bool = False
    """The one switch for `m=application`. Off until there is an SCTP engine: such sections get port 0."""
    max_message_size: int = 262_144
    """Bytes of the largest data-channel message we take."""
    sctp_port: int = SCTP_PORT_DEFAULT


def negotiate(offer: Offer, config: NegotiationConfig | None = None) -> Negotiation:
    """Decide. Raises UnacceptableOffer when nothing can be accepted, and MalformedSdp for a bad `a=sctp-init`."""
    config = config or NegotiationConfig()
    if offer.session.ice_lite:
        raise UnacceptableOffer(
            "ice_lite_offer", "both ends are ICE-lite: nobody would send checks (RFC 8445 6.1.1)", "a=ice-lite"
        )
    audio, refusal = best_acceptable(offer, "audio", audio_refusal)
    data = _data_place(offer, audio) if config.data_channels else None
    if audio is None and data is None:
        raise refusal or UnacceptableOffer("no_audio", "the offer has no audio section", "m=audio")
    accepted = [place for place in (audio, data) if place is not None]
    negotiation = _assemble(offer, accepted, audio, data, config)
    if len(encode_negotiation(negotiation)) > NEGOTIATION_BYTES_MAX:
        raise UnacceptableOffer(
            "offer_too_complex", f"what the answer must repeat is more than {NEGOTIATION_BYTES_MAX} bytes", "sdp"
        )
    return negotiation


def _assemble(
    offer: Offer, accepted: list[int], audio: int | None, data: int | None, config: NegotiationConfig
) -> Negotiation:
    """Put the outcome together. Raises UnacceptableOffer when the tagged section lacks what a transport needs."""
    tagged, bundle = _tagged(offer, accepted)
    transport = transport_of(offer, offer.sections[tagged])
    return Negotiation(
        sections=tuple(_answer_section(section, place in accepted) for place, section in enumerate(offer.sections)),
        transport_section=tagged,
        bundle=bundle,
        remote_ufrag=transport.ufrag,
        remote_password=transport.password,
        remote_fingerprints=transport.fingerprints,
        setup=transport.setup,
        ice_options=transport.ice_options,
        candidates_offered=offer.session.candidates + sum(each.attributes.candidates for each in offer.sections),
        audio=None if audio is None else _audio(offer, audio),
        data=None if data is None else _data(offer.sections[data], data, config),
    )


def _data_place(offer: Offer, audio: int | None) -> int | None:
    """The data section to accept: with an accepted audio section, one that shares its transport."""
    place, _ = best_acceptable(offer, "application", data_refusal)
    if place is None or audio is None:
        return place
    return place if offer.sections[place].attributes.mid in offer.bundle_group(offer.sections[audio]) else None


def _tagged(offer: Offer, accepted: list[int]) -> tuple[int, tuple[str, ...]]:
    """The section that carries the transport, and the answer's BUNDLE group in the offer's order (RFC 9143 7.3.1)."""
    group = offer.bundle_group(offer.sections[accepted[0]])
    if not group:
        return accepted[0], ()
    places = {offer.sections[place].attributes.mid: place for place in accepted}
    bundle = tuple(dict.fromkeys(mid for mid in group if mid in places))
    return places[bundle[0]], bundle


def _answer_section(section: MediaSection, accepted: bool) -> AnswerSection:
    """What the answer must repeat of a section."""
    name = section.formats[0]
    rtpmap = section.attributes.rtpmaps.get(int(name)) if name.isascii() and name.isdigit() else None
    return AnswerSection(
        kind=section.kind,
        protocol=section.protocol,
        format=name,
        rtpmap="" if rtpmap is None else str(rtpmap),
        mid=section.attributes.mid,
        accepted=accepted,
    )


def _audio(offer: Offer, place: int) -> AudioNegotiation:
    section = offer.sections[place]
    return AudioNegotiation(
        section=place,
        direction=OPPOSITE[offer.direction(section)],
        payloads=accepted_payloads(section),
        rtcp_reduced_size=section.attributes.rtcp_reduced_size,
    )


def _data(section: MediaSection, place: int, config: NegotiationConfig) -> DataNegotiation:
    attributes = section.attributes
    remote_size = attributes.max_message_size
    return DataNegotiation(
        section=place,
        remote_port=attributes.sctp_port or SCTP_PORT_DEFAULT,
        remote_max_message_size=REMOTE_MESSAGE_SIZE_DEFAULT if remote_size is None else remote_size,
        local_port=config.sctp_port,
        local_max_message_size=config.max_message_size,
        remote_init=None if attributes.sctp_init is None else _init_chunk(attributes.sctp_init),
    )


def _init_chunk(text: str) -> bytes:
    """The INIT chunk of SNAP; malformed base64 or INIT is an error (FACTS 1)."""
    try:
        chunk = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        chunk = b""
    if not 0 < len(chunk) <= INIT_BYTES_MAX:
        raise MalformedSdp(
            "malformed_attribute", f"a=sctp-init is not 1 to {INIT_BYTES_MAX} bytes in base64", "a=sctp-init"
        )
    try:
        parse_init(chunk)
    except MalformedPacket as error:
        raise MalformedSdp("malformed_attribute", f"a=sctp-init: {error.reason}", "a=sctp-init") from None
    return chunk
