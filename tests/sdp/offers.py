"""Offers for the tests: the samples by name, and a small one to vary line by line."""

import ipaddress
from pathlib import Path

from transceiverd.candidates import host_candidates
from transceiverd.sdp.answer import AnswerIdentity
from transceiverd.sdp.negotiate import Negotiation, NegotiationConfig, negotiate
from transceiverd.sdp.offer import Fingerprint
from transceiverd.sdp.parse import parse_offer

SAMPLES = Path(__file__).parent / "samples"
NAMES = sorted(path.stem for path in SAMPLES.glob("*.sdp"))
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)

SESSION = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
TRANSPORT = [
    "a=ice-ufrag:abcd",
    "a=ice-pwd:abcdefghijklmnopqrstuv",
    f"a=fingerprint:{FINGERPRINT}",
    "a=setup:actpass",
]
AUDIO = ["m=audio 9 UDP/TLS/RTP/SAVPF 111 0 8", "c=IN IP4 0.0.0.0", "a=mid:0"]
AUDIO_ATTRIBUTES = ["a=rtcp-mux", "a=rtpmap:111 opus/48000/2", "a=fmtp:111 minptime=10;useinbandfec=1"]
DATA = ["m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "c=IN IP4 0.0.0.0", "a=mid:1", "a=sctp-port:5000"]


def sample(name: str) -> bytes:
    """One of the files."""
    return (SAMPLES / f"{name}.sdp").read_bytes()


def text(*parts: list[str]) -> str:
    """Lines as an SDP."""
    return "".join(f"{line}\r\n" for part in parts for line in part)


def audio_offer(*extra: str, without: str = "\0") -> str:
    """A minimal acceptable offer without the lines that start with `without`, and with more lines at its end."""
    lines = [*SESSION, *AUDIO, *TRANSPORT, *AUDIO_ATTRIBUTES]
    return text([line for line in lines if not line.startswith(without)], list(extra))


def negotiated(offer: str | bytes, *, data_channels: bool = False) -> Negotiation:
    """Parsed and negotiated."""
    return negotiate(parse_offer(offer), NegotiationConfig(data_channels=data_channels))


def identity(**changes: object) -> AnswerIdentity:
    """What a transceiver would put in."""
    addresses = [ipaddress.ip_address("192.0.2.2"), ipaddress.ip_address("2001:db8::2")]
    values: dict[str, object] = {
        "ufrag": "u" * 30,
        "password": "p" * 24,
        "fingerprints": (Fingerprint.of_digest("sha-256", bytes(32)),),
        "ssrc": 0x1234,
        "cname": "cname-of-the-call",
        "candidates": host_candidates(addresses, 3478),
        "session_id": 77,
    }
    return AnswerIdentity(**{**values, **changes})
