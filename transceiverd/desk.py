"""A transceiver's desk towards the signalling process: opens and ends calls, answers questions about them.

Lives in the transceiver process, on its control thread; `transceiverd/router.py` is the other end.
"""

import itertools
import logging
import socket
import time
from typing import TYPE_CHECKING

import msgspec

from transceiverd import links
from transceiverd.call import Caller, TooManyCalls, TooManyHandshakes
from transceiverd.calls import HALF_OPEN
from transceiverd.link import Link
from transceiverd.sdp.negotiation import decode_negotiation
from transceiverd.snapshot import describe

if TYPE_CHECKING:
    from transceiverd.transceiver import Transceiver

log = logging.getLogger("calls")

# Two are right during an upgrade; a third means that one of them broke and was not noticed yet.
LINKS_MAX = 2
SESSIONS_A_PAGE = 64  # of about 1.5 kB each: a page stays well below a message's size


class Desk:
    """Serves the signalling process; while a new one takes over from it, both."""

    def __init__(self, transceiver: "Transceiver") -> None:
        self._transceiver = transceiver
        self._links: list[Link] = []

    def use(self, end: socket.socket) -> None:
        """Talk to this signalling process from now on."""
        link = Link(
            end, lambda message, _descriptors: self._on_message(link, message), lambda: self._links.remove(link)
        )
        self._links.append(link)
        while len(self._links) > LINKS_MAX:
            self._links.pop(0).close()
        self.tell_load()

    def tell_load(self) -> None:
        """How full we are; also the sign that the control thread turns. Without a link, ask for one again: signalling
        died, and a successor comes; or only the link broke. Not at once when that is seen: where descriptors ran out a
        new link would break as soon, and again.
        """
        transceiver = self._transceiver
        if not self._links:
            transceiver.supervisor.send(links.NeedSignalling())
            return
        calls = len(transceiver.calls)
        slots = transceiver.birth.settings.transceiver.slots
        accepting = transceiver.attached and not transceiver.leaving
        self._say(links.Load(calls, slots - calls, accepting))

    def tell_ended(self, snapshot: dict[str, object]) -> None:
        """A call has ended; signalling knows where its offer came from and can say why."""
        self._say(links.CallEnded(snapshot))

    def _say(self, message: links.Message) -> None:
        for link in list(self._links):
            link.send(message)

    def _on_message(self, link: Link, message: links.AnyMessage) -> None:
        """Answered to whoever asked."""
        match message:
            case links.CreateCall():
                link.send(self._create(message))
            case links.Hangup(request, call_id, reason, owner):
                link.send(links.HangupDone(request, self._hangup(call_id, reason, owner)))
            case links.Snapshot(request, call_id):
                link.send(links.SnapshotReply(request, self._snapshot(call_id)))
            case links.ListSessions(request, first_slot, told):
                link.send(self._list(request, first_slot, told))

    def _create(self, message: links.CreateCall) -> links.Message:
        transceiver = self._transceiver
        if not transceiver.attached:
            return links.CallRefused(message.request, "not_ready", "the relay is not attached", retry_after=1)
        if transceiver.leaving:
            return links.CallRefused(message.request, "leaving", "this transceiver takes no new calls", retry_after=1)
        try:
            negotiation = decode_negotiation(message.negotiation)
            caller = Caller(message.owner, message.address, message.dialect)
            created = transceiver.calls.create(negotiation, time.monotonic_ns(), caller)
        except TooManyHandshakes:
            return links.CallRefused(message.request, HALF_OPEN, "too many calls are not yet connected", retry_after=2)
        except TooManyCalls:
            return links.CallRefused(message.request, "too_many_calls", "every slot is in use", retry_after=5)
        except Exception as error:
            log.exception("a call could not be made")
            return links.CallRefused(message.request, "internal", type(error).__name__, retry_after=1)
        fingerprint = transceiver.fingerprint
        self._finish()
        return links.CallCreated(
            message.request,
            created.call_id,
            created.ufrag,
            created.password,
            fingerprint,
            created.ssrc,
            created.cname,
            created.sctp_init,
        )

    def _hangup(self, call_id: str, reason: str, owner: str | None) -> bool:
        call = self._transceiver.calls.find(call_id)
        if call is None or call.closing or (owner is not None and owner != call.caller.owner):
            return False
        self._transceiver.calls.close(call, reason, time.monotonic_ns())
        self._finish()
        return True

    def _snapshot(self, call_id: str) -> dict[str, object] | None:
        calls = self._transceiver.calls
        call = calls.find(call_id)
        return describe(call, time.monotonic_ns()) if call is not None else calls.ended.get(call_id)

    def _list(self, request: int, first_slot: int, told: dict[str, object] | None) -> links.SessionList:
        now = time.monotonic_ns()
        calls = self._transceiver.calls
        found = calls.of_slots(range(first_slot, max(calls.slots(), default=-1) + 1))
        rows = [describe(call, now) for call in itertools.islice(found, SESSIONS_A_PAGE)]
        following = next(found, None)
        text = rows if told is None else msgspec.json.encode([row | told for row in rows])
        return links.SessionList(request, text, -1 if following is None else following.owner.slot)

    def _finish(self) -> None:
        self._transceiver.finish()
