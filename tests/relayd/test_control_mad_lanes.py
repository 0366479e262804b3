"""A peer that scribbles over a lane's constant words, after or before its attach, costs no other lane and no worker.

The words that say where the rings are and whose the lane is are read again whenever a worker is born. One transceiver
gone mad could so keep every worker from starting, or pose as another transceiver.
"""

import contextlib
import os
import signal
import struct
from pathlib import Path

import pytest

from relayd.relay_client import NoRelay
from shm import attach
from shm.daemon.orders import Order, give_order
from shm.lane import Lane
from tests.relayd.fake_transceiverd import Caller, FakeTransceiverd, make_lane
from tests.relayd.relay_process import RelayProcess, wait_until

INDEX, PEER_INDEX = 48, 52  # struct segment_header in shm/layout.h
RINGS = (512, 896, 1280, 1664)  # struct lane_header


def _replaced(relay: RelayProcess) -> None:
    pid = relay.worker_pid(0)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: relay.worker(0).pid not in (None, pid), "a successor")


def _deaths(relay: RelayProcess) -> int:
    return sum(worker.restarts for worker in relay.status().workers)


def _served(relay: RelayProcess, fake: FakeTransceiverd) -> None:
    """Checks of transceiver 0's calls are answered, by whichever worker their addresses fall to."""
    for slot in range(1, 9):
        caller = Caller(relay.status().port, slot)
        try:
            caller.check(fake.ufrag(slot))
        finally:
            caller.close()


@pytest.mark.parametrize("word", [0, 8])
@pytest.mark.parametrize("value", [0, 12, 1 << 40, (1 << 64) - 1])
def test_control_lane_whose_rings_make_no_sense_is_refused(
    shared_relay: RelayProcess, fake: FakeTransceiverd, word: int, value: int
) -> None:
    before = _deaths(shared_relay)
    with make_lane(0, incarnation=5, transceiver=1) as lane:
        struct.pack_into("<Q", memoryview(lane.segment), RINGS[2] + word, value)
        answer = fake.ask(attach.OfferLane(1, 0, 5), lane.fds)
        assert isinstance(answer, attach.Refused), answer
        assert "control_out" in answer.reason
    _served(shared_relay, fake)
    assert _deaths(shared_relay) == before


def test_control_lane_scribbled_over_later_stops_no_successor_of_a_worker(
    shared_relay: RelayProcess, fake: FakeTransceiverd
) -> None:
    with FakeTransceiverdsOtherLane(fake) as lane:
        memory = memoryview(lane.segment)
        for ring in RINGS:
            struct.pack_into("<QQ", memory, ring, 12, 1 << 50)
        before = _deaths(shared_relay)
        _replaced(shared_relay)
        _served(shared_relay, fake)
        assert _deaths(shared_relay) == before + 1
        del memory


def test_control_lane_that_names_another_transceiver_later_takes_nothing_from_it(
    shared_relay: RelayProcess, fake: FakeTransceiverd
) -> None:
    with FakeTransceiverdsOtherLane(fake) as lane:
        memory = memoryview(lane.segment)
        struct.pack_into("<II", memory, INDEX, 0, 1)
        _replaced(shared_relay)
        assert [(seen.transceiver, seen.worker) for seen in shared_relay.status().lanes] == [(0, 0), (1, 0), (0, 1)]
        _served(shared_relay, fake)
        del memory


@pytest.mark.system
def test_control_lane_scribbled_over_ends_no_upgrade_and_no_daemon(tmp_path: Path) -> None:
    """The new code attaches every lane anew, when there is no way back: it must find what the old one saw."""
    with (
        RelayProcess(tmp_path) as relay,
        FakeTransceiverd(relay.directory) as fake,
        FakeTransceiverdsOtherLane(fake) as lane,
    ):
        struct.pack_into("<QIIQ", memoryview(lane.segment), 0, 1, 2, 3, 4)  # magic, versions, kind, size
        for ring in RINGS:
            struct.pack_into("<QQ", memoryview(lane.segment), ring, 12, 1 << 50)
        report = give_order(relay.directory, "relayd", Order("upgrade"), 30.0)
        assert report.done, report.text
        wait_until(lambda: _upgraded(relay), "the new code")
        _served(relay, fake)


def _upgraded(relay: RelayProcess) -> bool:
    with contextlib.suppress(NoRelay):
        status = relay.status()
        return status.upgrades == 1 and not status.upgrading
    return False


class FakeTransceiverdsOtherLane:
    """Transceiver 1's lane to worker 0, offered on the same connection."""

    def __init__(self, fake: FakeTransceiverd) -> None:
        self._fake = fake
        self._lane = make_lane(0, incarnation=5, transceiver=1)

    def __enter__(self) -> Lane:
        assert isinstance(self._fake.ask(attach.OfferLane(1, 0, 5), self._lane.fds), attach.Accepted)
        return self._lane

    def __exit__(self, *_of_an_error: object) -> None:
        assert isinstance(self._fake.ask(attach.Withdraw(1)), attach.Accepted)
        self._lane.close()
