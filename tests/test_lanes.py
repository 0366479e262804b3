"""The control thread's lanes: one stuck worker blocks nobody, and gets all it missed (DESIGN 2.3)."""

import struct
from collections.abc import Iterator

from shm.lane import CONTROL_OUT, Lane
from shm.ring import Record, RingConsumer
from tests.peers import flow
from transceiverd.engine import Datagram
from transceiverd.lanes import PUBLISH, PUBLISH_AND_SEND, WITHDRAW, ControlLanes, Owner

OWNER = Owner(0, 3, 7, 0x37, 1)
KEYS = [flow(("198.51.100.7", 50_000 + n)) for n in range(64)]


class _Worker:
    """The other end of one lane."""

    def __init__(self, lanes: ControlLanes, worker: int) -> None:
        self.lane = Lane.create(
            0, worker, handshake_in=4096, media_in=4096, control_out=4096, media_out=4096, incarnation=1
        )
        lanes.use(self.lane, worker)
        self._ring = RingConsumer(self.lane.segment, CONTROL_OUT)

    def take(self) -> list[tuple[int, bytes]]:
        """What a worker that reads would apply."""
        records: list[Record] = self._ring.read(1000)
        self._ring.release()
        return [(record.type, record.key) for record in records]


def _lanes(flows: dict[int, list[bytes]]) -> ControlLanes:
    def flows_of(slot: int) -> Iterator[tuple[Owner, bytes, int]]:
        return ((OWNER, key, 1) for key in flows.get(slot, []))

    return ControlLanes(flows_of)


def test_lanes_answer_publishes_by_its_worker_and_plainly_to_the_others() -> None:
    lanes = _lanes({})
    workers = [_Worker(lanes, n) for n in range(3)]
    lanes.send(OWNER, Datagram(b"answer", KEYS[0], publish=True), worker=1, address_state=1)
    lanes.publish(OWNER, KEYS[0], 1, but=1)
    lanes.flush()
    assert [worker.take() for worker in workers] == [
        [(PUBLISH, KEYS[0])],
        [(PUBLISH_AND_SEND, KEYS[0])],
        [(PUBLISH, KEYS[0])],
    ]


def test_lanes_stuck_worker_blocks_nobody_and_catches_up_from_the_present_state() -> None:
    flows: dict[int, list[bytes]] = {OWNER.slot: KEYS[:4]}
    lanes = _lanes(flows)
    stuck, fine = _Worker(lanes, 0), _Worker(lanes, 1)
    for key in KEYS:
        lanes.publish(OWNER, key, 1)
        lanes.flush()
        assert fine.take() == [(PUBLISH, key)]
    assert lanes.full() > 0
    stuck.take()
    assert not lanes.catch_up(10)
    lanes.flush()
    assert stuck.take() == [(PUBLISH, key) for key in KEYS[:4]]


def test_lanes_withdrawals_are_not_lost_and_keep_their_order() -> None:
    lanes = _lanes({})
    stuck = _Worker(lanes, 0)
    for key in KEYS:
        lanes.withdraw(OWNER, key)
    seen: list[tuple[int, bytes]] = []
    while len(seen) < len(KEYS):
        lanes.flush()
        taken = stuck.take()
        assert taken
        seen += taken
        lanes.catch_up(10)
    assert seen == [(WITHDRAW, key) for key in KEYS]


def test_lanes_everything_is_published_again_after_an_attach() -> None:
    flows = {slot: [KEYS[slot]] for slot in range(8)}
    lanes = _lanes(flows)
    worker = _Worker(lanes, 0)
    lanes.mark_all_behind(flows)
    while lanes.catch_up(3):
        pass
    lanes.flush()
    assert sorted(worker.take()) == sorted((PUBLISH, KEYS[slot]) for slot in range(8))


def test_lanes_workers_that_do_not_serve_a_call_hear_of_it_with_the_next_record_or_at_the_heartbeat() -> None:
    lanes = _lanes({})
    serving, other = _Worker(lanes, 0), _Worker(lanes, 1)
    for key in KEYS[:2]:
        lanes.publish(OWNER, key, 1, serving=0)
        lanes.flush()
        assert serving.take() == [(PUBLISH, key)]
        assert other.take() == []
    lanes.withdraw(OWNER, KEYS[0])
    lanes.flush()
    assert other.take() == [(PUBLISH, KEYS[0]), (PUBLISH, KEYS[1]), (WITHDRAW, KEYS[0])]
    lanes.publish(OWNER, KEYS[2], 1, serving=0)
    lanes.flush(all_of_it=True)
    assert other.take() == [(PUBLISH, KEYS[2])]


def test_lanes_are_opened_again_by_a_successor_whatever_a_peer_wrote_where_the_rings_are() -> None:
    """A relay worker gone mad must not keep a transceiver's successor from starting."""
    lane = Lane.create(0, 0, handshake_in=4096, media_in=4096, control_out=4096, media_out=4096, incarnation=1)
    for ring in (512, 896, 1280, 1664):  # struct lane_header.rings
        struct.pack_into("<QQ", memoryview(lane.segment), ring, 3, 1 << 60)
    lanes = _lanes({})
    lanes.use(lane, 0)
    lanes.publish(OWNER, KEYS[0], 1)
    lanes.flush()
    assert [record.key for record in RingConsumer(lane.segment, CONTROL_OUT).read(10)] == [KEYS[0]]
