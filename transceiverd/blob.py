"""What a successor needs of a call beside its fixed-size record (DESIGN 2.13), as bytes for the record's blob."""

import msgspec

from transceiverd.sdp.negotiation import Negotiation, encode_negotiation


class CallBlob(msgspec.Struct, frozen=True, array_like=True):
    """ICE credentials and what was negotiated."""

    negotiation: bytes
    """`sdp.negotiation.encode_negotiation`."""
    ufrag: str
    password: str


def encode_blob(negotiation: Negotiation, ufrag: str, password: str) -> bytes:
    """At most some 4.2 kB: a negotiation is bounded, credentials are ours."""
    return msgspec.msgpack.encode(CallBlob(encode_negotiation(negotiation), ufrag, password))


def decode_blob(data: bytes) -> CallBlob:
    """The reverse. Raises msgspec.DecodeError for what this release did not write."""
    return msgspec.msgpack.decode(data, type=CallBlob)
