"""The text of an answer (RFC 8829 5.3, 8839, 8842, 8843/9143, 8841).

Called with a negotiation and what only the transceiver knows: credentials, fingerprint, SSRC. ICE-lite, one transport.

Its parameters stand at session level and again in each accepted section: RFC 9143 wants them in the tagged section
only, but many clients look for them in every one, and aiortc looks for them in rejected sections too. Candidates stand
in the tagged section alone, all of them, closed by `a=end-of-candidates`. `a=ice-options` says `ice2` (RFC 8445 10) and
not `trickle`: a client then knows that nobody waits for its candidates.
"""

import base64

import msgspec

from transceiverd.sdp.candidate import Candidate
from transceiverd.sdp.negotiation import AnswerSection, AudioNegotiation, DataNegotiation, Negotiation
from transceiverd.sdp.offer import Fingerprint

STREAM_ID = "ringline"  # a=msid (RFC 8830): one stream with one track; ids need to be unique within the call only
TRACK_ID = "ringline-audio"
DISCARD_PORT = 9  # RFC 8840 4.1.1: m= and c= of a transport whose address is told by candidates
SESSION_ID_BITS = 63  # RFC 8829 5.2.1: the sess-id has its highest bit zero


class AnswerIdentity(msgspec.Struct, frozen=True):
    """What the transceiver puts into the answer."""

    ufrag: str
    password: str
    fingerprints: tuple[Fingerprint, ...]
    ssrc: int
    cname: str
    candidates: tuple[Candidate, ...]
    """Best first (`candidates.host_candidates`)."""
    session_id: int
    """Random, 63 bits."""
    sctp_init: bytes | None = None
    """Our INIT chunk, when the offer brought one (SNAP)."""


def build_answer(negotiation: Negotiation, identity: AnswerIdentity) -> str:
    """The answer, with CRLF line ends."""
    transport = _transport_lines(negotiation, identity)
    lines = _session_lines(negotiation, identity) + transport
    for place, section in enumerate(negotiation.sections):
        if not section.accepted:
            lines += _rejected_lines(section)
            continue
        lines += _accepted_lines(negotiation, identity, place, section, transport)
        if negotiation.audio is not None and negotiation.audio.section == place:
            lines += _audio_lines(negotiation.audio, identity)
        elif negotiation.data is not None:
            lines += _data_lines(negotiation.data, identity)
    return "\r\n".join(lines) + "\r\n"


def _session_lines(negotiation: Negotiation, identity: AnswerIdentity) -> list[str]:
    session_id = identity.session_id % (1 << SESSION_ID_BITS)
    lines = ["v=0", f"o=- {session_id} 1 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    if negotiation.bundle:
        lines.append(f"a=group:BUNDLE {' '.join(negotiation.bundle)}")
    return [*lines, "a=ice-lite", "a=ice-options:ice2", "a=msid-semantic:WMS *"]


def _transport_lines(negotiation: Negotiation, identity: AnswerIdentity) -> list[str]:
    return [
        f"a=ice-ufrag:{identity.ufrag}",
        f"a=ice-pwd:{identity.password}",
        *(f"a=fingerprint:{fingerprint}" for fingerprint in identity.fingerprints),
        f"a=setup:{negotiation.setup}",
    ]


def _rejected_lines(section: AnswerSection) -> list[str]:
    """Port 0, one format (RFC 3264 6); `a=rtcp-mux` and the rtpmap are for aiortc, which insists on them here."""
    lines = [f"m={section.kind} 0 {section.protocol} {section.format}", "c=IN IP4 0.0.0.0"]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    if section.kind in ("audio", "video"):
        lines += ["a=inactive", "a=rtcp-mux"]
        lines += [f"a=rtpmap:{section.format} {section.rtpmap}"] if section.rtpmap else []
    return lines


def _accepted_lines(
    negotiation: Negotiation, identity: AnswerIdentity, place: int, section: AnswerSection, transport: list[str]
) -> list[str]:
    """The `m=` line with the default candidate (RFC 8839 4.2.1.2), and the transport."""
    formats = section.format
    if negotiation.audio is not None and negotiation.audio.section == place:
        formats = " ".join(str(payload.payload_type) for payload in negotiation.audio.payloads)
    default = identity.candidates[0] if identity.candidates else None
    port = DISCARD_PORT if default is None else default.port
    connection = "IP4 0.0.0.0" if default is None else default.connection
    lines = [f"m={section.kind} {port} {section.protocol} {formats}", f"c=IN {connection}"]
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    lines += transport
    if place == negotiation.transport_section:
        lines += [f"a=candidate:{candidate}" for candidate in identity.candidates]
        lines.append("a=end-of-candidates")
    return lines


def _audio_lines(audio: AudioNegotiation, identity: AnswerIdentity) -> list[str]:
    lines = [f"a={audio.direction}"]
    if audio.sends:
        lines.append(f"a=msid:{STREAM_ID} {TRACK_ID}")
    lines.append("a=rtcp-mux")
    if audio.rtcp_reduced_size:
        lines.append("a=rtcp-rsize")
    for payload in audio.payloads:
        channels = f"/{payload.channels}" if payload.channels > 1 else ""
        encoding = payload.encoding if payload.encoding == "opus" else payload.encoding.upper()
        lines.append(f"a=rtpmap:{payload.payload_type} {encoding}/{payload.clock_rate}{channels}")
        if payload.fmtp:
            lines.append(f"a=fmtp:{payload.payload_type} {payload.fmtp}")
    if audio.sends:
        lines.append(f"a=ssrc:{identity.ssrc} cname:{identity.cname}")
        lines.append(f"a=ssrc:{identity.ssrc} msid:{STREAM_ID} {TRACK_ID}")
    return lines


def _data_lines(data: DataNegotiation, identity: AnswerIdentity) -> list[str]:
    lines = [f"a=sctp-port:{data.local_port}", f"a=max-message-size:{data.local_max_message_size}"]
    if data.remote_init is not None and identity.sctp_init is not None:
        lines.append(f"a=sctp-init:{base64.b64encode(identity.sctp_init).decode('ascii')}")
    return lines
