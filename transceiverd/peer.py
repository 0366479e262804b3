"""One transceiver, as signalling sees it: its load, and the questions it has not answered yet.

Made by the router (`router.py`) when the supervisor tells of a transceiver, and closed by it when that one has ended.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from shm.counters import Counters
from transceiverd import links
from transceiverd.link import Link
from transceiverd.signalling.router import LimitReached, Unavailable

log = logging.getLogger("calls")

# A transceiver reports every 200 ms; one that missed several is stuck or starved (the issue: no new calls within 2 s).
LOAD_FRESH_NS = 1_000_000_000
ABANDONED = "abandoned"  # reason of the end of a call whose answer came too late for whoever asked

Reply = TypeVar("Reply", bound=links.Message)


class TransceiverPeer:
    """One transceiver, as signalling sees it."""

    def __init__(
        self,
        index: int,
        end: socket.socket,
        counters: dict[str, Counters],
        on_ended: Callable[[dict[str, object]], None],
    ) -> None:
        self.index = index
        self.counters = counters
        self.load = links.Load(0, 0, accepting=False)
        self._loaded_ns = 0
        self._waiting: dict[int, tuple[asyncio.Future[links.Message], Callable[[links.Message], None]]] = {}
        self._on_ended = on_ended
        self._link = Link(end, self._on_message, self._lost)

    def usable(self, now: int) -> bool:
        """Whether a call made now would be served."""
        return self.load.accepting and self.load.slots_free > 0 and now - self._loaded_ns < LOAD_FRESH_NS

    async def ask(
        self,
        message: links.Message,
        request: int,
        kind: type[Reply],
        seconds: float,
        on_reply: Callable[[links.Message], None] = lambda _reply: None,
    ) -> Reply:
        """Send a request and wait for its reply. Raises Unavailable.

        `on_reply` is called as soon as the reply is read: before any later message of this transceiver.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[links.Message] = loop.create_future()
        self._waiting[request] = future, on_reply
        self._link.send(message)
        timer = loop.call_later(seconds, self._give_up, future)
        try:
            reply = await future
        finally:
            timer.cancel()
            self._waiting.pop(request, None)
        if isinstance(reply, links.CallRefused):
            raise _refusal(reply)
        assert isinstance(reply, kind)
        return reply

    def _give_up(self, future: asyncio.Future[links.Message]) -> None:
        if not future.done():
            future.set_exception(Unavailable("transceiver_timeout", f"transceiver {self.index} did not reply in time"))

    def close(self) -> None:
        """The process has ended: whoever waits for it hears so."""
        self._link.close()
        for future, _ in self._waiting.values():
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
                self._replied(request, message)

    def _replied(self, request: int, message: links.Message) -> None:
        future, on_reply = self._waiting.get(request, (None, None))
        if future is None or on_reply is None or future.done():
            if isinstance(message, links.CallCreated):
                self._link.send(links.Hangup(0, message.call_id, ABANDONED))
            return
        on_reply(message)
        future.set_result(message)

    def _lost(self) -> None:
        log.warning("the link to transceiver %d broke", self.index)
        self.load = links.Load(0, 0, accepting=False)


def _refusal(refused: links.CallRefused) -> Unavailable | LimitReached:
    kind = LimitReached if refused.code.startswith("too_many_") else Unavailable
    return kind(refused.code, refused.message, refused.retry_after or 1)
