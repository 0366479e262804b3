"""The fleet: places calls, keeps them alive, takes them down. The control thread of a load run, on an event loop.

Owned by `run.py` and by the system tests. Composes the HTTP client, the callers (sans-I/O) and the packet path, which
runs on a native thread beside; nothing here is done for an audio packet.
"""

import asyncio
import threading
import time
from ipaddress import ip_address
from types import TracebackType

from shm.flowkey import TRANSPORT_UDP, FlowKey
from transceiverd.dtls.context import DtlsContext
from transceiverd.engine import SECOND, Drops
from transceiverd.ice.controlling import ControllingConfig
from transceiverd.load.caller import Caller, State
from transceiverd.load.offer import Answer, Credentials, UnusableAnswer, build_offer, parse_answer
from transceiverd.load.packets import PacketPath
from transceiverd.load.plan import Plan
from transceiverd.load.signalling import CallRefused, Dialer
from transceiverd.load.tally import Tally
from transceiverd.media.srtp import SrtpContext
from transceiverd.sdp.offer import Fingerprint
from transceiverd.timers import Deadlines

TAIL_SECONDS = 0.5  # what is on its way when talking ends may still come
NOT_ESTABLISHED = "not established in time"


class Placement:
    """One call from its dialling to its end."""

    __slots__ = ("asked_at", "caller", "done", "location", "place", "talk")

    def __init__(self, place: int, caller: Caller, location: str, asked_at: int, talk: bool) -> None:
        self.place = place
        self.caller = caller
        self.location = location
        self.asked_at = asked_at
        self.talk = talk
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Established, or ended before it was."""


class Fleet:
    """All calls of a run. Use it as an asynchronous context: sockets and thread live as long as that."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.tally = Tally()
        self.drops = Drops()
        """What our own engines refused of what the server sent."""
        self.calls: dict[int, Placement] = {}
        self.packets = PacketPath(2 * plan.calls, payload_bytes=plan.payload_bytes)
        self.dialer = Dialer(plan.url, plan.token, plan.patience_seconds)
        interval_ms = round(plan.consent_seconds * 1000)
        self._ice = ControllingConfig(consent_interval_ms=interval_ms)
        self._context = DtlsContext()
        self._fingerprint = Fingerprint.of_digest(*self._context.fingerprint())
        self._deadlines = Deadlines()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self.packets.run, name="load-packets", daemon=True)
        self._wall_offset = time.time_ns() - time.monotonic_ns()

    async def __aenter__(self) -> "Fleet":
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.packets.event_fd, self._received)
        self._thread.start()
        await self.dialer.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.dialer.__aexit__(kind, error, trace)
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self.packets.event_fd)
        self.packets.stop()
        await asyncio.to_thread(self._thread.join)
        self.packets.close()

    # ------------------------------------------------------------------ what a run does

    async def dial(self, count: int, rate: float, *, talk: bool = True) -> list[Placement]:
        """Place `count` calls, `rate` a second whatever becomes of them; returns when each is established or failed."""
        start = self._loop.time()
        tasks = []
        for number in range(count):
            wait = start + number / rate - self._loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.create_task(self._place(talk)))
        placed = await asyncio.gather(*tasks)
        return [one for one in placed if one is not None]

    async def hush(self) -> None:
        """Everybody falls silent; returns when what is on its way had time to come."""
        for call in self.calls.values():
            self.packets.talk(call.place, False)
        await asyncio.sleep(TAIL_SECONDS)

    def hang_up(self, call: Placement) -> None:
        """close_notify, and the place is free."""
        call.caller.close(time.monotonic_ns())
        self._send(call)
        self._forget(call)

    def hang_up_all(self) -> None:
        """The end of every call."""
        for call in list(self.calls.values()):
            self.hang_up(call)
        self._rearm()

    @property
    def up(self) -> int:
        """Calls that are established now."""
        return sum(call.caller.state is State.ESTABLISHED for call in self.calls.values())

    def heard_at(self, call: Placement) -> int:
        """When the first audio came back, in the time of `asked_at`; 0: never."""
        at = self.packets.caller(call.place)["first_received"]
        return at - self._wall_offset if at else 0

    # ------------------------------------------------------------------ one call

    async def _place(self, talk: bool) -> Placement | None:
        """None: it failed, and the tally knows why."""
        asked_at = time.monotonic_ns()
        self.tally.asked += 1
        try:
            call = await self._answered(asked_at, talk)
        except (CallRefused, UnusableAnswer) as error:
            self.tally.failed[str(error)] += 1
            return None
        try:
            left = asked_at / SECOND + self.plan.patience_seconds - time.monotonic()
            await asyncio.wait_for(call.done, max(left, 0))
        except TimeoutError:
            self._fail(call, f"{NOT_ESTABLISHED}: {call.caller.state.value}")
        return call if call.place in self.calls else None

    async def _answered(self, asked_at: int, talk: bool) -> Placement:
        credentials = Credentials.fresh()
        placed = await self.dialer.place(build_offer(credentials, self._fingerprint))
        local_only, near = not self.plan.allow_remote, self.plan.is_loopback
        answer = parse_answer(placed.sdp, loopback_only=local_only, prefer_loopback=near)
        now = time.monotonic_ns()
        self.tally.answered += 1
        self.tally.book("answered", asked_at, now)
        return self._open(credentials, answer, placed.location, asked_at, talk, now)

    def _open(
        self, credentials: Credentials, answer: Answer, location: str, asked_at: int, talk: bool, now: int
    ) -> Placement:
        place = self.packets.add(answer.address, answer.port)
        ours, port = self.packets.local(place)
        path = FlowKey(TRANSPORT_UDP, ip_address(answer.address), answer.port, ip_address(ours), port)
        caller = Caller(credentials, answer, path, self._context, self._ice, self.drops, now)
        call = self.calls[place] = Placement(place, caller, location, asked_at, talk)
        self._settle(call)
        self._rearm()
        return call

    def _settle(self, call: Placement) -> None:
        """Drain a caller; act on what it has become."""
        self._send(call)
        caller = call.caller
        if caller.secured is not None:
            self._establish(call)
        if caller.state is State.ENDED:
            if call.done.done():
                self.tally.ended[caller.reason] += 1
                self._forget(call)
            else:
                self._fail(call, caller.reason)
            return
        timeout = caller.next_timeout()
        self._deadlines.set(call.place, None if timeout is None else timeout.deadline)

    def _send(self, call: Placement) -> None:
        while (data := call.caller.poll_datagram()) is not None:
            self.packets.send(call.place, data)

    def _establish(self, call: Placement) -> None:
        """Hand the keys over and begin to talk."""
        caller = call.caller
        keys = caller.secured
        assert keys is not None
        caller.secured = None
        outbound = SrtpContext(keys.srtp_profile, keys.local_key, keys.local_salt, caller.ssrc)
        inbound = SrtpContext(keys.srtp_profile, keys.remote_key, keys.remote_salt)
        self.packets.secure(call.place, outbound, inbound, caller.ssrc, caller.payload_type)
        self.packets.talk(call.place, call.talk)
        self.tally.established += 1
        self.tally.book("checked", call.asked_at, caller.checked_at)
        self.tally.book("established", call.asked_at, caller.secured_at)
        if not call.done.done():
            call.done.set_result(None)

    def _fail(self, call: Placement, reason: str) -> None:
        self.tally.failed[reason] += 1
        self._forget(call)

    def _forget(self, call: Placement) -> None:
        """The call is over for us."""
        if self.calls.pop(call.place, None) is None:
            return
        if call.caller.state is State.ENDED and call.talk:
            self._book_heard(call)
        self._deadlines.set(call.place, None)
        self.packets.remove(call.place)
        if not call.done.done():
            call.done.set_result(None)

    def _book_heard(self, call: Placement) -> None:
        if not call.caller.secured_at:
            return
        if at := self.heard_at(call):
            self.tally.book("heard", call.asked_at, at)
        else:
            self.tally.unheard += 1

    # ------------------------------------------------------------------ packets and time

    def _received(self) -> None:
        for place, data in self.packets.poll():
            call = self.calls.get(place)
            if call is not None:
                call.caller.receive_datagram(data, time.monotonic_ns())
                self._settle(call)
        self._rearm()

    def _expired(self) -> None:
        now = time.monotonic_ns()
        for place in self._deadlines.due(now):
            call = self.calls.get(place)  # type: ignore[call-overload]
            if call is not None:
                call.caller.handle_timeout(now)
                self._settle(call)
        self._rearm()

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self._deadlines.next()
        if deadline is not None:
            wait = max(0, deadline - time.monotonic_ns()) / SECOND
            self._timer = self._loop.call_later(wait, self._expired)
