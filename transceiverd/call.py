"""One call as its transceiver's table holds it, and the words between the table and whoever asks for calls.

Made by `calls.py`; read by the desk, which answers signalling, and by the snapshot.
"""

from typing import NamedTuple

from shm.session import SessionRecord
from transceiverd.consent_lane import ConsentSubject
from transceiverd.lanes import Owner
from transceiverd.sdp.negotiation import Negotiation
from transceiverd.session import Session


class TooManyCalls(RuntimeError):
    """Every slot is in use."""


class TooManyHandshakes(RuntimeError):
    """As many calls as may be are answered and not yet connected."""


class Created(NamedTuple):
    """What the answer needs."""

    call_id: str
    ufrag: str
    password: str
    ssrc: int
    cname: str
    sctp_init: bytes | None = None
    """Our INIT chunk, when the offer brought one (SNAP)."""


class Caller(NamedTuple):
    """Who asked for a call over HTTP: kept here, because a signalling process keeps nothing."""

    owner: str = ""
    """Which token; only its holder may see and end the call. Empty where none is asked for."""
    address: str = ""
    dialect: str = "realtime"


NOBODY = Caller()


class Call:
    """One call and what the process knows of it beside the session."""

    __slots__ = ("call_id", "caller", "closing", "negotiation", "owner", "record", "session", "subject", "worker")

    def __init__(
        self, call_id: str, owner: Owner, record: SessionRecord, session: Session, negotiation: Negotiation
    ) -> None:
        self.call_id = call_id
        self.owner = owner
        self.record = record
        self.session = session
        self.negotiation = negotiation
        self.caller = NOBODY
        self.subject = ConsentSubject(owner, record, session.agent) if session.agent.credentials else None
        """For its consent checks, which are answered where they are read; None before the peer's ufrag is known."""
        self.worker = -1  # the relay worker that brought the last datagram: answers and flights leave by it
        self.closing = False
