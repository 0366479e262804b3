"""What a DTLS engine tells its owner, drained with `poll_event()`. `Closed` is the one all engines share."""

from typing import NamedTuple

from transceiverd.engine import Closed


class HandshakePhases(NamedTuple):
    """When what happened, in nanoseconds of the owner's `now`, for the call page's set-up times; and what it took."""

    started: int
    first_received: int  # first datagram of the peer
    keys_derived: int  # the key exchange was done: one flight before the end
    completed: int
    datagrams_received: int
    datagrams_sent: int
    resends: int  # flights sent again


class HandshakeCompleted(NamedTuple):
    """The association is up: the peer's certificate matched, the record layer's keys are in the call's state.

    `srtp_profile` is the IANA number (RFC 5764 section 4.1.2); 0 with empty keys when none is in common: no media then.
    """

    srtp_profile: int
    local_key: bytes
    local_salt: bytes
    remote_key: bytes
    remote_salt: bytes
    cipher: str  # OpenSSL's name of the suite
    version: str  # "DTLSv1.2"
    phases: HandshakePhases

    def __repr__(self) -> str:
        """Without the keys: events end up in logs."""
        return f"HandshakeCompleted({self.version}, {self.cipher}, srtp_profile={self.srtp_profile:#06x})"


class ApplicationDataReceived(NamedTuple):
    """The plaintext of one application_data record: one SCTP packet."""

    data: bytes


class RecordAuthenticated(NamedTuple):
    """The datagram just given in held at least one fresh record under this call's keys: its source is proven."""


Event = HandshakeCompleted | ApplicationDataReceived | RecordAuthenticated | Closed
