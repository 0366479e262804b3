"""What a caller offers, and what it takes from the answer (RFC 8829, 8839, 8842).

The offer is that of an audio-only browser call before any candidate was gathered: one Opus section, BUNDLE, rtcp-mux,
`a=setup:actpass`. The answer is read by our own SDP parser, except for its candidates, which a lite server never looks
at and the parser therefore only counts. Names of any kind (mDNS) are never resolved: such candidates are skipped.
"""

import ipaddress
import re
import secrets
from typing import NamedTuple

from transceiverd.dtls.engine import Role
from transceiverd.sdp.errors import SdpError
from transceiverd.sdp.offer import Fingerprint, MediaSection, Offer
from transceiverd.sdp.parse import parse_offer

OPUS = 111  # payload type that browsers use
PASSWORD_BYTES = 18  # RFC 8839 5.4: at least 128 bits; 18 bytes are 24 ice-chars
UFRAG_BYTES = 6
CANDIDATE = re.compile(r"^a=candidate:\S+ 1 udp (\d+) (\S+) (\d+) typ \w+", re.ASCII | re.IGNORECASE | re.MULTILINE)

OFFER = """\
v=0
o=- {session} 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic: WMS *
m=audio 9 UDP/TLS/RTP/SAVPF {opus}
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:{ufrag}
a=ice-pwd:{password}
a=ice-options:trickle
a=fingerprint:{fingerprint}
a=setup:actpass
a=mid:0
a=sendrecv
a=msid:- audio
a=rtcp-mux
a=rtpmap:{opus} opus/48000/2
a=fmtp:{opus} minptime=10;useinbandfec=1
a=ssrc:{ssrc} cname:load
"""


class UnusableAnswer(ValueError):
    """The server said 201, but nothing can be called there; the message is short and fixed."""


class Credentials(NamedTuple):
    """A caller's own, new for every call."""

    ufrag: str
    password: str
    ssrc: int

    @classmethod
    def fresh(cls) -> "Credentials":
        """Random ones."""
        return cls(_ice_text(UFRAG_BYTES), _ice_text(PASSWORD_BYTES), secrets.randbits(32) or 1)


class Answer(NamedTuple):
    """What a caller needs of an answer."""

    ufrag: str
    password: str
    fingerprints: tuple[Fingerprint, ...]
    role: Role
    """Ours in DTLS."""
    payload_type: int
    address: str
    port: int
    priority: int


def build_offer(credentials: Credentials, fingerprint: Fingerprint) -> str:
    """An offer, with CRLF line ends."""
    text = OFFER.format(
        session=secrets.randbits(62),
        opus=OPUS,
        ufrag=credentials.ufrag,
        password=credentials.password,
        fingerprint=fingerprint,
        ssrc=credentials.ssrc,
    )
    return text.replace("\n", "\r\n")


def parse_answer(text: str, *, loopback_only: bool, prefer_loopback: bool) -> Answer:
    """Raises UnusableAnswer."""
    try:
        answer = parse_offer(text)
    except SdpError as error:
        raise UnusableAnswer(f"malformed answer: {error.code}") from error
    section = next((one for one in answer.sections if one.kind == "audio" and not one.disabled), None)
    credentials = None if section is None else answer.ice_credentials(section)
    if section is None or credentials is None or not answer.fingerprints(section):
        raise UnusableAnswer("no audio, ICE credentials or fingerprint in the answer")
    address, port, priority = _candidate(text, loopback_only, prefer_loopback)
    return Answer(
        *credentials,
        tuple(answer.fingerprints(section)),
        _role(answer, section),
        _opus(section),
        address,
        port,
        priority,
    )


def _role(answer: Offer, section: MediaSection) -> Role:
    """RFC 8842 5.3: the active side sends the ClientHello."""
    return Role.SERVER if answer.setup(section) == "active" else Role.CLIENT


def _opus(section: MediaSection) -> int:
    maps = section.attributes.rtpmaps
    found = next((number for number, one in maps.items() if one.encoding.lower() == "opus"), None)
    if found is None:
        raise UnusableAnswer("Opus was not accepted")
    return found


def _candidate(text: str, loopback_only: bool, prefer_loopback: bool) -> tuple[str, int, int]:
    """The best one that may be called: IPv4 first on loopback, since all calls then share a socket."""
    found = []
    for priority, address, port in CANDIDATE.findall(text):
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            continue
        if ip.is_loopback or not loopback_only:
            found.append((prefer_loopback and ip.is_loopback, ip.version == 4, int(priority), address, int(port)))
    if not found:
        raise UnusableAnswer("no candidate that may be called; see --allow-remote")
    *_, priority, address, port = max(found)
    return address, port, priority


def _ice_text(size: int) -> str:
    """ice-char (RFC 8839 5.1) is base64's alphabet."""
    return secrets.token_urlsafe(size).replace("-", "+").replace("_", "/")
