"""relayd as transceiverd's supervisor sees it: what it said of itself, and the lanes and counters that it is offered.

The conversation itself is relay_attachment.py's. Whenever it begins anew everything is offered again (DESIGN 2.7), and
the transceivers and signalling are told how things stand. Made by supervisor.py, runs in its loop.
"""

import logging
import socket
from collections.abc import Sequence
from pathlib import Path

from shm import attach
from shm.daemon.post import Post
from transceiverd import links
from transceiverd.holding import Holding
from transceiverd.legacy import LeftRelay
from transceiverd.relay_attachment import Offer, RelayAttachment
from transceiverd.transceivers import House, Place, Places

log = logging.getLogger("supervisor")


class Relay:
    """One, for the daemon's whole life; relayd comes and goes."""

    def __init__(self, house: House, directory: Path, places: Places, signalling: Post[links.Message]) -> None:
        """`directory` is where its control socket is."""
        self._house = house
        self._places = places
        self._signalling = signalling
        self._workers, self._layout = 0, 0  # as its last Welcome said
        self.state = links.RelayState(attached=False)
        """As signalling is told."""
        self.attachment = RelayAttachment(
            house.loop,
            directory,
            self._welcomed,
            self._attached,
            self._detached,
            self._worker_replaced,
            self._not_attached,
        )

    @property
    def attached(self) -> bool:
        """Whether it has everything that was offered."""
        return self.attachment.attached

    def left(self) -> LeftRelay | None:
        """For our own new code."""
        if not self.attached:
            return None
        state = self.state
        return LeftRelay(
            self.attachment.fileno(), self._workers, state.port, state.bind4, state.bind6, self._layout
        )  # fmt: skip

    def adopt(self, left: LeftRelay | None, older: Sequence[Place]) -> None:
        """Go on with the conversation that our old code had; it had offered the `older` places."""
        if left is not None:
            self._workers, self._layout = left.workers, left.layout
            self.state = links.RelayState(True, left.port, left.bind4, left.bind6)
            self.attachment.adopt(socket.socket(fileno=left.socket))
        for place in older:
            place.offered = self.attached

    def offer_new(self) -> None:
        """The lanes of transceivers that it has not been offered."""
        if self.attached:
            for place in self._places:
                if not place.offered:
                    for offer in self._lanes_of(place, self._workers):
                        self.attachment.tell(*offer)
            self.attachment.tell(attach.Ready(len(self._places.serving)))

    def settled(self, older: Sequence[Place]) -> bool:
        """Whether it has taken them, and all but the `older` ones take calls."""
        if not self.attachment.quiet:
            return False
        for place in self._places:
            if self.attached and not place.offered:
                place.offered = True
                place.post.send(links.RelayAttached())
        return not self.attached or all(place.taking for place in self._places if place not in older)

    def _welcomed(self, welcome: attach.Welcome) -> list[Offer]:
        """It speaks: make the lanes that are missing, give them to the transceivers, offer everything."""
        machine = self._house.machine
        if welcome.machine != machine:
            log.error("relayd is machine %d, we are %d: set [ringline] machine alike", welcome.machine, machine)
        self._workers, self._layout = welcome.workers, welcome.layout
        self.state = links.RelayState(True, welcome.port, welcome.bind4, welcome.bind6)
        offers: list[Offer] = []
        for place in self._places:
            offers += self._lanes_of(place, welcome.workers)
        keys = self._house.keys()
        offers.append((attach.ConfirmKey(keys.current, keys.fingerprint(keys.current)), ()))
        offers.append((attach.Ready(len(self._places.serving)), ()))
        return offers

    def _lanes_of(self, place: Place, workers: int) -> list[Offer]:
        holding = place.holding
        holding.mend()
        for worker in holding.drop_lanes(workers):
            place.post.send(links.DropLane(worker))
        for worker in holding.add_lanes(workers, self._house.settings.transceiver, self._layout):
            place.post.send(links.UseLane(worker), holding.lanes[worker].fds)
        return self._offers_of(holding)

    @staticmethod
    def _offers_of(holding: Holding) -> list[Offer]:
        index, incarnation = holding.index, holding.incarnation
        lanes: list[Offer] = [
            (attach.OfferLane(index, worker, incarnation), lane.fds) for lane, worker in holding.lanes_of()
        ]
        counters: list[Offer] = [
            (attach.OfferCounters(f"transceiver {index} control", index), [holding.control_counters.fd]),
            (attach.OfferCounters(f"transceiver {index} media", index), [holding.media_counters.fd]),
        ]
        return lanes + counters

    def _attached(self) -> None:
        for place in self._places:
            place.offered = True
            place.post.send(links.RelayAttached())
        self._signalling.send(self.state)

    def _detached(self) -> None:
        self.state = links.RelayState(attached=False)
        for place in self._places:
            place.offered = False
            place.post.send(links.RelayDetached())
        self._signalling.send(self.state)

    def _not_attached(self, why: str) -> None:
        """For who asks /readyz."""
        self.state = links.RelayState(attached=False, problem=why)
        self._signalling.send(self.state)

    def _worker_replaced(self, worker: int) -> None:
        """It goes on with the same rings; a doorbell that its predecessor swallowed is made good by its own start."""
        log.info("relay worker %d was replaced", worker)
