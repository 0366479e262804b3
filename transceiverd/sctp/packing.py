# cython: language_level=3, annotation_typing=False
"""What goes into the next packet, and in which order: control, SACK, FORWARD-TSN, DATA (RFC 9260 6.10).

Called by `Association.poll_datagram` once a packet. A SACK whose delay is not over rides along when DATA leaves anyway.
"""

from typing import TYPE_CHECKING

from transceiverd.sctp.chunks import COOKIE_ECHO
from transceiverd.sctp.packet import HEADER_SIZE
from transceiverd.sctp.reception import AT_ONCE, DELAYED
from transceiverd.sctp.states import State
from transceiverd.sctp.writing import packet

if TYPE_CHECKING:
    from transceiverd.sctp.association import Association

_COOKIE_ECHOED = State.COOKIE_ECHOED  # an enum's members are slow to look up
SACK_SIZE = 16  # bytes of one without gaps or duplicates; one that has any does not wait


def make_packet(association: "Association") -> bytes | None:
    """The next packet, or None when nothing may or needs to leave."""
    association.transmission.answered = True
    if not (
        association.reception_now().sack_wanted == AT_ONCE
        or association.control
        or association.cookie_due
        or association.transmission.may_send()
    ):
        return None
    parts = chunks_due(association)
    if not parts and association.transmission.forward_due:
        parts = chunks_due(association)  # giving up a message has made it due
    if not parts:
        return None
    # A COOKIE ECHO always has its checksum (RFC 9653 5.2).
    zero_checksum = association.zero_checksum and parts[0][0] != COOKIE_ECHO
    return packet(association.local_port, association.remote_port, association.peer_tag, parts, zero_checksum)


def chunks_due(association: "Association") -> list[bytes]:
    """The chunks of one packet."""
    parts: list[bytes] = []
    room = association.transmission.mtu - HEADER_SIZE
    may_send_data = association.carries_out
    if association.cookie_due:
        association.cookie_due = False
        may_send_data = True  # behind the cookie, 5.1 C
        parts.append(association.cookie_echo)
        room -= len(association.cookie_echo)
    elif association.state is _COOKIE_ECHOED:
        return parts
    control = association.control
    while control and len(control[0]) <= room:
        room -= len(control[0])
        parts.append(control.pop(0))
    reception = association.reception_now()
    if reception.sack_wanted == AT_ONCE:
        parts.append(reception.sack())
        room -= len(parts[-1])
    if may_send_data:
        fill(association, parts, room)
    return parts


def fill(association: "Association", parts: list[bytes], room: int) -> None:
    """FORWARD-TSN and DATA, and before them a SACK that could have waited."""
    transmission, now = association.transmission, association.now
    if transmission.partial and transmission.outstanding.lost:
        transmission.give_up_lost(now)
    if transmission.forward_due:
        parts.append(transmission.forward(now))
        room -= len(parts[-1])
    reception, place = association.reception_now(), len(parts)
    waits = reception.sack_wanted == DELAYED
    transmission.fill(parts, room - SACK_SIZE if waits else room, now)
    if waits and len(parts) > place:
        parts.insert(place, reception.sack())
