"""Which media sections of an offer can be accepted, and if not, why: one refusal function for each kind.

RFC 8829 5.3.1 (rejecting), RFC 8858 (rtcp-mux is required), RFC 9143 (BUNDLE), RFC 8841 (data channels).
"""

from collections.abc import Callable

from transceiverd.sdp.errors import UnacceptableOffer, quote
from transceiverd.sdp.offer import MediaSection, Offer
from transceiverd.sdp.payloads import accepted_payloads

# RFC 8829 5.1.2: some endpoints write other profiles than UDP/TLS/RTP/SAVPF and mean it; each must be accepted. Whether
# there is DTLS-SRTP is told by a=fingerprint alone. The answer repeats what was offered.
AUDIO_PROTOCOLS = frozenset(
    {
        "UDP/TLS/RTP/SAVPF",
        "UDP/TLS/RTP/SAVP",
        "TCP/DTLS/RTP/SAVPF",
        "TCP/DTLS/RTP/SAVP",
        "RTP/SAVPF",
        "RTP/SAVP",
        "RTP/AVPF",
        "RTP/AVP",
    }
)
DATA_PROTOCOLS = frozenset({"UDP/DTLS/SCTP", "TCP/DTLS/SCTP"})  # RFC 8841 4
DATA_FORMAT = "webrtc-datachannel"

# What an audio section is good for, by the offer's direction: a call is talk both ways, and without hearing the client
# there is nothing to answer.
USEFULNESS = ("sendrecv", "sendonly", "recvonly", "inactive")

Refusal = Callable[[Offer, MediaSection], UnacceptableOffer | None]


def best_acceptable(offer: Offer, kind: str, refusal: Refusal) -> tuple[int | None, UnacceptableOffer | None]:
    """The place of the section of that kind to accept, and why the first one that cannot be accepted cannot.

    The first of the most useful direction: a client that keeps a held or a listening section before the one it talks
    in (one transceiver for each direction) is not left with the deaf one.
    """
    first_refusal = None
    acceptable = []
    for place, section in enumerate(offer.sections):
        if section.kind != kind:
            continue
        refused = refusal(offer, section)
        if refused is None:
            acceptable.append((USEFULNESS.index(offer.direction(section)), place))
        first_refusal = first_refusal or refused
    return (min(acceptable)[1] if acceptable else None), first_refusal


def audio_refusal(offer: Offer, section: MediaSection) -> UnacceptableOffer | None:
    """Why this audio section cannot be accepted; None: it can."""
    refused = _common_refusal(offer, section, AUDIO_PROTOCOLS)
    if refused is not None:
        return refused
    if not section.attributes.rtcp_mux:
        return UnacceptableOffer("rtcp_mux_required", "m=audio has no a=rtcp-mux (RFC 8858)", "a=rtcp-mux")
    if not accepted_payloads(section):
        return UnacceptableOffer(
            "no_common_codec", "m=audio offers neither opus/48000/2 nor PCMU/8000 nor PCMA/8000", "a=rtpmap"
        )
    return None


def data_refusal(offer: Offer, section: MediaSection) -> UnacceptableOffer | None:
    """Why this data section cannot be accepted; None: it can."""
    refused = _common_refusal(offer, section, DATA_PROTOCOLS)
    if refused is not None:
        return refused
    if section.formats[0] != DATA_FORMAT:
        return UnacceptableOffer("unsupported_data", f"m=application is not {DATA_FORMAT} (RFC 8841)", "m=application")
    return None


def _common_refusal(offer: Offer, section: MediaSection, protocols: frozenset[str]) -> UnacceptableOffer | None:
    name = f"m={section.kind}"
    if section.disabled:
        return UnacceptableOffer("section_disabled", f"{name} has port 0: it is switched off", name)
    if section.port == 0 and not offer.bundle_group(section):
        return UnacceptableOffer(
            "bundle_only_alone", f"{name} is bundle-only, but in no BUNDLE group (RFC 9143 6)", name
        )
    if section.protocol not in protocols:
        return UnacceptableOffer("unsupported_protocol", f"{name} has protocol {quote(section.protocol)}", name)
    return None
