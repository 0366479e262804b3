"""Who opens the DTLS handshake: the one place that decides it (DESIGN 5).

RFC 5763 5, RFC 8842 5.3, RFC 4145 4. A missing `a=setup` in an offer means `active` (RFC 4145 4).
"""

from transceiverd.sdp.errors import UnacceptableOffer
from transceiverd.sdp.negotiation import Setup


def answer_setup(offered: str | None) -> Setup:
    """The answer's `a=setup` for the offer's.

    `actpass` leaves the choice to us: `active`, because our ClientHello can leave with the first accepted check and
    saves a round trip. UnacceptableOffer for one that wants no transport.
    """
    if offered == "holdconn":
        raise UnacceptableOffer(
            "setup_refused", "a=setup:holdconn asks for no transport at all (RFC 8842 5.1)", "a=setup"
        )
    return "active" if offered in ("actpass", "passive") else "passive"
