"""What is wrong with an offer, in words for its sender.

Raised by the parser and the negotiation, turned into an HTTP answer by `transceiverd.signalling.errors`. `code` is
one of the fixed strings of this package, so that it can label a counter; `message` is for a person and may quote the
offer, cut and escaped by `quote`; `param` names the line or field at fault.
"""

QUOTED_CHARACTERS_MAX = 60  # enough to recognise a line, too little to be a reflection of a whole offer


class SdpError(ValueError):
    """An offer that gets no answer."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param


class MalformedSdp(SdpError):
    """The text breaks the grammar of RFC 8866 or of an attribute, or a bound of ours: HTTP 400."""


class UnacceptableOffer(SdpError):
    """The text is sound, but it asks for what this server does not do: HTTP 422."""


def quote(text: str) -> str:
    """A piece of the offer as it may appear in a message: ASCII, no control characters, cut."""
    shown = text if len(text) <= QUOTED_CHARACTERS_MAX else text[:QUOTED_CHARACTERS_MAX] + "…"
    return ascii(shown)
