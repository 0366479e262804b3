"""How a new code of the supervisor takes over from the old one's processes, with no request refused and no call ended.

    new transceivers start under free numbers, relayd takes their lanes; a new signalling process starts
       ▼   relayd has the lanes: they take calls           ▼   it knows them, and serves on the same sockets
    the old signalling process answers what it has in work, and ends
       ▼
    the old transceivers take no new call; each ends with its last one, or at the deadline

Run in the supervisor's loop by supervisor.py; without an old code there is nothing to do.
"""

import logging
import time
from collections.abc import Callable, Sequence

from shm.daemon.post import Post
from shm.daemon.restarts import RestartBackoff
from transceiverd import links
from transceiverd.legacy import Legacy
from transceiverd.link import socket_pair
from transceiverd.signalling.server import SHUTDOWN_SECONDS
from transceiverd.signalling_post import SignallingPost
from transceiverd.transceivers import RESTART_BURST, RESTART_WINDOW_NS, SECOND_NS, House, Place

log = logging.getLogger("supervisor")

LOOK_NS = 5_000_000
# A new signalling process that does not serve by then may never: the old transceivers leave all the same.
PATIENCE_NS = 20_000_000_000
SIGNALLING_PATIENCE_NS = int((SHUTDOWN_SECONDS + 0.5) * SECOND_NS)  # for the old one's last answers; then it is killed


class Takeover:
    """At most one in a code's life, at its beginning."""

    def __init__(
        self,
        house: House,
        signalling: SignallingPost,
        settled: Callable[[Sequence[Place]], bool],
        offer: Callable[[], None],
    ) -> None:
        """`offer` begins to give relayd the new lanes, `settled`, given the older places, whether it has them
        and the others take calls."""
        self._house = house
        self._signalling = signalling
        self._is_settled = settled
        self._offer = offer
        self._older: Sequence[Place] = ()
        self._deadline_seconds = 0.0
        self._old_signalling: Post[links.Message] | None = None
        self._serving = False
        self._began_ns = 0
        self.quiet = True
        """Whether there is nothing to take over, or nothing any more."""

    def plan(self, older: Sequence[Place], legacy: Legacy) -> None:
        """What the old code left."""
        self.quiet = False
        self._older = older
        self._deadline_seconds = legacy.deadline_seconds
        if legacy.signalling is not None:
            self._signalling.beside = True
            self._old_signalling = Post(
                "signalling of the older release",
                self._house.loop,
                lambda _control: None,
                links.encode,
                RestartBackoff(RESTART_BURST, RESTART_WINDOW_NS),
                pair=socket_pair,
                on_left=self._let_transceivers_leave,
            )
            self._old_signalling.adopt(legacy.signalling, last=True)

    def begin(self) -> None:
        """When the new processes have been started."""
        if not self.quiet:
            self._began_ns = time.monotonic_ns()
            self._offer()
            self._look()

    def serving(self) -> None:
        """The new signalling process serves."""
        self._serving = True
        self._signalling.beside = False

    def _look(self) -> None:
        late = time.monotonic_ns() > self._began_ns + PATIENCE_NS
        if not late and not (self._is_settled(self._older) and self._serving):
            self._house.loop.call_after(LOOK_NS, self._look)
            return
        old = self._old_signalling
        if old is None or old.process is None:
            self._let_transceivers_leave()
            return
        old.retire(links.Stop("upgrade"))
        self._house.loop.call_after(SIGNALLING_PATIENCE_NS, old.kill)

    def _let_transceivers_leave(self) -> None:
        """Those that were leaving already keep their deadline."""
        if self.quiet:
            return
        self.quiet = True
        now = time.monotonic_ns()
        deadline_ns = now + int(self._deadline_seconds * SECOND_NS)
        for place in self._older:
            place.leave_until(place.deadline_ns or deadline_ns)
        calls = sum(place.calls for place in self._older)
        log.info("the new release serves after %d ms; %d calls of the older one go on for %g s at most",
                 (now - self._began_ns) // 1_000_000, calls, self._deadline_seconds)  # fmt: skip
