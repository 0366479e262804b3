"""The real `CallRouter`: signalling's side of the links to the transceivers.

Lives in the signalling process. A new call goes to the transceiver with the most free slots among those that accept
calls and have reported their load lately; a stuck one thus gets no new calls long before its supervisor replaces it.
A call's id names its transceiver, so nothing else needs a table.
"""

import asyncio
import itertools
import logging
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable

import msgspec

from shm.counters import Counters
from shm.daemon.log_addresses import client_address
from transceiverd import callid, links
from transceiverd.candidates import Candidate, advertised_addresses, host_candidates, missing_locals
from transceiverd.peer import TransceiverPeer
from transceiverd.sdp.answer import AnswerIdentity, build_answer
from transceiverd.sdp.negotiation import Negotiation, encode_negotiation
from transceiverd.sdp.offer import Fingerprint
from transceiverd.signalling.clients import Clients
from transceiverd.signalling.config import SignallingSection
from transceiverd.signalling.diagnosis import diagnose, diagnosis_line
from transceiverd.signalling.ledger import CallLedger, CallLimits, Reservation
from transceiverd.signalling.router import (
    CallContext,
    CallSnapshot,
    Created,
    Metric,
    Readiness,
    RouterError,
    Sample,
    Unavailable,
)

log = logging.getLogger("calls")

# A transceiver that does not answer within this may be stuck, which its reports have not shown yet: where there is
# another, that one is asked. Ten times what a busy one takes.
OTHERS_TURN_SECONDS = 0.3
PEERS_LOOK_SECONDS = 0.005
DRAINING = "the server is being drained: it takes no new calls"
SESSION_ID_BITS = 63
OVER = ("closing", "closed")  # states of a call that is counted no more


def _call_limits(config: SignallingSection) -> CallLimits:
    return CallLimits(config.calls_max, config.calls_per_address_max, config.calls_per_token_max)


def _bind(place: Reservation, reply: links.Message) -> None:
    if isinstance(reply, links.CallCreated):
        place.bind(reply.call_id)


class LinkRouter:
    """Implements `signalling.router.CallRouter` over links."""

    def __init__(self, machine: int, advertise: list[str], config: SignallingSection) -> None:
        self._machine = machine
        self._advertise = advertise
        self._reply_seconds = config.router_seconds
        self._ledger = CallLedger(_call_limits(config))
        self._clients = Clients(config.proxies, config.unlimited)
        self._restoring: set[asyncio.Task[None]] = set()
        self._peers: dict[int, TransceiverPeer] = {}
        self._relay = links.RelayState(attached=False)
        self._candidates: tuple[Candidate, ...] = ()
        self._requests = itertools.count(1)
        self._drained = 0  # seconds after which a refused caller shall come again; 0: calls are taken
        self.ended: dict[str, int] = {}

    # ------------------------------------------------------------------ what the supervisor says

    def use(self, index: int, end: socket.socket, counters: dict[str, Counters]) -> None:
        """A transceiver (again) runs."""
        self.gone(index)
        peer = self._peers[index] = TransceiverPeer(index, end, counters, self._call_ended)
        restoring = asyncio.ensure_future(self._restore(peer))
        self._restoring.add(restoring)
        restoring.add_done_callback(self._restoring.discard)

    def gone(self, index: int) -> None:
        """A transceiver has ended, and its calls with it."""
        peer = self._peers.pop(index, None)
        if peer is not None:
            peer.close()
            self._ledger.transceiver_gone(index)

    def configure(self, advertise: list[str], config: SignallingSection) -> None:
        """A reload: for answers and requests from now on."""
        self._advertise = advertise
        self._reply_seconds = config.router_seconds
        self._ledger.limits = _call_limits(config)
        self._clients = Clients(config.proxies, config.unlimited)
        self.relay(self._relay)

    def relay(self, state: links.RelayState) -> None:
        """The relay was attached or lost; the addresses of this machine are looked up anew."""
        self._relay = state
        if state.attached:
            addresses = advertised_addresses(self._advertise, state.bind4, state.bind6)
            self._candidates = host_candidates(addresses, state.port)
            for entry in missing_locals(self._advertise):
                log.warning("[transceiver] advertise %s: this machine has no such local address", entry)
            if not addresses:
                log.error("no address to put into answers: [transceiver] advertise and [relay] bind4, bind6 leave none")
            log.info("answers name %s, UDP port %d", ", ".join(str(address) for address in addresses), state.port)

    async def await_peers(self, seconds: float) -> None:
        """Until a call could be placed, or time is over."""
        deadline = time.monotonic() + seconds
        while self._roomiest(set()) is None and time.monotonic() < deadline:  # noqa: ASYNC110 - many things make it true
            await asyncio.sleep(PEERS_LOOK_SECONDS)

    def drain(self, retry_after: int) -> None:
        """The server is being emptied: no new calls, the others go on."""
        self._drained = retry_after

    # ------------------------------------------------------------------ what signalling asks

    async def create(self, negotiation: Negotiation, context: CallContext) -> Created:
        """Open a call on the least loaded transceiver. Its place is reserved first."""
        if self._drained:
            raise Unavailable("draining", DRAINING, self._drained)
        place = self._ledger.reserve(context.counted, context.owner)
        try:
            return await self._create(negotiation, context, place)
        finally:
            if not place.call_id:
                place.release()

    async def _create(self, negotiation: Negotiation, context: CallContext, place: Reservation) -> Created:
        tried: set[int] = set()
        refusal: RouterError | None = None
        while (peer := self._roomiest(tried)) is not None:
            tried.add(peer.index)
            # Until the next report this transceiver looks one call fuller, so that a burst spreads.
            peer.load = msgspec.structs.replace(peer.load, slots_free=peer.load.slots_free - 1)
            request = next(self._requests)
            message = links.CreateCall(
                request, encode_negotiation(negotiation), context.owner, context.client_address, context.dialect
            )
            try:
                seconds = self._reply_seconds if self._roomiest(tried) is None else OTHERS_TURN_SECONDS
                created = await peer.ask(
                    message, request, links.CallCreated, seconds, lambda reply: _bind(place, reply)
                )
            except RouterError as error:
                refusal = error  # it may have filled up since its last report: perhaps another has room
                continue
            return Created(created.call_id, build_answer(negotiation, self._identity(created)))
        raise refusal or Unavailable("not_ready", "; ".join((await self.ready()).reasons) or "no room")

    def _roomiest(self, tried: set[int]) -> TransceiverPeer | None:
        """The transceiver with most room that was not asked yet."""
        now = time.monotonic_ns()
        usable = [peer for peer in self._peers.values() if peer.usable(now) and peer.index not in tried]
        if not self._relay.attached or not self._candidates:
            return None
        return max(usable, key=lambda peer: (peer.load.slots_free, -peer.index), default=None)

    async def hangup(self, call_id: str, owner: str | None) -> bool:
        """End a call."""
        peer = self._peer_of(call_id)
        if peer is None:
            return False
        request = next(self._requests)
        message = links.Hangup(request, call_id, owner=owner)
        return (await peer.ask(message, request, links.HangupDone, self._reply_seconds)).found

    async def snapshot(self, call_id: str) -> CallSnapshot | None:
        """What is known of a call."""
        peer = self._peer_of(call_id)
        if peer is None:
            return None
        request = next(self._requests)
        message = links.Snapshot(request, call_id)
        reply = await peer.ask(message, request, links.SnapshotReply, self._reply_seconds)
        return None if reply.snapshot is None else self._complete(reply.snapshot)

    async def sessions(self) -> AsyncIterator[bytes]:
        """All live calls. The transceivers write the text: with 10,000 calls this process has no time for each line."""
        told = self._told()
        for peer in list(self._peers.values()):
            first = 0
            while first >= 0:
                page = await self._page(peer, first, told)
                rows, first = page.sessions, page.next_slot
                yield rows if isinstance(rows, bytes) else msgspec.json.encode([row | told for row in rows])

    async def _page(self, peer: TransceiverPeer, first: int, told: dict[str, object] | None = None,
                    on_page: Callable[[links.Message], None] = lambda _page: None) -> links.SessionList:  # fmt: skip
        request = next(self._requests)
        message = links.ListSessions(request, first, told)
        return await peer.ask(message, request, links.SessionList, self._reply_seconds, on_page)

    async def _restore(self, peer: TransceiverPeer) -> None:
        """Count the calls that a predecessor of this process placed."""

        def count(page: links.Message) -> None:
            rows = page.sessions if isinstance(page, links.SessionList) else []
            for row in rows:
                if isinstance(row, dict) and row["state"] not in OVER:
                    counted = self._clients.counted(str(row["client_address"]))
                    self._ledger.restore(str(row["call_id"]), counted, str(row["owner"]))

        try:
            first = 0
            while first >= 0:
                first = (await self._page(peer, first, on_page=count)).next_slot
        except RouterError as error:
            log.warning("transceiver %d did not say which calls it has: %s", peer.index, error.message)

    async def ready(self) -> Readiness:
        """Whether a call made now could succeed."""
        reasons = [DRAINING] if self._drained else []
        now = time.monotonic_ns()
        if not self._relay.attached:
            reasons.append(f"relayd is not attached: {self._relay.problem}".removesuffix(": "))
        if self._relay.attached and not self._candidates:
            reasons.append("this machine has no address to answer with: set [transceiver] advertise")
        if not any(peer.usable(now) for peer in self._peers.values()):
            reasons.append("no transceiver accepts calls" if self._peers else "no transceiver runs")
        return Readiness(not reasons, tuple(reasons), self._drained or 1)

    async def metrics(self) -> list[Metric]:
        """Counters of all transceivers, and ours."""
        events: list[Sample] = []
        gauges: list[Sample] = []
        free: list[Sample] = []
        for peer in self._peers.values():
            room = peer.load.slots_free if peer.usable(time.monotonic_ns()) else 0
            free.append(Sample({"transceiver": str(peer.index)}, room))
            gauges.append(Sample({"transceiver": str(peer.index)}, peer.load.calls))
            for thread, counters in peer.counters.items():
                for name, value in counters.read().items():
                    if name != "calls":
                        labels = {"transceiver": str(peer.index), "thread": thread, "event": name}
                        events.append(Sample(labels, value))
        ends = [Sample({"reason": reason}, count) for reason, count in self.ended.items()]
        return [
            Metric("ringline_calls", "gauge", "Calls that live.", gauges),
            Metric("ringline_slots_free", "gauge", "Calls that a transceiver would still take.", free),
            Metric("ringline_calls_ended", "counter", "Calls that ended, by reason.", ends),
            Metric("ringline_transceiver_events", "counter", "Events and drops of each transceiver thread.", events),
            Metric(
                "ringline_relay_attached",
                "gauge",
                "1 while relayd is attached.",
                [Sample({}, float(self._relay.attached))],
            ),
        ]

    # ------------------------------------------------------------------ between

    def _peer_of(self, call_id: str) -> TransceiverPeer | None:
        route = callid.route(call_id)
        if route is None or route.machine != self._machine:
            return None
        return self._peers.get(route.transceiver)

    def _identity(self, created: links.CallCreated) -> AnswerIdentity:
        return AnswerIdentity(
            ufrag=created.ufrag,
            password=created.password,
            fingerprints=(Fingerprint("sha-256", created.fingerprint),),
            ssrc=created.ssrc,
            cname=created.cname,
            candidates=self._candidates,
            session_id=secrets.randbits(SESSION_ID_BITS),
            sctp_init=created.sctp_init,
        )

    def _complete(self, snapshot: dict[str, object]) -> CallSnapshot:
        """A transceiver's words, with what only signalling knows."""
        return msgspec.convert(snapshot | self._told(), CallSnapshot)

    def _told(self) -> dict[str, object]:
        """What clients were told, which no transceiver knows."""
        addresses = [candidate.address for candidate in self._candidates]
        return {"answered_addresses": addresses, "answered_port": self._relay.port}

    def _call_ended(self, snapshot: dict[str, object]) -> None:
        """One line for each call that ended; for one that failed, why."""
        known = self._complete(snapshot)
        self._ledger.ended(known.call_id)
        reason = known.closed_reason or "unknown"
        self.ended[reason] = self.ended.get(reason, 0) + 1
        diagnosis = diagnose(msgspec.structs.replace(known, client_address=client_address(known.client_address)))
        if diagnosis.failed:
            log.warning("%s (%s)", diagnosis_line(diagnosis), reason)
        else:
            log.info("%s ended after %.1f s: %s", callid.short(known.call_id), known.age_ms / 1000, reason)
