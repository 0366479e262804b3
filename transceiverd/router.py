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
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import msgspec

from shm.counters import Counters
from transceiverd import callid, links
from transceiverd.candidates import Candidate, advertised_addresses, host_candidates
from transceiverd.sdp.answer import AnswerIdentity, build_answer
from transceiverd.sdp.negotiation import Negotiation, encode_negotiation
from transceiverd.sdp.offer import Fingerprint, Offer
from transceiverd.signalling.diagnosis import diagnose, diagnosis_line
from transceiverd.signalling.router import (
    CallContext,
    CallSnapshot,
    Created,
    LimitReached,
    Metric,
    Readiness,
    RouterError,
    Sample,
    Unavailable,
)

log = logging.getLogger("calls")

# A transceiver reports every 200 ms; one that missed several is stuck or starved (the issue: no new calls within 2 s).
LOAD_FRESH_NS = 1_000_000_000
OFFERS_KEPT = 4096  # where offers came from, for the diagnosis of calls that live or ended lately
SESSION_ID_BITS = 63

Reply = TypeVar("Reply", bound=links.Message)


class TransceiverPeer:
    """One transceiver, as signalling sees it."""

    def __init__(self, index: int, end: socket.socket, counters: dict[str, Counters], on_gone: Callable[[], None],
                 on_ended: Callable[[dict[str, object]], None]) -> None:  # fmt: skip
        self.index = index
        self.counters = counters
        self.load = links.Load(0, 0, accepting=False)
        self._loaded_ns = 0
        self._waiting: dict[int, asyncio.Future[links.Message]] = {}
        self._on_gone = on_gone
        self._on_ended = on_ended
        self._link = links.Link(end, self._on_message, self._lost)

    def usable(self, now: int) -> bool:
        """Whether a call made now would be served."""
        return self.load.accepting and self.load.slots_free > 0 and now - self._loaded_ns < LOAD_FRESH_NS

    async def ask(self, message: links.Message, request: int, kind: type[Reply], seconds: float) -> Reply:
        """Send a request and wait for its reply. Raises Unavailable."""
        future: asyncio.Future[links.Message] = asyncio.get_running_loop().create_future()
        self._waiting[request] = future
        self._link.send(message)
        try:
            reply = await asyncio.wait_for(future, seconds)
        except TimeoutError:
            raise Unavailable("transceiver_timeout", f"transceiver {self.index} did not reply in time") from None
        finally:
            self._waiting.pop(request, None)
        if isinstance(reply, links.CallRefused):
            raise _refusal(reply)
        assert isinstance(reply, kind)
        return reply

    def close(self) -> None:
        """The process has ended: whoever waits for it hears so."""
        self._link.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("transceiver_gone", f"transceiver {self.index} has ended"))
        for counters in self.counters.values():
            counters.segment.close()

    def _on_message(self, message: links.AnyMessage, _descriptors: list[int]) -> None:
        match message:
            case links.Load():
                self.load = message
                self._loaded_ns = time.monotonic_ns()
            case links.CallEnded(snapshot):
                self._on_ended(snapshot)
            case (
                links.CallCreated(request=request)
                | links.CallRefused(request=request)
                | links.HangupDone(request=request)
                | links.SnapshotReply(request=request)
                | links.SessionList(request=request)
            ):
                future = self._waiting.get(request)
                if future is not None and not future.done():
                    future.set_result(message)

    def _lost(self) -> None:
        log.warning("the link to transceiver %d broke", self.index)
        self.load = links.Load(0, 0, accepting=False)
        self._on_gone()


def _refusal(refused: links.CallRefused) -> Unavailable | LimitReached:
    kind = LimitReached if refused.code == "too_many_calls" else Unavailable
    return kind(refused.code, refused.message, refused.retry_after or 1)


class LinkRouter:
    """Implements `signalling.router.CallRouter` over links."""

    def __init__(self, machine: int, advertise: list[str], reply_seconds: float) -> None:
        self._machine = machine
        self._advertise = advertise
        self._reply_seconds = reply_seconds
        self._peers: dict[int, TransceiverPeer] = {}
        self._relay = links.RelayState(attached=False)
        self._candidates: tuple[Candidate, ...] = ()
        self._contexts: OrderedDict[str, CallContext] = OrderedDict()
        self._requests = itertools.count(1)
        self.ended: dict[str, int] = {}

    # ------------------------------------------------------------------ what the supervisor says

    def use(self, index: int, end: socket.socket, counters: dict[str, Counters]) -> None:
        """A transceiver (again) runs."""
        self.gone(index)
        self._peers[index] = TransceiverPeer(index, end, counters, lambda: None, self._call_ended)

    def gone(self, index: int) -> None:
        """A transceiver has ended, and its calls with it."""
        peer = self._peers.pop(index, None)
        if peer is not None:
            peer.close()

    def relay(self, state: links.RelayState) -> None:
        """The relay was attached or lost; the addresses of this machine are looked up anew."""
        self._relay = state
        if state.attached:
            addresses = [
                address
                for address in advertised_addresses(self._advertise)
                if (state.bind4 if address.version == 4 else state.bind6)
            ]
            self._candidates = host_candidates(addresses, state.port)
            log.info("answers name %s, UDP port %d", ", ".join(str(address) for address in addresses), state.port)

    # ------------------------------------------------------------------ what signalling asks

    async def create(self, offer: Offer, negotiation: Negotiation, context: CallContext) -> Created:
        """Open a call on the least loaded transceiver."""
        del offer
        tried: set[int] = set()
        refusal: RouterError = Unavailable("not_ready", "; ".join((await self.ready()).reasons) or "no room")
        while (peer := self._roomiest(tried)) is not None:
            tried.add(peer.index)
            # Until the next report this transceiver looks one call fuller, so that a burst spreads.
            peer.load = msgspec.structs.replace(peer.load, slots_free=peer.load.slots_free - 1)
            request = next(self._requests)
            message = links.CreateCall(request, encode_negotiation(negotiation))
            try:
                created = await peer.ask(message, request, links.CallCreated, self._reply_seconds)
            except RouterError as error:
                refusal = error  # it may have filled up since its last report: perhaps another has room
                continue
            self._remember(created.call_id, context)
            return Created(created.call_id, build_answer(negotiation, self._identity(created)))
        raise refusal

    def _roomiest(self, tried: set[int]) -> TransceiverPeer | None:
        """The transceiver with most room that was not asked yet."""
        now = time.monotonic_ns()
        usable = [peer for peer in self._peers.values() if peer.usable(now) and peer.index not in tried]
        if not self._relay.attached or not self._candidates:
            return None
        return max(usable, key=lambda peer: (peer.load.slots_free, -peer.index), default=None)

    async def hangup(self, call_id: str) -> bool:
        """End a call."""
        peer = self._peer_of(call_id)
        if peer is None:
            return False
        request = next(self._requests)
        return (await peer.ask(links.Hangup(request, call_id), request, links.HangupDone, self._reply_seconds)).found

    async def snapshot(self, call_id: str) -> CallSnapshot | None:
        """What is known of a call."""
        peer = self._peer_of(call_id)
        if peer is None:
            return None
        request = next(self._requests)
        message = links.Snapshot(request, call_id)
        reply = await peer.ask(message, request, links.SnapshotReply, self._reply_seconds)
        return None if reply.snapshot is None else self._complete(reply.snapshot)

    async def sessions(self) -> list[CallSnapshot]:
        """All live calls."""
        found: list[CallSnapshot] = []
        for peer in list(self._peers.values()):
            first = 0
            while first >= 0:
                request = next(self._requests)
                message = links.ListSessions(request, first)
                page = await peer.ask(message, request, links.SessionList, self._reply_seconds)
                found += [self._complete(snapshot) for snapshot in page.sessions]
                first = page.next_slot
        return found

    async def ready(self) -> Readiness:
        """Whether a call made now could succeed."""
        reasons = []
        now = time.monotonic_ns()
        if not self._relay.attached:
            reasons.append("relayd is not attached")
        if self._relay.attached and not self._candidates:
            reasons.append("this machine has no address to answer with: set [transceiver] advertise")
        if not any(peer.usable(now) for peer in self._peers.values()):
            reasons.append("no transceiver accepts calls" if self._peers else "no transceiver runs")
        return Readiness(not reasons, tuple(reasons))

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

    def _remember(self, call_id: str, context: CallContext) -> None:
        self._contexts[call_id] = context._replace(session=b"")  # up to 100 kB each, and nobody reads it yet
        if len(self._contexts) > OFFERS_KEPT:
            self._contexts.popitem(last=False)

    def _complete(self, snapshot: dict[str, object]) -> CallSnapshot:
        """A transceiver's words, with what only signalling knows."""
        context = self._contexts.get(str(snapshot["call_id"]))
        known = {
            **snapshot,
            "dialect": context.dialect if context else "realtime",
            "client_address": context.client_address if context else "",
            "answered_addresses": [candidate.address for candidate in self._candidates],
            "answered_port": self._relay.port,
        }
        return msgspec.convert(known, CallSnapshot)

    def _call_ended(self, snapshot: dict[str, object]) -> None:
        """One line for each call that ended; for one that failed, why."""
        known = self._complete(snapshot)
        reason = known.closed_reason or "unknown"
        self.ended[reason] = self.ended.get(reason, 0) + 1
        diagnosis = diagnose(known)
        if diagnosis.failed:
            log.warning("%s (%s)", diagnosis_line(diagnosis), reason)
        else:
            log.info("%s ended after %.1f s: %s", callid.short(known.call_id), known.age_ms / 1000, reason)
