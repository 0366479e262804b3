"""What transceiverd's supervisor leaves to itself when it replaces its own code (shm/daemon/handover.py), and takes.

Made and read by supervisor.py. Numbers of descriptors, and what only the old code's memory knew. Another release may
read it: fields are only added, each with a default, and mean the same for ever.
"""

import msgspec

from shm.daemon.post import LeftProcess


class LeftPlace(msgspec.Struct):
    """One transceiver's place."""

    index: int
    sessions: int
    control_counters: int
    media_counters: int
    control_fd: int
    media_fd: int
    incarnation: int
    lanes: dict[int, list[int]] = {}
    """By relay worker, as `Lane.fds` has them."""
    deadline_ns: int = 0
    """CLOCK_MONOTONIC at which its last calls are ended; 0: it was serving."""
    process: LeftProcess | None = None

    def descriptors(self) -> list[int]:
        """All of them."""
        own = [self.sessions, self.control_counters, self.media_counters, self.control_fd, self.media_fd]
        lanes = [fd for lane in self.lanes.values() for fd in lane]
        return [*own, *lanes, *(self.process.descriptors if self.process is not None else ())]


class LeftDoor(msgspec.Struct):
    """One socket that HTTP is listened on with."""

    fd: int
    host: str
    port: int


class LeftRelay(msgspec.Struct):
    """The conversation with relayd, and what it said in its Welcome."""

    socket: int
    workers: int
    port: int
    bind4: str
    bind6: str
    layout: int = 1
    """Major, that lanes are made in."""


class Legacy(msgspec.Struct):
    """Everything."""

    lock: int
    upgrades: int
    deadline_seconds: float
    """How long those that served until now may go on with the calls they have."""
    places: list[LeftPlace]
    doors: dict[str, LeftDoor]
    signalling: LeftProcess | None = None
    relay: LeftRelay | None = None

    def descriptors(self) -> list[int]:
        """All of them."""
        found = [self.lock]
        for place in self.places:
            found += place.descriptors()
        found += [door.fd for door in self.doors.values()]
        if self.signalling is not None:
            found += self.signalling.descriptors
        if self.relay is not None:
            found.append(self.relay.socket)
        return found
