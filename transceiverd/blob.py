"""What a successor needs of a call beside its fixed-size record (DESIGN 2.13), as bytes for the record's blob.

Written when the call is made, when its handshake is done, and before packets of its data channels leave. The part that
never changes is encoded once.
"""

from typing import Protocol

import msgspec

from shm.session import BLOB_MAX
from transceiverd.sdp.negotiation import Negotiation, decode_negotiation, encode_negotiation

ENVELOPE_BYTES = 16  # at most, of MessagePack around the three parts


class BlobRecord(Protocol):
    """Where it goes: in the product `shm.session.SessionRecord`."""

    def write_blob(self, data: bytes) -> None:
        """As a whole or not at all."""


class Agreed(msgspec.Struct, frozen=True, array_like=True):
    """ICE credentials and what was negotiated."""

    negotiation: bytes
    """`sdp.negotiation.encode_negotiation`."""
    ufrag: str
    password: str
    sctp_init: bytes | None = None
    """Our INIT chunk, which the answer carried (SNAP)."""
    caller: tuple[str, ...] = ()
    """`call.Caller`: who asked for the call over HTTP."""

    def decode_negotiation(self) -> Negotiation:
        """What was negotiated. Raises msgspec.DecodeError."""
        return decode_negotiation(self.negotiation)


class CallBlob(msgspec.Struct, frozen=True, array_like=True):
    """The whole blob."""

    agreed: bytes
    final_message: bytes = b""
    """Our Finished, while the DTLS client may not have it (`DtlsEngine.final_message`)."""
    channels: bytes = b""
    """`DataTransport.keep`; empty: nothing of SCTP has left yet."""

    def decode_agreed(self) -> Agreed:
        """The part that never changes. Raises msgspec.DecodeError."""
        return msgspec.msgpack.decode(self.agreed, type=Agreed)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(CallBlob)


def decode_blob(data: bytes) -> CallBlob:
    """Raises msgspec.DecodeError for what this release did not write."""
    return _decoder.decode(data)


class BlobWriter:
    """One call's blob. At most some 4.2 kB never change: a negotiation is bounded, credentials are ours."""

    __slots__ = ("_agreed", "_record")

    def __init__(self, record: BlobRecord, agreed: bytes) -> None:
        self._record = record
        self._agreed = agreed

    @classmethod
    def create(
        cls,
        record: BlobRecord,
        negotiation: Negotiation,
        ufrag: str,
        password: str,
        sctp_init: bytes | None,
        caller: tuple[str, ...],
    ) -> "BlobWriter":
        """For a new call; the first blob is written."""
        agreed = Agreed(encode_negotiation(negotiation), ufrag, password, sctp_init, tuple(caller))
        writer = cls(record, _encoder.encode(agreed))
        writer.write(b"", b"")
        return writer

    def room(self, final_message: bytes) -> int:
        """Bytes that `channels` may have."""
        return BLOB_MAX - ENVELOPE_BYTES - len(self._agreed) - len(final_message)

    def write(self, final_message: bytes, channels: bytes) -> None:
        """Makes this the call's blob."""
        self._record.write_blob(_encoder.encode(CallBlob(self._agreed, final_message, channels)))
