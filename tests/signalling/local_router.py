"""A CallRouter in the test's own process: calls are entries of a dict, and every failure can be ordered."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from tests.sdp.offers import identity
from transceiverd import callid
from transceiverd.sdp.answer import build_answer
from transceiverd.sdp.negotiation import Negotiation
from transceiverd.signalling.router import (
    CallContext,
    CallSnapshot,
    Created,
    Metric,
    Readiness,
    Sample,
    Unavailable,
)


class LocalRouter:
    """What the tests see of the calls is in the public attributes."""

    def __init__(self) -> None:
        self.calls: dict[str, CallSnapshot] = {}
        self.contexts: list[CallContext] = []
        self.negotiations: list[Negotiation] = []
        self.failure: Exception | None = None
        """Raised by every method while set."""
        self.fails_after = 0
        """Pages of sessions until one is missing; 0: none is."""
        self.silent = False
        """Never answers while set."""
        self.readiness = Readiness(True)
        self.asked = asyncio.Event()
        """Set by the first question."""

    async def create(self, negotiation: Negotiation, context: CallContext) -> Created:
        await self._obey()
        call_id = callid.mint(0, 1)
        self.contexts.append(context)
        self.negotiations.append(negotiation)
        self.calls[call_id] = CallSnapshot(
            call_id=call_id, state="new", age_ms=0.0, dialect=context.dialect, owner=context.owner
        )
        return Created(call_id, build_answer(negotiation, identity()))

    async def hangup(self, call_id: str, owner: str | None) -> bool:
        await self._obey()
        if owner is not None and call_id in self.calls and self.calls[call_id].owner != owner:
            return False
        return self.calls.pop(call_id, None) is not None

    async def snapshot(self, call_id: str) -> CallSnapshot | None:
        await self._obey()
        return self.calls.get(call_id)

    async def sessions(self) -> AsyncIterator[bytes]:
        await self._obey()
        for call in self.calls.values():
            yield msgspec.json.encode([call])
            self.fails_after -= 1
            if self.fails_after == 0:
                raise Unavailable("no_reply", "nobody answers")

    async def ready(self) -> Readiness:
        await self._obey()
        return self.readiness

    async def metrics(self) -> list[Metric]:
        await self._obey()
        samples = [Sample({"worker": "0", "outcome": "stun"}, 5.0), Sample({"worker": "1", "outcome": 'a"\n'}, 7.0)]
        return [
            Metric("ringline_relay_packets", "counter", "Packets by outcome.", samples),
            Metric("ringline_calls", "gauge", "Live calls.", [Sample({}, float(len(self.calls)))]),
        ]

    async def _obey(self) -> None:
        self.asked.set()
        if self.silent:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
