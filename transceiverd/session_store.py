"""What a session keeps of itself outside any process, field by field: in the product `shm.session.SessionRecord`."""

from typing import Protocol

from transceiverd.dtls.state import DtlsState


class SessionStore(Protocol):
    """One call's; beside it lies its blob (`blob.py`)."""

    state: int
    last_check_ns: int
    checked_since_ns: int
    connected_ns: int
    closing_ns: int

    @property
    def dtls(self) -> DtlsState:
        """The record layer's state."""

    @property
    def srtp(self) -> "SrtpStore":
        """The SRTP keys."""


class SrtpStore(Protocol):
    """`struct session_srtp_keys`; `profile` is written last."""

    profile: int
    local_key: bytes
    local_salt: bytes
    remote_key: bytes
    remote_salt: bytes
