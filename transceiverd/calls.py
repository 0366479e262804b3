"""The calls of one transceiver: made, found by slot, fed, drained, ended.

Owned by the transceiver process (`transceiver.py`), on its control thread. This is where the sans-I/O session meets
the lanes, the media thread and the session segment. It knows no event loop and no clock: `now` is passed in.

A slot is freed only when the media thread has acknowledged that it let go of the call (DESIGN 2.5).
"""

import base64
import logging
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator

from relayd.ufrag import UfragKeys, mint
from shm.ring import Record
from shm.session import SessionRecord, SessionSegment
from transceiverd import callid
from transceiverd.call import NOBODY, Call, Caller, Created, TooManyCalls, TooManyHandshakes
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.context import DtlsContext
from transceiverd.dtls.reasons import drop_label
from transceiverd.engine import Closed, Datagram, Drops
from transceiverd.ice.addresses import PROVEN as ADDRESS_PROVEN
from transceiverd.ice.config import IceConfig
from transceiverd.ice.consent import CLOSED_CONSENT
from transceiverd.lanes import DTLS, FLAG_CONTENDED, STUN, ControlLanes, Owner
from transceiverd.media.port import MediaPort
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sdp.negotiation import Negotiation
from transceiverd.session import FlowPublished, FlowWithdrawn, MediaReady, State
from transceiverd.session_maker import CallDrops, SessionMaker
from transceiverd.snapshot import connected_line, describe
from transceiverd.timers import Deadlines

log = logging.getLogger("calls")

FAULT = "internal-fault"  # reason of the end of a call that ran into a bug of ours
HALF_OPEN = "too_many_handshakes"  # label of calls refused for it, and the code that their clients are told
STALE = "record-stale"  # label of a drop: the slot was given out again, or is free
ICE_PASSWORD_BYTES = 18  # 144 bits, 24 characters (RFC 8839 5.4 asks for 128 bits and 22 characters)
UFRAG_NONCE_BYTES = 6
SSRC_BYTES = 4
ENDED_KEPT = 512  # snapshots of ended calls, so that the page and the log can still say why
CONSENT_LOST = CLOSED_CONSENT  # of the agent: nothing may be sent any more, not even BYE
APPLICATION_NONE, APPLICATION_ECHO = 0, 1  # struct session.application


class CallTable:
    """All calls of this transceiver."""

    def __init__(
        self,
        segment: SessionSegment,
        lanes: ControlLanes,
        media: MediaPort,
        dtls_context: DtlsContext,
        keys: Callable[[], UfragKeys],
        machine: int,
        transceiver: int,
        ice: IceConfig,
        dtls: DtlsConfig,
        data_channel: DataChannelConfig,
        on_ended: Callable[[dict[str, object]], None] = lambda _snapshot: None,
        half_open_max: int = 1 << 24,
    ) -> None:
        self.drops = Drops()
        self.dtls_drops = Drops()
        self.sctp_drops = Drops()
        self.deadlines = Deadlines()
        self.established = 0
        self.created = 0
        self.ended: OrderedDict[str, dict[str, object]] = OrderedDict()
        self._segment = segment
        self._lanes = lanes
        self._media = media
        drops = CallDrops(self.drops, self.dtls_drops, self.sctp_drops)
        self._maker = SessionMaker(dtls_context, ice, dtls, data_channel, drops)
        self._keys = keys
        self._machine = machine
        self._transceiver = transceiver
        self._on_ended = on_ended
        self._half_open: set[int] = set()  # slots of calls whose DTLS handshake is not done
        self.half_open_max = half_open_max
        self._by_slot: dict[int, Call] = {}
        lanes.answer_for(self._by_slot)
        self._by_id: dict[str, Call] = {}

    def __len__(self) -> int:
        return len(self._by_slot)

    @property
    def half_open(self) -> int:
        """Calls answered whose handshake is not done."""
        return len(self._half_open)

    def established_at(self, slot: int) -> bool:
        """Whether DTLS from this slot's client is records of a finished handshake, and no work for OpenSSL."""
        return slot in self._by_slot and slot not in self._half_open

    def __iter__(self) -> Iterator[Call]:
        return iter(list(self._by_slot.values()))

    def configure(self, ice: IceConfig, dtls: DtlsConfig, data_channel: DataChannelConfig) -> None:
        """For calls that are made from now on."""
        self._maker.configure(ice, dtls, data_channel)

    def all_drops(self) -> Iterator[tuple[str, int]]:
        """Counted drops of all engines, by the names they have in the counters segment."""
        yield from self.drops.items()
        yield from self.sctp_drops.items()
        yield from ((drop_label(reason), count) for reason, count in self.dtls_drops.items())

    def find(self, call_id: str) -> Call | None:
        """The call of this id. The id is 128 random bits, so a dict look-up leaks nothing that could be walked."""
        return self._by_id.get(call_id)

    # ------------------------------------------------------------------ life

    def create(self, negotiation: Negotiation, now: int, caller: Caller = NOBODY) -> Created:
        """Open a call for an accepted offer. Raises TooManyCalls, TooManyHandshakes."""
        if len(self._half_open) >= self.half_open_max:
            self.drops[HALF_OPEN] += 1
            raise TooManyHandshakes
        slot = self._segment.allocate(now)
        if slot is None:
            raise TooManyCalls
        try:
            return self._create(self._segment.record(slot), negotiation, caller, now)
        except BaseException:
            if slot not in self._by_slot:
                self._segment.free(slot, now)
            raise

    def _create(self, record: SessionRecord, negotiation: Negotiation, caller: Caller, now: int) -> Created:
        slot = record.slot
        ufrag = self._mint(slot, record.generation)
        password = base64.b64encode(os.urandom(ICE_PASSWORD_BYTES)).decode()  # ice-char is base64's alphabet
        call_id = callid.mint(self._machine, self._transceiver)
        self._fill(record, negotiation, call_id)
        sctp_init = self._maker.sctp_init(negotiation)
        session = self._maker.make(record, negotiation, ufrag, password, sctp_init, caller, now)
        call = Call(call_id, self._owner(record), record, session, negotiation)
        call.caller = caller
        self._by_slot[slot] = self._by_id[call_id] = call
        self._half_open.add(slot)
        self.created += 1
        self._settle(call, now)
        return Created(call_id, ufrag, password, record.local_ssrc, f"{record.rtcp_cname:08x}", sctp_init)

    def close(self, call: Call, reason: str, now: int) -> None:
        """End a call: close_notify and BYE, flows withdrawn; the slot is freed when media has let go."""
        call.session.close(reason, now)
        self._settle(call, now)

    def _mint(self, slot: int, generation: int) -> str:
        nonce = int.from_bytes(os.urandom(UFRAG_NONCE_BYTES))
        return mint(self._keys(), self._machine, self._transceiver, slot, generation, nonce)

    def _fill(self, record: SessionRecord, negotiation: Negotiation, call_id: str) -> None:
        record.call_id = call_id
        random = os.urandom(2 * SSRC_BYTES)
        record.local_ssrc = int.from_bytes(random[:SSRC_BYTES]) or 1
        record.rtcp_cname = int.from_bytes(random[SSRC_BYTES:])
        audio = negotiation.audio
        record.application = APPLICATION_ECHO if audio is not None and audio.sends else APPLICATION_NONE
        record.payloads = [] if audio is None else [(p.payload_type, p.clock_rate) for p in audio.payloads]

    def restore(self, slot: int, now: int) -> Call:
        """Take a connected call up from its record alone, in place of whatever this table knew of it; its flows are
        published. Raises ValueError when the record does not allow it. Media is the caller's."""
        record = self._segment.record(slot)
        session, negotiation, caller = self._maker.restore(record, now)
        before = self._by_slot.get(slot)
        if before is not None:
            before.session.release()
        call = Call(record.call_id, self._owner(record), record, session, negotiation)
        call.caller = Caller(*caller)
        if before is not None:
            call.worker = before.worker
            if call.subject is not None and before.subject is not None:
                call.subject.waiting = before.subject.waiting  # its checks in the inbox are this call's now
        self._by_slot[slot] = self._by_id[record.call_id] = call
        for key, state in session.flows():
            self._lanes.publish(call.owner, key, state, but=-1, fresh=False)
        self._contained(call, now, session.handle_timeout, now)
        return call

    def _owner(self, record: SessionRecord) -> Owner:
        return Owner(self._transceiver, record.slot, record.generation, record.origin, record.incarnation)

    # ------------------------------------------------------------------ in

    def receive(self, record: Record, now: int) -> None:
        """One record of a handshake ring."""
        call = self._by_slot.get(record.slot)
        if call is None or call.closing or not _current(call.owner, record):
            self.drops[STALE] += 1
            return
        call.worker = record.worker
        if record.type == STUN:
            if call.subject is not None:
                call.subject.waiting -= 1
            self._contained(call, now, call.session.receive_stun, record.payload, record.key, now)
        elif record.type == DTLS:
            contended = bool(record.flags & FLAG_CONTENDED)
            self._contained(call, now, call.session.receive_dtls, record.payload, record.key, now, contended)

    def srtp_proven(self, slot: int, generation: int, key: bytes, now: int) -> None:
        """Media authenticated a packet from `key`, which was not proven before, or which is in dispute."""
        call = self._by_slot.get(slot)
        if call is not None and call.owner.generation == generation and not call.closing:
            self._contained(call, now, call.session.prove, key, now)

    def media_removed(self, slot: int, generation: int, bye: bytes = b"", key: bytes = b"") -> None:
        """Media has let go of the call: its BYE goes out, its flows are withdrawn, its slot can be given out again.

        The BYE goes through the control ring, before the withdrawals: between two rings there is no order (DESIGN 2.3).
        """
        call = self._by_slot.get(slot)
        if call is not None and call.owner.generation == generation and call.closing:
            if bye:
                self._lanes.send(call.owner, Datagram(bye, key), call.worker, ADDRESS_PROVEN)
            self._free(call)

    def media_refused(self, slot: int, generation: int, now: int) -> None:
        """Media did not take the call up: a mistake of ours, and a call without audio is no call."""
        call = self._by_slot.get(slot)
        if call is not None and call.owner.generation == generation and not call.closing:
            log.error("%s: media refused it", callid.short(call.call_id))
            self.close(call, FAULT, now)

    def expire(self, now: int) -> None:
        """Do all that is due."""
        for slot in self.deadlines.due(now):
            call = self._by_slot.get(slot)  # type: ignore[call-overload]
            if call is not None and not call.closing:
                self._contained(call, now, call.session.handle_timeout, now)

    def _contained(self, call: Call, now: int, work: Callable[..., None], *arguments: object) -> None:
        """Do something to a call's session and settle it. A fault of ours in one call ends that call, and no other: it
        is logged, counted, and the slot comes free.

        Peer input never raises past an engine, so whatever is caught here is a bug.
        """
        try:
            work(*arguments)
            self._settle(call, now)
        except Exception:
            log.exception("%s ends by a fault of ours", callid.short(call.call_id))
            self.drops[FAULT] += 1
            if not call.closing:
                call.session.close_reason = FAULT
                self._closed(call, FAULT, now)
                self.deadlines.set(call.owner.slot, None)

    # ------------------------------------------------------------------ out

    def flows_of(self, slot: int) -> Iterator[tuple[Owner, bytes, int]]:
        """The flows of a slot's call, for publishing again."""
        call = self._by_slot.get(slot)
        if call is not None and not call.closing:
            for key, state in call.session.flows():
                yield call.owner, key, state

    def slots(self) -> list[int]:
        """Slots in use."""
        return list(self._by_slot)

    def of_slots(self, slots: Iterable[int]) -> Iterator[Call]:
        """The calls of these slots."""
        return (self._by_slot[slot] for slot in slots if slot in self._by_slot)

    def _settle(self, call: Call, now: int) -> None:
        """Drain the session and re-arm its timer.

        Datagrams first: an answer that publishes its flow carries the state of the address as it is now.
        """
        session = call.session
        if session.store.connected_ns:
            self._half_open.discard(call.owner.slot)
        answered: set[bytes] = set()
        while (datagram := session.poll_datagram()) is not None:
            state = session.agent.addresses.state(datagram.destination)
            if self._lanes.send(call.owner, datagram, call.worker, state) and datagram.publish:
                answered.add(datagram.destination)
        while (event := session.poll_event()) is not None:
            self._on_event(call, event, answered, now)
        if call.closing:
            self.deadlines.set(call.owner.slot, None)
        else:
            timeout = session.next_timeout()
            self.deadlines.set(call.owner.slot, None if timeout is None else timeout.deadline)

    def _on_event(self, call: Call, event: object, answered: set[bytes], now: int) -> None:
        match event:
            case FlowPublished(key, state, fresh):
                # The worker that sends the answer publishes with it, in the right order; a proof goes to all.
                answering = call.worker if key in answered and not fresh else -1
                self._lanes.publish(call.owner, key, state, but=answering, serving=call.worker, fresh=fresh)
            case FlowWithdrawn(key):
                self._lanes.withdraw(call.owner, key)
            case MediaReady():
                self.established += 1
                self._media.install(call.owner.slot)
                log.info("%s", connected_line(call))
            case Closed(reason):
                self._closed(call, reason, now)

    def _closed(self, call: Call, reason: str, now: int) -> None:
        call.closing = True
        self._half_open.discard(call.owner.slot)
        call.session.release()
        snapshot = describe(call, now)
        self.ended[call.call_id] = snapshot
        if len(self.ended) > ENDED_KEPT:
            self.ended.popitem(last=False)
        self._by_id.pop(call.call_id, None)
        self._on_ended(snapshot)
        if call.record.srtp.profile:
            self._media.remove(call.owner.slot, bye=reason != CONSENT_LOST)
        else:
            self._free(call)

    def _free(self, call: Call) -> None:
        for address in call.session.agent.addresses:
            self._lanes.withdraw(call.owner, address.key)
        del self._by_slot[call.owner.slot]
        self._segment.free(call.owner.slot, call.record.closing_ns)


def _current(owner: Owner, record: Record) -> bool:
    return owner.generation == record.generation and owner.incarnation == record.incarnation


__all__ = ["Call", "CallTable", "Created", "State", "TooManyCalls", "TooManyHandshakes"]
