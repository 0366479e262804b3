"""Tells the clients of a transceiver that died that their calls are over, from the session segment alone (DESIGN 2.13).

Called by a transceiver at its start, before it gives out a slot. The record layer of each established call is rebuilt
from its record and says close_notify, so that a client redials at once instead of waiting out its consent time. The
record numbers used are beyond all that the predecessor can have sent: it advanced them before it queued a packet.
"""

from collections.abc import Iterator

from shm.session import SessionRecord, SessionSegment
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.engine import DtlsEngine
from transceiverd.engine import Datagram
from transceiverd.ice.addresses import PROVEN
from transceiverd.lanes import ControlLanes, Owner


def end_predecessors_calls(sessions: SessionSegment, lanes: ControlLanes, config: DtlsConfig, incarnation: int) -> int:
    """Say goodbye for every call in the segment, then wipe it and free its slot; gives how many there were."""
    used = sessions.used()
    for slot in used:
        record = sessions.record(slot)
        owner = Owner(sessions.transceiver, slot, record.generation, record.origin, incarnation)
        for datagram in _farewells(record, config):
            lanes.publish(owner, datagram.destination, PROVEN)
            lanes.send(owner, datagram, worker=-1, address_state=PROVEN)
            lanes.withdraw(owner, datagram.destination)
        sessions.free(slot)
    lanes.flush()
    return len(used)


def _farewells(record: SessionRecord, config: DtlsConfig) -> Iterator[Datagram]:
    """close_notify to the address that media went to; nothing for a call that had no keys or no proven address."""
    target = _proven_address(record)
    if target is None:
        return
    try:
        engine = DtlsEngine.rebuild(record.dtls, config=config)
    except ValueError:
        return  # died during the handshake: there is nobody who would believe us
    engine.close(0)
    while (data := engine.poll_datagram()) is not None:
        yield Datagram(data, target)


def _proven_address(record: SessionRecord) -> bytes | None:
    """The nominated address first, as everywhere."""
    by_srtp = set(record.media.srtp_proven)
    proven = [address for address in record.addresses.read() or () if address.dtls_proven or address.id in by_srtp]
    best = max(proven, key=lambda address: (address.nominated, address.checked_ns), default=None)
    return None if best is None else best.key
