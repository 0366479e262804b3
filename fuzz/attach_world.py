"""relayd's control side without worker processes: what the attach machine's rules are played on.

`Place` is a worker's post: it takes what the supervisor sends its process, in this one, with the product's Worker; it
dies, and is born again with what its Holding has then, as a fork would be. `Peer` is who speaks at the control socket.
"""

import os
import socket
from collections.abc import Sequence
from typing import Any

from relayd.child_messages import AttachLane, DetachLane
from relayd.holding import Holding
from relayd.key_confirmation import KeyConfirmation
from relayd.worker import Worker
from shm.lane import CONTROL_OUT, Lane
from tests.relayd.rig import MACHINE, TransceiverEnd


def descriptors() -> int:
    """Open ones of this process."""
    return len(os.listdir("/proc/self/fd")) - 1  # the listing's own


class Place:
    """A worker's post and, while it lives, its process."""

    def __init__(self, holding: Holding, keys: KeyConfirmation) -> None:
        self.holding = holding
        self.keys = keys
        self.worker: Worker | None = None
        self.lanes: dict[int, Lane] = {}

    def send(self, message: Any, fds: Sequence[int] = ()) -> None:
        """As relayd/child.py takes it."""
        if self.worker is None:
            return  # a process that is not there is born with what the holding has
        if isinstance(message, AttachLane):
            self._serve(message.transceiver, fds)
        elif isinstance(message, DetachLane):
            self.worker.detach(message.transceiver)
            self.lanes.pop(message.transceiver).close()

    def born(self) -> None:
        """A fork inherits the holding's descriptors."""
        holding = self.holding
        self.worker = Worker(
            holding.index, holding.sockets.fds, holding.flows.segment, holding.counters.segment, self.keys.keys,
            machine=MACHINE,
        )  # fmt: skip
        for transceiver, lane in holding.lanes.items():
            self._serve(transceiver, lane.fds)
        self.turn()  # takes over from its predecessor

    def die(self) -> None:
        """The kernel closes what it had."""
        self.worker = None
        for lane in self.lanes.values():
            lane.close()
        self.lanes.clear()

    def turn(self) -> None:
        """The packet loop until it has taken what waits."""
        if self.worker is None:
            return
        near, far = os.pipe()
        os.write(far, b"x")
        for _ in range(100):
            self.worker.run(near)
            if not any(lane.waiting(CONTROL_OUT) for lane in self.lanes.values()):
                break
        else:
            raise AssertionError("records wait for ever")
        os.close(near)
        os.close(far)

    def _serve(self, transceiver: int, fds: Sequence[int]) -> None:
        lane = Lane.attach([os.dup(fd) for fd in fds])
        assert self.worker is not None
        self.worker.attach_lane(lane)
        replaced = self.lanes.pop(transceiver, None)
        self.lanes[transceiver] = lane
        if replaced is not None:
            replaced.close()


class Peer:
    """Who speaks at the control socket. `ends`: the lanes it has made, by transceiver and worker."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.ends: dict[tuple[int, int], TransceiverEnd] = {}

    def close(self) -> None:
        """As the process's end would."""
        self.sock.close()
        for end in self.ends.values():
            end.lane.close()
        self.ends.clear()


class Posts:
    """What Attachments knows of children.py."""

    def __init__(self, posts: list[Place]) -> None:
        self.posts = posts
