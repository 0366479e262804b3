"""DTLS-SRTP: OpenSSL's handshake between filters of ours, and a record layer of ours after it."""

from transceiverd.dtls.certificate import Fingerprint
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.context import DtlsContext
from transceiverd.dtls.engine import DtlsEngine
from transceiverd.dtls.events import ApplicationDataReceived, HandshakeCompleted, HandshakePhases, RecordAuthenticated
from transceiverd.dtls.state import DtlsState, MemoryState, Role

__all__ = [
    "ApplicationDataReceived",
    "DtlsConfig",
    "DtlsContext",
    "DtlsEngine",
    "DtlsState",
    "Fingerprint",
    "HandshakeCompleted",
    "HandshakePhases",
    "MemoryState",
    "RecordAuthenticated",
    "Role",
]
