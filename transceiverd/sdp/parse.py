"""From the text of an offer to `Offer`, within bounds, in one pass.

Called by signalling with what came in an HTTP body, so with anything at all. RFC 8866 grammar where it decides
something; lenient where it does not: LF alone ends a line too, unknown lines and attributes are ignored, `o=`, `s=` and
`t=` are not looked at. Not done here: judging whether the offer can be accepted (`negotiate`), and candidates, which
are counted and never read further (a lite agent contacts none, FACTS 1).
"""

import re

from transceiverd.sdp.attributes import FLAGS, PORT_MAX, TOKEN, VALUED
from transceiverd.sdp.errors import MalformedSdp, quote
from transceiverd.sdp.limits import SdpLimits
from transceiverd.sdp.offer import DIRECTIONS, Attributes, MediaSection, Offer

MEDIA_LINE = re.compile(r"([^ ]{1,32}) ([0-9]{1,5})(?:/[0-9]{1,5})? ([^ ]{1,64})((?: +[^ ]{1,64})+) *", re.ASCII)
PROTOCOL = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`{|}~]+(?:/[A-Za-z0-9!#$%&'*+\-.^_`{|}~]+)*", re.ASCII)


def parse_offer(text: str | bytes, limits: SdpLimits | None = None) -> Offer:
    """Parse an offer.

    Raises MalformedSdp for what breaks the grammar or a bound, and nothing else.
    """
    limits = limits or SdpLimits()
    lines = _split(_decode(text, limits), limits)
    if not lines or lines[0][1] != "v=0":
        raise MalformedSdp("not_sdp", "the first line of an SDP is v=0 (RFC 8866 5.1)", "v=")
    offer = Offer(Attributes(), [])
    attributes = offer.session
    for place, line in lines:
        if len(line) < 2 or line[1] != "=":
            raise MalformedSdp("malformed_line", f"line {place}, {quote(line)}, is not <letter>=<value>", "sdp")
        if line.startswith("m="):
            if len(offer.sections) >= limits.sections_max:
                raise MalformedSdp("too_many_sections", f"more than {limits.sections_max} media sections", "m=")
            attributes = Attributes()
            offer.sections.append(_media_section(line, place, attributes, limits))
        elif line.startswith("a="):
            _apply(line[2:], attributes, limits)
    _check_whole(offer, limits)
    return offer


def _decode(text: str | bytes, limits: SdpLimits) -> str:
    """The offer as text of at most `bytes_max` UTF-8 bytes."""
    if isinstance(text, str):
        size = len(text) if len(text) > limits.bytes_max else len(text.encode("utf-8", "surrogatepass"))
    else:
        size = len(text)
    if size > limits.bytes_max:
        raise MalformedSdp("sdp_too_large", f"the offer is larger than {limits.bytes_max} bytes", "sdp")
    if isinstance(text, str):
        return text
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedSdp("not_utf8", f"the offer is not UTF-8 at byte {error.start}", "sdp") from None


def _split(text: str, limits: SdpLimits) -> list[tuple[int, str]]:
    """Numbered lines without their ends and without empty ones. `str.splitlines` would also split at U+2028."""
    if text.count("\n") > limits.lines_max:
        raise MalformedSdp("too_many_lines", f"more than {limits.lines_max} lines", "sdp")
    lines = []
    for place, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if len(line) > limits.line_characters_max:
            raise MalformedSdp(
                "line_too_long", f"line {place} has more than {limits.line_characters_max} characters", "sdp"
            )
        if line:
            lines.append((place, line))
    return lines


def _media_section(line: str, place: int, attributes: Attributes, limits: SdpLimits) -> MediaSection:
    """`m=<media> <port>[/<number of ports>] <proto> <fmt> ...` (RFC 8866 5.14)."""
    found = MEDIA_LINE.fullmatch(line, 2)
    formats = found[4].split(" ") if found else []
    formats = [name for name in formats if name]
    if (
        found is None
        or TOKEN.fullmatch(found[1]) is None
        or int(found[2]) > PORT_MAX
        or PROTOCOL.fullmatch(found[3]) is None
        or any(TOKEN.fullmatch(name) is None for name in formats)
    ):
        raise MalformedSdp(
            "malformed_media", f"line {place}, {quote(line)}, is not m=<media> <port> <proto> <fmt> ...", "m="
        )
    if len(formats) > limits.formats_max:
        raise MalformedSdp("too_many_formats", f"line {place} has more than {limits.formats_max} formats", "m=")
    return MediaSection(found[1], int(found[2]), found[3], tuple(formats), attributes)


def _apply(attribute: str, attributes: Attributes, limits: SdpLimits) -> None:
    """Store one attribute, if Ringline understands it."""
    name, colon, value = attribute.partition(":")
    if colon:
        setter = VALUED.get(name)
        if setter is not None:
            setter(attributes, value.strip(" \t"), limits)
        return
    name = name.strip(" \t")
    if name in FLAGS:
        setattr(attributes, FLAGS[name], True)
    elif name in DIRECTIONS:
        attributes.direction = attributes.direction or name
    elif name in VALUED:
        raise MalformedSdp("malformed_attribute", f"a={name} has no value", f"a={name}")


def _check_whole(offer: Offer, limits: SdpLimits) -> None:
    """What can be seen only when every line was read."""
    if not offer.sections:
        raise MalformedSdp("no_media", "the offer has no media section", "m=")
    mids = [section.attributes.mid for section in offer.sections if section.attributes.mid is not None]
    if len(set(mids)) != len(mids):
        raise MalformedSdp("duplicate_mid", "two media sections have the same a=mid (RFC 5888 6)", "a=mid")
    candidates = offer.session.candidates + sum(section.attributes.candidates for section in offer.sections)
    if candidates > limits.candidates_max:
        raise MalformedSdp("too_many_candidates", f"more than {limits.candidates_max} a=candidate lines", "a=candidate")
