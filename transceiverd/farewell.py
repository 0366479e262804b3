"""Tells the clients of a transceiver that died that their calls are over, from the session segment (DESIGN 2.13).

Run by a transceiver from its start, a few calls a turn, as fast as the ring to the relay takes them. The record layer
of each established call is rebuilt from its record and says close_notify, so that a client redials at once instead of
waiting out its consent time. The record numbers used are beyond all that the predecessor can have sent: it advanced
them before it queued a packet. The goodbye leaves as *publish-and-send* under the new incarnation: the dead owner's
flow is replaced at once. A slot is given out again only when its client was told, or when time is over.

What killed the predecessor may be the record itself. So the slot in work stands in the counters' segment, in the word
that media uses for its batch: a slot on which two processes died is skipped and counted, as with a ring's records.
"""

import logging
from collections import deque

from shm.counters import Counters
from shm.session import SessionRecord, SessionSegment
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.engine import DtlsEngine
from transceiverd.engine import SECOND, Datagram
from transceiverd.ice.addresses import PROVEN
from transceiverd.lanes import ControlLanes, Owner

log = logging.getLogger("transceiver")

CALLS_A_TURN = 16  # each rebuilds a record layer, about 100 us
TRIES = 2  # of a slot by processes that die on it
PATIENCE_NS = 3 * SECOND  # a client SDK gives up after 5 s by itself; the slots are wanted


class Farewells:
    """What is left to say."""

    def __init__(
        self,
        sessions: SessionSegment,
        lanes: ControlLanes,
        config: DtlsConfig,
        incarnation: int,
        now: int,
        counters: Counters,
    ) -> None:
        self._sessions = sessions
        self._lanes = lanes
        self._config = config
        self._incarnation = incarnation
        self._until = now + PATIENCE_NS
        self._slots = deque(sessions.used())
        self._waiting: Datagram | None = None  # of the first slot: made once, since saying it uses its number up
        self._total, self._told = len(self._slots), 0
        self._counters = counters
        self._suspect, self._tries = divmod(counters.batch_in_hand, TRIES)

    @property
    def left(self) -> int:
        """Calls of the predecessor that nobody was told of yet."""
        return len(self._slots)

    def work(self, now: int) -> bool:
        """Say some more; False when all is said, or time is over."""
        if not self._slots:
            return False
        for _ in range(min(CALLS_A_TURN, len(self._slots))):
            if not self._say(self._slots[0]) and now < self._until:
                return True
            self._sessions.free(self._slots.popleft(), now)
            self._waiting = None
        if not self._slots:
            log.warning(
                "%d calls ended with the transceiver before this one; %d clients were told", self._total, self._told
            )
        return bool(self._slots)

    def _say(self, slot: int) -> bool:
        """Whether this slot is done with."""
        record = self._sessions.record(slot)
        self._waiting = self._waiting or self._made(slot, record)
        if self._waiting is None:
            return True  # it had no keys or no proven address: there is nobody to tell
        owner = Owner(self._sessions.transceiver, slot, record.generation, record.origin, self._incarnation)
        if not self._lanes.send(owner, self._waiting, -1, PROVEN):
            return False
        self._lanes.withdraw(owner, self._waiting.destination)
        self._lanes.flush()  # said before the slot is freed, and before another record can kill us
        self._told += 1
        return True

    def _made(self, slot: int, record: SessionRecord) -> Datagram | None:
        """Whoever dies in here leaves `slot` and the number of tries before behind."""
        tries = self._tries + 1 if slot + 1 == self._suspect else 0
        if tries == TRIES:
            self._counters.add("farewell-skipped")
            log.error("two processes died on the call in slot %d; its client is not told", slot)
            return None
        self._counters.batch_in_hand = (slot + 1) * TRIES + tries
        try:
            return _farewell(record, self._config)
        except Exception:  # one call's record must not keep the others' clients waiting, nor new calls
            log.exception("the call in slot %d cannot be ended properly", slot)
            self._counters.add("farewell-skipped")
            return None
        finally:
            self._counters.batch_in_hand = 0


def _farewell(record: SessionRecord, config: DtlsConfig) -> Datagram | None:
    """close_notify to the address that media went to."""
    target = _proven_address(record)
    if target is None:
        return None
    try:
        engine = DtlsEngine.rebuild(record.dtls, config=config)
    except ValueError:
        return None  # died during the handshake: nobody would believe us
    engine.close(0)
    data = engine.poll_datagram()
    return None if data is None else Datagram(data, target, publish=True)


def _proven_address(record: SessionRecord) -> bytes | None:
    """The nominated address first, as everywhere."""
    by_srtp = set(record.media.srtp_proven)
    found = record.addresses.read() or ()
    proven = [address for address in found if address.dtls_proven or address.id in by_srtp]
    best = max(proven, key=lambda address: (address.nominated, address.checked_ns), default=None)
    return None if best is None else best.key
