"""Which payload types of an audio section are accepted, and with which parameters (RFC 3551, RFC 7587, RFC 8866 6.6).

Opus first, then PCMU, then PCMA, whatever the offer's order (DESIGN 5); the first of each that fits. Left out: RED,
G.722, comfort noise and telephone events: nothing behind the answer would understand them, and without them a client
does not send them.
"""

import functools

from transceiverd.sdp.negotiation import Payload
from transceiverd.sdp.offer import MediaSection, RtpMap

# (encoding, clock rate in Hz, channels, channels when the rtpmap names none); RFC 7587 7 fixes opus/48000/2.
CODECS = (("opus", 48_000, 2), ("pcmu", 8_000, 1), ("pcma", 8_000, 1))
STATIC = {0: RtpMap("PCMU", 8_000, 1), 8: RtpMap("PCMA", 8_000, 1)}  # RFC 3551 6: need no rtpmap
RTCP_COLLISIONS = range(64, 96)  # with rtcp-mux their second byte could be an RTCP packet type (RFC 5761 4)
PAYLOAD_TYPE_MAX = 127
MINPTIME = frozenset(str(milliseconds) for milliseconds in range(3, 121))  # RFC 7587 6.1


def accepted_payloads(section: MediaSection) -> tuple[Payload, ...]:
    """The payload types of the answer, best first; empty: no common codec."""
    offered = _mapped(section)
    accepted = []
    for encoding, clock_rate, channels in CODECS:
        for payload_type, rtpmap in offered:
            if _matches(rtpmap, encoding, clock_rate, channels):
                fmtp = _opus_fmtp(section.attributes.fmtps.get(payload_type, "")) if encoding == "opus" else ""
                accepted.append(Payload(payload_type, encoding, clock_rate, channels, fmtp))
                break
    return tuple(accepted)


def _mapped(section: MediaSection) -> list[tuple[int, RtpMap]]:
    """The formats of the section that are usable payload types with a known encoding."""
    mapped = []
    for name in section.formats:
        if not (name.isascii() and name.isdigit() and len(name) <= 3):
            continue
        payload_type = int(name)
        rtpmap = section.attributes.rtpmaps.get(payload_type) or STATIC.get(payload_type)
        if rtpmap is not None and payload_type <= PAYLOAD_TYPE_MAX and payload_type not in RTCP_COLLISIONS:
            mapped.append((payload_type, rtpmap))
    return mapped


def _matches(rtpmap: RtpMap, encoding: str, clock_rate: int, channels: int) -> bool:
    """Encoding names have no case. Missing channels are accepted: some GStreamer pipelines write OPUS/48000."""
    return (
        rtpmap.encoding.lower() == encoding and rtpmap.clock_rate == clock_rate and rtpmap.channels in (None, channels)
    )


@functools.lru_cache(64)  # every browser of a kind offers the same, and each offer is asked for twice
def _opus_fmtp(offered: str) -> str:
    """What we would like to receive (RFC 7587 6.1: the parameters bind the other side's sender, not ours).

    The client's `minptime` and `useinbandfec` are taken over where they make sense. `stereo` is not: speech is mono.
    """
    wanted: dict[str, str] = {}
    for parameter in offered.split(";"):
        name, _, value = parameter.partition("=")
        name, value = name.strip(), value.strip()
        minptime = name == "minptime" and value in MINPTIME
        fec = name == "useinbandfec" and value in ("0", "1")
        if minptime or fec:
            wanted.setdefault(name, value)
    return ";".join(f"{name}={value}" for name, value in wanted.items())
