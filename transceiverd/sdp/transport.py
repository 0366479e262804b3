"""The offerer's ICE and DTLS parameters that hold for one section, and whether they are enough for a transport.

RFC 8839 5.4 (credentials), RFC 8122 5 (fingerprints), RFC 8842 5 (setup), RFC 9143 7.1.3: a section of a BUNDLE group
that states none of its own uses those of the group's tagged section, the first one named.
"""

from typing import NamedTuple

from transceiverd.sdp.errors import UnacceptableOffer
from transceiverd.sdp.negotiation import Setup
from transceiverd.sdp.offer import Fingerprint, MediaSection, Offer
from transceiverd.sdp.setup import answer_setup

ICE_OPTIONS_MAX = 8  # kept for the diagnosis and for SPED; Chromium sends up to three
ICE_OPTION_CHARACTERS_MAX = 32
FINGERPRINTS_MAX = 4  # of trusted hashes; they go into the blob, and one is enough to match


class Transport(NamedTuple):
    """What the session needs to talk to the offerer."""

    ufrag: str
    password: str
    fingerprints: tuple[Fingerprint, ...]
    setup: Setup
    """Ours."""
    ice_options: tuple[str, ...]


def transport_of(offer: Offer, section: MediaSection) -> Transport:
    """Raises UnacceptableOffer, naming what is missing."""
    described = _described_by(offer, section)
    credentials = offer.ice_credentials(described)
    if credentials is None:
        raise UnacceptableOffer(
            "missing_ice_credentials", "the offer has no a=ice-ufrag and a=ice-pwd (RFC 8839 5.4)", "a=ice-ufrag"
        )
    options = tuple(option[:ICE_OPTION_CHARACTERS_MAX] for option in offer.ice_options(described))
    return Transport(
        *credentials,
        _trusted_fingerprints(offer, described),
        answer_setup(offer.setup(described)),
        options[:ICE_OPTIONS_MAX],
    )


def _described_by(offer: Offer, section: MediaSection) -> MediaSection:
    """The section whose lines hold the parameters: itself, or its BUNDLE group's tagged one."""
    if offer.ice_credentials(section) is not None:
        return section
    group = offer.bundle_group(section)
    return (offer.section_of(group[0]) if group else None) or section


def _trusted_fingerprints(offer: Offer, section: MediaSection) -> tuple[Fingerprint, ...]:
    """Those of a hash that we trust; without one there is nobody to authenticate (RFC 5763 5)."""
    trusted = tuple(offer.fingerprints(section))
    if trusted:
        return trusted[:FINGERPRINTS_MAX]
    refused = offer.refused_fingerprints(section)
    if refused:
        raise UnacceptableOffer(
            "fingerprint_refused",
            f"no a=fingerprint with sha-256, sha-384 or sha-512, only {', '.join(sorted(set(refused)))} (RFC 8122 5)",
            "a=fingerprint",
        )
    raise UnacceptableOffer("missing_fingerprint", "the offer has no a=fingerprint (RFC 8827 6.5)", "a=fingerprint")
