"""HEARTBEAT: asking an idle peer whether it is there (RFC 9260 8.3).

Functions on the association. Only while nothing waits for an acknowledgement; DATA in flight asks the same question.
"""

from typing import TYPE_CHECKING

from transceiverd.engine import MILLISECOND
from transceiverd.sctp.chunks import Heartbeat
from transceiverd.sctp.errors import Refused
from transceiverd.sctp.states import State

if TYPE_CHECKING:
    from transceiverd.sctp.association import Association

NONCE_SIZE = 8
INFO = 1  # the only parameter a HEARTBEAT has (3.3.5)


def arm(association: "Association", now: int) -> None:
    """The next one, an interval and an RTO from now."""
    interval = association.config.heartbeat_interval_ms * MILLISECOND
    association.heartbeat_at = now + interval + association.rto.value if interval else 0


def on_timeout(association: "Association", now: int) -> None:
    """The interval is over; one that was not answered counts as an error."""
    transmission = association.transmission
    if association.heartbeat_nonce:
        transmission.errors += 1
        association.rto.back_off()
        if transmission.errors > association.config.retransmits_max:
            association.give_up("heartbeats unanswered")
            return
    association.heartbeat_nonce = b""
    if association.state is State.ESTABLISHED and not transmission.outstanding.count():
        association.heartbeat_nonce = association.random_bytes(NONCE_SIZE)
        association.heartbeat_sent_at = now
        head = INFO.to_bytes(2, "big") + (NONCE_SIZE + 4).to_bytes(2, "big")
        association.send_control(Heartbeat(head + association.heartbeat_nonce).serialize())
    arm(association, now)


def on_chunk(association: "Association", chunk: Heartbeat, now: int) -> None:
    """Answer a HEARTBEAT; take the answer to ours."""
    if association.state < State.COOKIE_ECHOED:
        raise Refused("heartbeat-unexpected")
    if not chunk.ack:
        association.send_control(Heartbeat(chunk.info, True).serialize())
        return
    if not association.heartbeat_nonce or chunk.info[4 : 4 + NONCE_SIZE] != association.heartbeat_nonce:
        raise Refused("heartbeat-ack-unknown")
    association.heartbeat_nonce = b""
    association.transmission.errors = 0
    association.rto.measure(now - association.heartbeat_sent_at)
