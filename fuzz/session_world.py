"""A transceiver and a relay worker's rules without clocks or sockets: the world of the session machine.

`World` extends the tests' bottle: the product's call table, lanes, media engine over real rings. The worker at their
other end is the product's flow table and header reader, driven by the rules of relayd/inbound.pyx and outbound.pyx. It
keeps its own books of what each address sent, passed and was sent, and holds every datagram that leaves against them.

Books are by (call, address). A *genuine* datagram is one that a caller's own engine made, delivered unchanged; anything
else can pass no check and prove nothing.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from relayd import headers
from relayd.ufrag import decode
from shm.errors import MalformedPacket
from shm.flow_types import FlowOutcome
from shm.flows import FlowTable
from tests.bottle import INCARNATION, RTCP, RTP, WITHDRAW, Bottle
from transceiverd.calls import FAULT, Call
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.engine import Role
from transceiverd.dtls.records import parse_records
from transceiverd.engine import Datagram
from transceiverd.ice import stun
from transceiverd.lanes import STUN
from transceiverd.media.outcomes import OUTCOME_NAMES
from transceiverd.sctp.config import DataChannelConfig

PUBLISH, PUBLISH_AND_SEND, SEND = 16, 18, 19
FLAG_CONTENDED, FLAG_CONTENDER = 2, 4
AMPLIFICATION = 3  # DESIGN 2.4
TOOK_EFFECT = frozenset(
    {
        FlowOutcome.APPLIED,
        FlowOutcome.REFRESHED,
        FlowOutcome.REPLACED_DEAD,
        FlowOutcome.CONTENDING,
        FlowOutcome.CONTENDER_WON,
        FlowOutcome.CONTENDER_DROPPED,
    }
)
FLOWS = 64
ROLES = {"active": Role.SERVER, "passive": Role.CLIENT}  # of a caller, by what we answer for a=setup


class Where(NamedTuple):
    """A call, by what records say of it, and an address."""

    origin: int
    key: bytes


def is_check(data: bytes) -> bool:
    """Whether a genuine datagram is a Binding request."""
    return data[0] < 4 and stun.parse(data).message_class == stun.REQUEST


def holds_genuine(data: bytes, wire: Iterable[bytes]) -> bool:
    """An edit may leave the whole, or one sealed record of a flight, as it was on the wire; then it is what it was."""
    if data in wire:
        return True
    try:
        sealed = [record.serialize() for record in parse_records(data) if record.epoch]
    except MalformedPacket:
        return False
    return any(record in seen for record in sealed for seen in wire)


class World(Bottle):
    """The server end, with the worker's rules and the books."""

    def __init__(
        self, slots: int, data_channel: DataChannelConfig | None = None, dtls: DtlsConfig | None = None
    ) -> None:
        super().__init__(slots=slots, data_channel=data_channel, dtls=dtls)
        self.table = FlowTable.create(FLOWS)
        self.table.set_incarnation(0, INCARNATION)
        self.came: Counter[Where] = Counter()  # bytes delivered to a call from an address
        self.went: Counter[Where] = Counter()  # bytes that left for it
        self.checked: set[Where] = set()  # a check that can pass came from there
        self.could_prove: set[Where] = set()  # a packet under the call's keys came from there
        self.inbox: dict[bytes, list[bytes]] = {}  # what arrived at each address

    def restore(self, call: Call) -> Call:
        """The same call, made anew from its record and blob alone, as in another process."""
        restored = self.calls.restore(call.owner.slot, self.now)
        self.port.rebuild(call.owner.slot)
        return restored

    # ------------------------------------------------------------------ in: the rules of relayd/inbound.pyx

    def genuine(self, data: bytes, source: bytes) -> None:
        """What a caller's engines made, as they made it."""
        sealed = data[0] >= 128 or (20 <= data[0] < 64 and data[3:5] != b"\0\0") or b"\xfe\xfd\x00\x01" in data
        self.arrive(data, source, check=is_check(data), sealed=sealed)

    def arrive(self, data: bytes, source: bytes, *, check: bool = False, sealed: bool = False) -> None:
        """A datagram from `source`. `check`: it is a check that may pass; `sealed`: it is under its call's keys."""
        kind = headers.packet_kind(data, len(data))
        if kind == STUN:
            self._arrive_stun(data, source, check)
        elif kind > 0:
            self._arrive_by_flow(kind, data, source, sealed)
        self.turn()

    def _arrive_stun(self, data: bytes, source: bytes, check: bool) -> None:
        offset = headers.binding_request_ufrag(data, len(data))
        if offset < 0:
            return
        try:
            origin = decode(data[offset : offset + headers.UFRAG_LENGTH].decode("latin-1")).origin
        except MalformedPacket:
            return
        where = Where(origin, source)
        self.came[where] += len(data)
        if check:
            self.checked.add(where)
        names = {"slot": (origin >> 16) & 0xFFFFFF, "generation": origin & 0xFFFF, "incarnation": INCARNATION}
        self.handshakes.write(STUN, source, data, receive_time_ns=self.now, flags=self._flags(source), **names)
        self.handshakes.publish()

    def _arrive_by_flow(self, kind: int, data: bytes, source: bytes, sealed: bool) -> None:
        flow = self.table.lookup(source)
        if flow is None:
            return
        for owner, wanted, flag in zip(
            (flow.owner, flow.contender), self.table.route(source, self.now), (0, FLAG_CONTENDER), strict=True
        ):
            if owner is None or not wanted:
                continue
            where = Where(owner.origin, source)
            self.came[where] += len(data)
            if sealed:
                self.could_prove.add(where)
            ring = self.media_in if kind in (RTP, RTCP) else self.handshakes
            ring.write(
                kind, source, data, slot=owner.slot, generation=owner.generation, incarnation=owner.incarnation,
                receive_time_ns=self.now, flags=self._flags(source) | flag,
            )  # fmt: skip
            ring.publish()

    def _flags(self, source: bytes) -> int:
        return FLAG_CONTENDED if self.table.route(source, self.now)[1] else 0

    # ------------------------------------------------------------------ out: the rules of relayd/outbound.pyx

    def _send(self) -> None:
        for record in self.control_out.read(10_000):
            owner = (record.origin, record.incarnation)
            allowed = True
            if record.type == WITHDRAW:
                self.table.withdraw(record.key, *owner)
            elif record.type in (PUBLISH, PUBLISH_AND_SEND):
                outcome = self.table.publish(
                    record.key, *owner, slot=record.slot, generation=record.generation, state=record.address_state,
                    now=self.now, flags=record.flags,
                )  # fmt: skip
                allowed = outcome in TOOK_EFFECT
            else:
                allowed = self._owns(record.key, record.origin) or record.payload[:2] == b"\x01\x11"
            if record.payload and allowed:
                self._leave(Where(record.origin, record.key), record.payload)
        self.control_out.release()
        for record in self.media_out.read(10_000):
            where = Where(record.origin, record.key)
            assert where in self.could_prove, "media to an address that proved nothing"
            self._leave(where, record.payload)
        self.media_out.release()

    def _owns(self, key: bytes, origin: int) -> bool:
        flow = self.table.lookup(key)
        return flow is not None and origin in (flow.owner.origin, flow.contender.origin if flow.contender else None)

    def _leave(self, where: Where, data: bytes) -> None:
        """Every datagram for the wire passes here: the rules of DESIGN 2.4, by our own books."""
        kind = headers.classify(data[0], data[1])
        assert kind > 0
        if kind == STUN:
            assert where in self.came, "bytes to a stranger"
            assert stun.parse(data).message_class in (stun.SUCCESS, stun.ERROR)
            assert where in self.checked or stun.parse(data).message_class == stun.ERROR
        else:
            assert where in self.checked, "DTLS or SRTP to an address that passed no check"
        self.went[where] += len(data)
        if where not in self.could_prove:
            assert self.went[where] <= AMPLIFICATION * self.came[where], "more than three times what it sent"
        self.inbox.setdefault(where.key, []).append(data)
        self._out.append(Datagram(data, where.key))

    # ------------------------------------------------------------------ what must hold between any two steps

    def check_books(self) -> None:
        """Slots, counters, deadlines; and nothing had to be contained: that would be a bug that the call table hid."""
        assert self.calls.drops[FAULT] == 0
        used = set(self.sessions.used())
        assert used == set(self.calls.slots()), "a slot leaked, or is in use without a call"
        assert all(not call.closing for call in self.calls), "media let go, and the slot is still held"
        counted = self.counters.read()
        outcomes = sum(counted[name] for name in OUTCOME_NAMES)
        assert counted["received"] == outcomes + counted["early_kept"] - counted["early_released"]
        for flow in self.table.items():
            assert len(flow.key) == 48
        deadline = self.calls.deadlines.next()
        assert deadline is None or used, "a deadline of nobody"
