"""What offer and answer agreed on: all that a session needs of the SDP, in one value that travels as bytes.

Made by `negotiate`, carried over a process link to the transceiver, kept in the call's blob (DESIGN 2.13), read again
by `answer`. Bounded: `encode_negotiation` never gives more than `NEGOTIATION_BYTES_MAX`, since `negotiate` refuses
offers beyond it.
"""

from typing import Literal

import msgspec

from transceiverd.sdp.offer import Fingerprint

# A blob holds 6,128 bytes (shm/layout.h); the rest of it is for ICE credentials, candidates and SCTP.
NEGOTIATION_BYTES_MAX = 4_096

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
Setup = Literal["active", "passive"]


class Payload(msgspec.Struct, frozen=True, array_like=True):
    """One payload type of the answer."""

    payload_type: int
    encoding: str
    """Lower case: `opus`, `pcmu`, `pcma`."""
    clock_rate: int
    """Hz of the RTP timestamp."""
    channels: int
    fmtp: str = ""
    """Our `a=fmtp` value; empty: none."""


class AnswerSection(msgspec.Struct, frozen=True, array_like=True):
    """One media section of the answer, in the offer's order; what a rejected one must repeat."""

    kind: str
    protocol: str
    format: str
    """The first format offered; a rejected section repeats it, since `m=` wants one (RFC 3264 6)."""
    rtpmap: str = ""
    mid: str | None = None
    accepted: bool = False


class AudioNegotiation(msgspec.Struct, frozen=True, array_like=True):
    """The accepted audio section."""

    section: int
    direction: Direction
    """Ours: what the answer says."""
    payloads: tuple[Payload, ...]
    """Best first: the first is what we would send."""
    rtcp_reduced_size: bool

    @property
    def sends(self) -> bool:
        """Whether the client wants audio from us."""
        return self.direction in ("sendrecv", "sendonly")

    @property
    def receives(self) -> bool:
        """Whether the client will send audio to us."""
        return self.direction in ("sendrecv", "recvonly")


class DataNegotiation(msgspec.Struct, frozen=True, array_like=True):
    """The accepted data section (RFC 8841)."""

    section: int
    remote_port: int
    remote_max_message_size: int
    """Bytes; 0: any size (RFC 8841 6.1)."""
    local_port: int
    local_max_message_size: int
    remote_init: bytes | None = None
    """The whole INIT chunk of SNAP (`a=sctp-init`), not looked into; None: the ordinary handshake."""


class Negotiation(msgspec.Struct, frozen=True, array_like=True):
    """The outcome."""

    sections: tuple[AnswerSection, ...]
    transport_section: int
    """The section that carries the one ICE and DTLS transport: the answerer-tagged one (RFC 9143 7.3)."""
    bundle: tuple[str, ...]
    """Identification tags of the answer's BUNDLE group, the tagged one first; empty: no group."""
    remote_ufrag: str
    remote_password: str
    remote_fingerprints: tuple[Fingerprint, ...]
    """Any of them may match the peer's certificate (RFC 8122 5)."""
    setup: Setup
    """Ours: `active` means that we are the DTLS client."""
    ice_options: tuple[str, ...]
    """What the offer said (`trickle`, `sped`, ...)."""
    candidates_offered: int
    """How many candidates the offer named; for the diagnosis only."""
    audio: AudioNegotiation | None = None
    data: DataNegotiation | None = None

    @property
    def dtls_role(self) -> Literal["client", "server"]:
        """RFC 5763 5: the active end opens the handshake."""
        return "client" if self.setup == "active" else "server"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Negotiation)


def encode_negotiation(negotiation: Negotiation) -> bytes:
    """For a process link or a blob."""
    return _encoder.encode(negotiation)


def decode_negotiation(data: bytes) -> Negotiation:
    """The reverse. Raises msgspec.DecodeError for what this release did not write."""
    return _decoder.decode(data)
