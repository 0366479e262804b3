"""The signalling process's place, as the supervisor sees it. What runs in the process is signalling_process.py.

The listening sockets are the supervisor's and outlive any process: what comes while none runs waits in their queues.
"""

import socket
import time
from collections.abc import Callable

from shm.daemon.cpu_use import cpu_use
from shm.daemon.post import Post
from shm.daemon.restarts import RestartBackoff
from transceiverd import links
from transceiverd.link import socket_pair
from transceiverd.listening import Doors
from transceiverd.signalling_process import SignallingBirth, run_signalling
from transceiverd.transceivers import LOOKS_PER_STALL, RESTART_BURST, RESTART_WINDOW_NS, House


class SignallingPost(Post[links.Message]):
    """Its place."""

    def __init__(
        self,
        house: House,
        doors: Doors,
        on_started: Callable[[], None],
        on_ended: Callable[[], None],
        on_message: Callable[[links.AnyMessage], None],
    ) -> None:
        """`on_message` is told what it says beside `Alive`."""
        self._house = house
        self._doors = doors
        self.beats = 0
        self.beside = False
        """Whether one of an older release serves, until the next one that starts here does."""
        self._watch = house.new_watch()
        self._say = on_message
        super().__init__(
            "signalling",
            house.loop,
            self._be_signalling,
            links.encode,
            RestartBackoff(RESTART_BURST, RESTART_WINDOW_NS),
            pair=socket_pair,
            before_start=self.new_watch,
            on_started=on_started,
            on_ended=on_ended,
            on_message=self._said,
        )

    def look(self) -> None:
        """Kill it when its loop stands still; now and from now on."""
        stuck = self._watch.observe(self.beats, lambda: True, time.monotonic_ns(), lambda: cpu_use(self.pid or 0))
        if self.process is not None and stuck:
            self.kill_stuck(self._house.stuck)
        self._house.loop.call_after(self._house.stuck_ns // LOOKS_PER_STALL, self.look)

    def new_watch(self) -> None:
        """Begin anew: for a new process, and after a reload that may have changed the time."""
        self._watch = self._house.new_watch()

    def _be_signalling(self, control: socket.socket) -> None:
        house = self._house
        born_with = (house.supervisor, house.machine, house.settings, self._doors, house.lock_fd, self.beside)
        run_signalling(SignallingBirth(*born_with), control)

    def _said(self, data: bytes) -> None:
        message = links.decode(data)
        if isinstance(message, links.Alive):  # from its loop
            self.beats += 1
        else:
            self._say(message)
