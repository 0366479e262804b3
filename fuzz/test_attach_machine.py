"""Any order of attach, offer, withdraw, publish, detach and death at relayd's control socket: at most one transceiverd
is attached, exactly its lanes are held and served, its flows are there from when it published them until it is gone,
no descriptor is left over, and nobody's mistake ends anything but its own conversation.

The control socket, its conversations, the offers, the segments, the flow tables and the workers' packet loop are the
product's; only a worker's process is not (attach_world.py).
"""

import gc
import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fuzz.attach_world import Peer, Place, Posts, descriptors
from fuzz.machine import machine_test, run_machine
from relayd.admission import Admission
from relayd.attachments import Attachments
from relayd.control import ControlServer
from relayd.holding import Holding
from relayd.key_confirmation import KeyConfirmation
from relayd.sockets import WorkerSockets
from relayd.worker import worker_counter_names
from shm import attach
from shm.daemon.loop import EventLoop
from shm.segment import SUPPORTED_MAJORS
from tests.peers import SERVER, flow
from tests.relayd.fake_transceiverd import make_lane
from tests.relayd.rig import MACHINE, PUBLISH, Call, TransceiverEnd

WORKERS, TRANSCEIVERS = 2, 3
CONNECTIONS_MAX = 4
KEYS = [flow(SERVER, (f"198.51.100.{place}", 50_000)) for place in range(4)]
FOREIGN = st.sampled_from([False, False, False, True])
PICK = st.integers(0, 1 << 16)
WORKER, TRANSCEIVER = st.integers(0, WORKERS - 1), st.integers(0, TRANSCEIVERS - 1)


class AttachMachine(RuleBasedStateMachine):
    """The model: `attached`, and of its offers `lanes` and `flows`."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.before = descriptors()
        path = Path(self.directory.name)
        self.loop = EventLoop()
        self.keys = KeyConfirmation(path)
        self.holdings = [
            Holding.make(index, None, WorkerSockets(self._udp(), None), counter_names=worker_counter_names(),
                         flow_entries=64) for index in range(WORKERS)
        ]  # fmt: skip
        self.places = [Place(holding, self.keys) for holding in self.holdings]
        for place in self.places:
            place.born()
        self.attachments = Attachments(self.holdings, Posts(self.places))  # type: ignore[arg-type]
        self.server = ControlServer(
            self.loop, path / "relayd.sock", "", Admission.of([], ""), CONNECTIONS_MAX, self.attachments, self.keys,
            lambda layout: attach.Welcome(layout, WORKERS, [0] * WORKERS, MACHINE, {}), dict,
        )  # fmt: skip
        self.peers: list[Peer] = []
        self.attached: Peer | None = None
        self.incarnation = 0
        self.counters: set[str] = set()
        self.flows: dict[tuple[int, bytes], int] = {}  # by worker and key: the transceiver that published it
        self.unseen = False  # a peer is gone and the loop has not turned since
        self.quiet = descriptors()

    @staticmethod
    def _udp() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        made.bind(("127.0.0.1", 0))
        return made

    def serve(self) -> None:
        """Turns of the supervisor's loop until nothing is left to do, then of the workers'."""
        self.unseen = False
        for _ in range(6):
            self.loop.turn(0)
        for place in self.places:
            place.turn()

    def ask(self, peer: Peer, message: attach.AnyMessage, fds: Sequence[int] = ()) -> attach.AnyMessage:
        """Say something, get the answer."""
        attach.send(peer.sock, message, fds)
        self.serve()
        return attach.receive(peer.sock)[0]

    # ------------------------------------------------------------------ attach and detach

    @initialize(transceivers=st.integers(0, TRANSCEIVERS))
    def first(self, transceivers: int) -> None:
        """Mostly one that is there: by chance alone few would offer anything."""
        self.arrives("transceiverd", False)
        for transceiver in range(transceivers):
            for worker in range(WORKERS):
                self.offers(transceiver, worker, "")

    @precondition(lambda self: len(self.peers) < CONNECTIONS_MAX)
    @rule(
        role=st.sampled_from(["transceiverd", "transceiverd", "operator"]),
        foreign=FOREIGN,
    )
    def arrives(self, role: str, foreign: bool) -> None:
        """Hello; `foreign`: of a layout that this release does not know."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.settimeout(10)
        sock.connect(str(Path(self.directory.name) / "relayd.sock"))
        peer = Peer(sock, len(self.peers))
        layouts = [max(SUPPORTED_MAJORS) + 1] if foreign else list(SUPPORTED_MAJORS)
        answer = self.ask(peer, attach.Hello(role, layouts, os.getpid()))  # type: ignore[arg-type]
        if foreign or (role == "transceiverd" and self.attached is not None):
            assert isinstance(answer, attach.Refused), answer
            assert self.is_let_go(peer)
            peer.close()
            return
        assert isinstance(answer, attach.Welcome), answer
        self.peers.append(peer)
        if role == "transceiverd":
            self.attached = peer

    @precondition(lambda self: self.peers)
    @rule(which=PICK, unseen=st.booleans())
    def dies(self, which: int, unseen: bool) -> None:
        """A peer's process ends; `unseen`: relayd's loop does not turn before the next thing happens."""
        self.gone(self.peers[which % len(self.peers)])
        self.unseen = unseen

    @rule(transceivers=st.integers(1, TRANSCEIVERS), keys=st.lists(st.sampled_from(KEYS), max_size=3))
    def attaches_again(self, transceivers: int, keys: list[bytes]) -> None:
        """Its supervisor was started anew: other lanes in other number, and all flows once more."""
        if self.attached is not None:
            self.gone(self.attached)
        if len(self.peers) < CONNECTIONS_MAX:
            self.first(transceivers)
            for number, key in enumerate(keys):
                self.publishes(number, key)

    @precondition(lambda self: self.peers)
    @rule(which=PICK, data=st.one_of(st.binary(max_size=40), st.just(b'{"type":"welcome"}')))
    def babbles(self, which: int, data: bytes) -> None:
        """Not a message, or not one that it may say: it alone is let go."""
        peer = self.peers[which % len(self.peers)]
        peer.sock.send(data or b"\0")
        self.serve()
        assert self.is_let_go(peer)
        self.gone(peer)

    def is_let_go(self, peer: Peer) -> bool:
        """Whether relayd has closed the conversation, having said what it had to."""
        try:
            while True:
                attach.receive(peer.sock)
        except (EOFError, ConnectionError):
            return True

    def gone(self, peer: Peer) -> None:
        """The model's side of it."""
        peer.close()
        self.peers.remove(peer)
        if peer is self.attached:
            self.attached = None
            self.counters.clear()
            self.flows.clear()

    # ------------------------------------------------------------------ what it offers

    @precondition(lambda self: self.attached)
    @rule(transceiver=TRANSCEIVER, worker=WORKER, fault=st.sampled_from(["", "", "", "header", "worker", "odd"]))
    def offers(self, transceiver: int, worker: int, fault: str) -> None:
        """A lane, new or in place of one; or something that is none."""
        peer = self.attached
        assert peer is not None
        self.incarnation += 1
        end = TransceiverEnd(make_lane(worker, self.incarnation, transceiver + (fault == "header")))
        fds = list(end.lane.fds)
        if fault == "odd":
            fds[0] = fds[1]
        said = WORKERS if fault == "worker" else worker
        answer = self.ask(peer, attach.OfferLane(transceiver, said, self.incarnation), fds)
        if fault:
            assert isinstance(answer, attach.Refused), (fault, answer)
            end.lane.close()
            return
        assert isinstance(answer, attach.Accepted), answer
        self.forget(transceiver, worker)
        peer.ends[transceiver, worker] = end

    @precondition(lambda self: self.attached)
    @rule(transceiver=TRANSCEIVER, count=st.sampled_from([0, 3, 5]))
    def offers_too_few(self, transceiver: int, count: int) -> None:
        """Or too many descriptors: a message that no peer of ours sends."""
        peer = self.attached
        assert peer is not None
        data = msgspec.json.encode(attach.OfferLane(transceiver, 0, 1))
        socket.send_fds(peer.sock, [data], [peer.sock.fileno()] * count)
        self.serve()
        assert self.is_let_go(peer)
        self.gone(peer)

    def forget(self, transceiver: int, worker: int) -> None:
        """A lane is no more, nor what was published through it."""
        peer = self.attached
        assert peer is not None
        end = peer.ends.pop((transceiver, worker), None)
        if end is not None:
            end.lane.close()
        self.flows = {at: owner for at, owner in self.flows.items() if (at[0], owner) != (worker, transceiver)}

    @precondition(lambda self: self.attached)
    @rule(owner=st.sampled_from(["control", "media"]), transceiver=TRANSCEIVER, right=st.booleans())
    def offers_counters(self, owner: str, transceiver: int, right: bool) -> None:
        """A thread's counters, or a descriptor of something else."""
        assert self.attached is not None
        name = f"{transceiver} {owner}"
        with self.keys.path.open() as other:
            fd = self.holdings[0].counters.segment.fd if right else other.fileno()
            answer = self.ask(self.attached, attach.OfferCounters(name, transceiver), [fd])
        assert isinstance(answer, attach.Accepted if right else attach.Refused), answer
        if right:
            self.counters.add(name)

    @precondition(lambda self: self.attached)
    @rule(transceiver=TRANSCEIVER)
    def withdraws(self, transceiver: int) -> None:
        """One transceiver will not come back."""
        assert self.attached is not None
        assert isinstance(self.ask(self.attached, attach.Withdraw(transceiver)), attach.Accepted)
        for worker in range(WORKERS):
            self.forget(transceiver, worker)
        self.counters = {name for name in self.counters if not name.startswith(f"{transceiver} ")}

    # ------------------------------------------------------------------ flows, and workers that die

    @precondition(lambda self: self.attached and self.attached.ends)
    @rule(which=PICK, key=st.sampled_from(KEYS))
    def publishes(self, which: int, key: bytes) -> None:
        """A worker that is not there finds the record when it is born."""
        assert self.attached is not None
        (transceiver, worker), end = sorted(self.attached.ends.items(), key=lambda item: item[0])[
            which % len(self.attached.ends)
        ]
        if self.flows.get((worker, key), transceiver) != transceiver:
            return  # whose flow it is then is the flow table's own story
        assert end.ask(PUBLISH, Call(transceiver, 1, 1), key)
        self.serve()
        self.flows[worker, key] = transceiver

    @rule(worker=WORKER)
    def worker_dies(self, worker: int) -> None:
        """In a quiet moment; tests/faults has the others."""
        self.places[worker].die()

    @precondition(lambda self: any(place.worker is None for place in self.places))
    @rule()
    def workers_are_born(self) -> None:
        """All that are missing."""
        for place in self.places:
            if place.worker is None:
                place.born()

    # ------------------------------------------------------------------ always

    @invariant()
    def model_is_right(self) -> None:
        if self.unseen:
            return
        self.serve()
        assert (self.server.transceiverd is None) == (self.attached is None)
        ends = {} if self.attached is None else self.attached.ends
        for place in self.places:
            index = place.holding.index
            wanted = {t: end.lane.incarnation for (t, w), end in ends.items() if w == index}
            held = {transceiver: lane.incarnation for transceiver, lane in place.holding.lanes.items()}
            assert held == wanted, "lanes held"
            if place.worker is not None:
                assert {t: lane.incarnation for t, lane in place.lanes.items()} == wanted, "lanes served"
                found = {
                    flow.key: flow.owner.transceiver
                    for flow in place.holding.flows.items()
                    if wanted.get(flow.owner.transceiver) == flow.owner.incarnation
                }
                assert found == {key: owner for (w, key), owner in self.flows.items() if w == index}, "flows"
        assert set(self.attachments.counters) == self.counters

    @invariant()
    def no_descriptor_is_left_over(self) -> None:
        if self.unseen:
            return
        workers = sum(place.worker is not None for place in self.places)
        lanes = sum(len(holding.lanes) for holding in self.holdings) + sum(len(place.lanes) for place in self.places)
        own = sum(len(peer.ends) for peer in self.peers)
        expected = 2 * len(self.peers) + 4 * (lanes + own) + len(self.counters) - self.of_worker * (WORKERS - workers)
        assert descriptors() == self.quiet + expected

    @property
    def of_worker(self) -> int:
        """Descriptors of a Worker by itself: its epoll."""
        return 1

    def teardown(self) -> None:
        for peer in list(self.peers):
            self.gone(peer)
        self.serve()
        self.server.close()
        self.loop.close()
        for place in self.places:
            place.die()
            assert not place.holding.lanes
            place.holding.close()
        self.directory.cleanup()
        assert descriptors() == self.before


@machine_test
def test_attach_any_order() -> None:
    """See above."""
    gc.collect()  # what other tests left would give its descriptors back in the middle of our count
    run_machine(AttachMachine, examples=60)
