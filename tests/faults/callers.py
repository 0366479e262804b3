"""Live calls beside a drill: the load generator's fleet on a thread of its own, so that the drill may block.

Used by `field.py`. Packets carry numbers and arrivals are stamped by the kernel, so that what was lost is exact, and
how busy this process is does not blur when something came back.
"""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.daemons import wait_for
from transceiverd.load.fleet import TAIL_SECONDS, Fleet, Placement
from transceiverd.load.plan import Plan

T = TypeVar("T")
PLACES = 200  # calls at once, at most
STEP_SECONDS = 60.0


class Callers:
    """A fleet; every method may be called from the drill's thread."""

    def __init__(self, url: str, *, patience_seconds: float = 10.0, allow_remote: bool = False) -> None:
        # Checks as often as a browser's; a busy machine may take its time to set a call up.
        self._plan = Plan(url=url, calls=PLACES, patience_seconds=patience_seconds, allow_remote=allow_remote)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="callers", daemon=True)

    def __enter__(self) -> "Callers":
        self._thread.start()
        self.fleet = self._do(self._made())
        self._do(self.fleet.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._hang_up_all())
        self._do(self.fleet.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STEP_SECONDS)

    async def _made(self) -> Fleet:
        return Fleet(self._plan)

    async def _hang_up_all(self) -> None:
        self.fleet.hang_up_all()

    def dial(self, count: int, *, rate: float = 100.0) -> list[Placement]:
        """Talking calls, each of which has heard itself."""
        calls = self._do(self.fleet.dial(count, rate))
        assert len(calls) == count, self.fleet.tally.summary()
        wait_for(lambda: all(self.received(call) >= 10 for call in calls), "every call hears itself", 20)
        return calls

    def try_dial(self, seconds: float) -> float | None:
        """One call more, which hangs up at once: seconds until it was established; None when it failed."""
        before = time.monotonic()
        try:
            calls = self._do(asyncio.wait_for(self.fleet.dial(1, 1000.0), seconds))
        except TimeoutError:
            return None
        for call in calls:
            self.hang_up(call)
        return time.monotonic() - before if calls else None

    def received(self, call: Placement) -> int:
        """Packets that came back to it."""
        return self.fleet.packets.caller(call.place)["received"]

    def alive(self, call: Placement) -> bool:
        """Whether neither side has ended it."""
        return self.fleet.calls.get(call.place) is call

    def hush(self, calls: list[Placement]) -> None:
        """They fall silent, and what is on its way may still come."""

        async def silence() -> None:
            for call in calls:
                if self.alive(call):
                    self.fleet.packets.talk(call.place, False)
            await asyncio.sleep(TAIL_SECONDS)

        self._do(silence())

    def hang_up(self, call: Placement) -> None:
        """Its end."""

        async def end() -> None:
            if self.alive(call):
                self.fleet.hang_up(call)

        self._do(end())
