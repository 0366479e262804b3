"""The ends of an association: SHUTDOWN in all its steps, ABORT (RFC 9260 9).

Functions on the association. A graceful end sends and acknowledges everything first.
"""

from typing import TYPE_CHECKING

from transceiverd.sctp import chunks
from transceiverd.sctp.chunks import Abort, Chunk, CookieEcho, ErrorChunk, Init, Shutdown, Signal
from transceiverd.sctp.errors import USER_ABORT, Refused
from transceiverd.sctp.packet import Packet
from transceiverd.sctp.serial import unwrap32
from transceiverd.sctp.states import State

if TYPE_CHECKING:
    from transceiverd.sctp.association import Association

CLOSED = b"association closed"
REASON_BYTES_MAX = 64  # of an ABORT's text


def begin(association: "Association", now: int) -> None:
    """The application wants no more: send what is queued, then SHUTDOWN (9.2)."""
    if association.state is State.ESTABLISHED:
        association.move(State.SHUTDOWN_PENDING)
        advance(association, now)
    elif association.state in (State.CLOSED, State.COOKIE_WAIT, State.COOKIE_ECHOED):
        association.finish("shut down")


def advance(association: "Association", now: int) -> None:
    """Everything may be acknowledged by now: take the next step."""
    transmission = association.transmission
    if transmission.outstanding.count() or transmission.queue.active:
        return
    if association.state is State.SHUTDOWN_PENDING:
        association.move(State.SHUTDOWN_SENT)
        send(association, now)
    elif association.state is State.SHUTDOWN_RECEIVED:
        association.move(State.SHUTDOWN_ACK_SENT)
        send(association, now)


def send(association: "Association", now: int) -> None:
    """SHUTDOWN or SHUTDOWN ACK, watched by T2."""
    if association.state is State.SHUTDOWN_SENT:
        cumulative = association.reception_now().tracker.cumulative
        association.control.append(Shutdown(cumulative & 0xFFFFFFFF).serialize())
    else:
        association.control.append(Signal(chunks.SHUTDOWN_ACK).serialize())
    association.t2 = now + association.rto.value


def on_timeout(association: "Association", now: int) -> None:
    """T2 ran out."""
    association.t2_count += 1
    if association.t2_count > association.config.init_retransmits_max:
        association.send_abort(USER_ABORT, b"shutdown unanswered")
        association.finish("shutdown unanswered")
        return
    association.rto.back_off()
    send(association, now)


def on_shutdown(association: "Association", chunk: Shutdown, now: int) -> None:
    """The peer wants no more (9.2). Its cumulative TSN acknowledges like a SACK."""
    state = association.state
    if state in (State.ESTABLISHED, State.SHUTDOWN_PENDING, State.SHUTDOWN_SENT, State.SHUTDOWN_RECEIVED):
        transmission = association.transmission
        cumulative = unwrap32(chunk.cumulative, transmission.outstanding.cumulative)
        if cumulative > transmission.outstanding.cumulative:
            window = max(transmission.peer_window, 1)
            transmission.on_sack(chunks.Sack(chunk.cumulative, window), now)
    if state in (State.ESTABLISHED, State.SHUTDOWN_PENDING):
        association.move(State.SHUTDOWN_RECEIVED)
    elif state is State.SHUTDOWN_SENT:
        association.move(State.SHUTDOWN_ACK_SENT)  # both at once
        send(association, now)
        return
    elif state is not State.SHUTDOWN_RECEIVED:
        raise Refused("shutdown-unexpected")
    advance(association, now)


def on_shutdown_ack(association: "Association") -> None:
    """The peer has acknowledged everything: SHUTDOWN COMPLETE, and that is all."""
    if association.state not in (State.SHUTDOWN_SENT, State.SHUTDOWN_ACK_SENT):
        raise Refused("shutdown-ack-unexpected")
    association.send_packet(association.peer_tag, Signal(chunks.SHUTDOWN_COMPLETE).serialize())
    association.finish("shut down")


def on_shutdown_complete(association: "Association") -> None:
    """Our SHUTDOWN ACK arrived."""
    if association.state is not State.SHUTDOWN_ACK_SENT:
        raise Refused("shutdown-complete-unexpected")
    association.finish("peer shut down")


def abort_chunk(cause: int, text: bytes) -> bytes:
    """ABORT with one cause."""
    return Abort(((cause, text[:REASON_BYTES_MAX]),)).serialize()


def answer_stray(association: "Association", packet: Packet) -> None:
    """A packet for an association that is over (8.4): who did not hear of the end is told again."""
    association.drops["sctp-closed"] += 1
    found = packet.chunks
    if any(isinstance(chunk, Abort) or _is(chunk, chunks.SHUTDOWN_COMPLETE) for chunk in found):
        return
    if any(isinstance(chunk, ErrorChunk | CookieEcho) for chunk in found):
        return  # of a handshake that is none: it ends by itself
    first = found[0]
    if isinstance(first, Init) and not first.ack:
        association.send_packet(first.tag, abort_chunk(USER_ABORT, CLOSED))
    elif _is(first, chunks.SHUTDOWN_ACK):
        association.send_packet(packet.tag, Signal(chunks.SHUTDOWN_COMPLETE, reflected=True).serialize())
    else:
        association.send_packet(packet.tag, Abort(((USER_ABORT, CLOSED),), reflected=True).serialize())


def _is(chunk: Chunk, kind: int) -> bool:
    return isinstance(chunk, Signal) and chunk.kind == kind
