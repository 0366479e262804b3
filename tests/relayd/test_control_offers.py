"""What transceiverd offers: lanes reach the workers, counters the status, keys every worker; the end takes all back."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relayd.ufrag_keys import UfragKeys
from shm import attach
from shm.counters import Counters
from shm.lane import Lane
from shm.segment import Segment
from tests.relayd.fake_transceiverd import Caller, FakeTransceiverd, make_lane, say_hello
from tests.relayd.packets import binding_request
from tests.relayd.relay_process import RelayProcess, wait_until

LANE_KIND = 1


@pytest.fixture
def spare_lane() -> Iterator[Lane]:
    """Transceiver 1, worker 0."""
    with make_lane(0, incarnation=5, transceiver=1) as lane:
        yield lane


def descriptors_of(relay: RelayProcess) -> int:
    assert relay.process is not None
    return len(os.listdir(f"/proc/{relay.process.pid}/fd"))


def settle_at(relay: RelayProcess, count: int) -> None:
    """relayd answers first and closes then."""
    wait_until(lambda: descriptors_of(relay) == count, f"{count} descriptors")


def outcome(relay: RelayProcess, name: str) -> int:
    return relay.status().packets().outcomes.get(name, 0)


def refused(reply: attach.AnyMessage) -> attach.Refused:
    assert isinstance(reply, attach.Refused), reply
    return reply


def test_control_offered_lane_carries_packets_and_the_end_detaches_it(shared_relay: RelayProcess) -> None:
    caller = Caller(shared_relay.status().port, slot=1)
    with FakeTransceiverd(shared_relay.directory) as fake:
        ufrag = fake.ufrag(caller.slot)
        caller.check(ufrag)
        caller.speak()
        caller.hear(1)
        status = shared_relay.status()
        assert [(lane.transceiver, lane.worker, lane.incarnation) for lane in status.lanes] == [(0, 0, 77), (0, 1, 77)]
        assert [(t.transceiver, t.lanes) for t in status.transceivers] == [(0, 2)]
        assert status.transceiverd is not None
        assert (status.transceiverd.pid, status.transceiverd.ready_transceivers) == (os.getpid(), 1)
        assert sum(worker.flows for worker in status.workers) >= 2
    wait_until(lambda: shared_relay.status().transceiverd is None, "the detach")
    assert shared_relay.status().lanes == []
    assert shared_relay.status().transceivers == []
    # The table still has the flow, but whose it is is gone: the packet is dropped, and so is a check for the call.
    gone, unknown = outcome(shared_relay, "dropped_owner_gone"), outcome(shared_relay, "dropped_no_transceiver")
    caller.speak()
    wait_until(lambda: outcome(shared_relay, "dropped_owner_gone") == gone + 1, "the packet's outcome")
    caller._sock.send(binding_request(ufrag))
    wait_until(lambda: outcome(shared_relay, "dropped_no_transceiver") == unknown + 1, "the check's outcome")
    caller.close()


def test_control_withdraw_detaches_one_transceiver(
    shared_relay: RelayProcess, fake: FakeTransceiverd, spare_lane: Lane
) -> None:
    assert isinstance(fake.ask(attach.OfferLane(1, 0, 5), spare_lane.fds), attach.Accepted)
    assert isinstance(fake.ask(attach.Incarnation(1, 6)), attach.Accepted)
    assert {t.transceiver: t.incarnation for t in shared_relay.status().transceivers} == {0: 77, 1: 6}
    assert isinstance(fake.ask(attach.Withdraw(1)), attach.Accepted)
    assert [t.transceiver for t in shared_relay.status().transceivers] == [0]
    assert isinstance(fake.ask(attach.Withdraw(1)), attach.Accepted)  # twice is harmless


def test_control_second_lane_between_the_two_replaces_the_first(
    shared_relay: RelayProcess, fake: FakeTransceiverd, spare_lane: Lane
) -> None:
    before = descriptors_of(shared_relay)
    for _ in range(5):
        assert isinstance(fake.ask(attach.OfferLane(1, 0, 5), spare_lane.fds), attach.Accepted)
    settle_at(shared_relay, before + 4)
    assert len(shared_relay.status().lanes) == 3


def test_control_lane_of_a_successor_is_inherited(
    shared_relay: RelayProcess, fake: FakeTransceiverd, spare_lane: Lane
) -> None:
    """Offered while the worker cannot take the message: the next process is born with it."""
    pid = shared_relay.worker_pid(0)
    os.kill(pid, signal.SIGSTOP)
    assert isinstance(fake.ask(attach.OfferLane(1, 0, 5), spare_lane.fds), attach.Accepted)
    wait_until(lambda: shared_relay.worker(0).pid not in (None, pid), "the successor")
    successor = shared_relay.worker_pid(0)

    def names() -> list[str]:
        return [os.readlink(f"/proc/{successor}/fd/{fd}") for fd in os.listdir(f"/proc/{successor}/fd")]

    wait_until(lambda: sum("lane-1-0" in name for name in names()) == 1, "the lane in the successor")


@pytest.mark.parametrize(
    ("transceiver", "worker", "what"),
    [(1, 2, "worker of a lane"), (2, 0, "what the lane's header says"), (1, 1, "what the lane's header says")],
)
def test_control_lane_that_does_not_belong_is_refused_and_the_talk_goes_on(
    shared_relay: RelayProcess, fake: FakeTransceiverd, spare_lane: Lane, transceiver: int, worker: int, what: str
) -> None:
    before = descriptors_of(shared_relay)
    assert refused(fake.ask(attach.OfferLane(transceiver, worker, 5), spare_lane.fds)).reason == what
    settle_at(shared_relay, before)
    assert isinstance(fake.ask(attach.Ready(1)), attach.Accepted)


def test_control_lane_of_another_layout_is_refused_with_both_majors(
    shared_relay: RelayProcess, fake: FakeTransceiverd, spare_lane: Lane
) -> None:
    memoryview(spare_lane.segment)[8:10] = (9).to_bytes(2, "little")  # segment_header.major
    answer = refused(fake.ask(attach.OfferLane(1, 0, 5), spare_lane.fds))
    assert (answer.reason, answer.found, answer.allowed) == ("layout major", "9", "1")
    assert len(shared_relay.status().lanes) == 2


def test_control_lane_that_could_shrink_under_us_is_refused(
    shared_relay: RelayProcess, fake: FakeTransceiverd, spare_lane: Lane
) -> None:
    """A descriptor without seals: its maker could cut it, and our next look would be a SIGBUS."""
    before = descriptors_of(shared_relay)
    loose = os.memfd_create("loose")
    os.ftruncate(loose, 1 << 20)
    answer = refused(fake.ask(attach.OfferLane(1, 0, 5), [loose, *spare_lane.fds[1:]]))
    os.close(loose)
    assert "segment" in answer.reason
    settle_at(shared_relay, before)


def test_control_doorbell_that_could_block_is_refused(
    shared_relay: RelayProcess, fake: FakeTransceiverd, spare_lane: Lane
) -> None:
    blocking = os.eventfd(0)
    answer = refused(fake.ask(attach.OfferLane(1, 0, 5), [*spare_lane.fds[:3], blocking]))
    os.close(blocking)
    assert answer.reason == "doorbell"
    assert len(shared_relay.status().lanes) == 2


def test_control_wrong_number_of_descriptors_ends_the_connection_and_leaks_none(shared_relay: RelayProcess) -> None:
    sock, _ = say_hello(shared_relay.directory)
    before = descriptors_of(shared_relay)
    socket.send_fds(sock, [b'{"type":"offer_lane","transceiver":1,"worker":0,"incarnation":5}'], [0, 1])
    assert refused(attach.receive(sock)[0]).reason == "malformed message"
    settle_at(shared_relay, before - 1)
    sock.close()


def test_control_counters_are_shown(shared_relay: RelayProcess, fake: FakeTransceiverd) -> None:
    counters = Counters.create(["calls", "never"])
    counters.add("calls", 41)
    assert isinstance(fake.ask(attach.OfferCounters("transceiver 0 control", 0), [counters.fd]), attach.Accepted)
    counters.add("calls", 1)
    (transceiver,) = shared_relay.status().transceivers
    (owner,) = transceiver.owners
    assert (owner.owner, owner.counters) == ("transceiver 0 control", {"calls": 42})
    assert isinstance(fake.ask(attach.Withdraw(0)), attach.Accepted)
    assert shared_relay.status().transceivers == []


def test_control_counters_that_are_none_are_refused(shared_relay: RelayProcess, fake: FakeTransceiverd) -> None:
    before = descriptors_of(shared_relay)
    broken = Counters.create(["calls"])
    memoryview(broken.segment)[128:136] = (1 << 40).to_bytes(8, "little")  # counters_header.count
    assert refused(fake.ask(attach.OfferCounters("x", 0), [broken.fd])).reason == "counters"
    with Segment.create(LANE_KIND, 4096) as other:
        assert refused(fake.ask(attach.OfferCounters("x", 0), [other.fd])).reason == "segment kind"
    settle_at(shared_relay, before)


class Rotation:
    """A relayd of its own, whose keys may be changed."""

    def __init__(self, relay: RelayProcess) -> None:
        self.relay = relay
        self.path = relay.directory / "ufrag.keys"
        self.sock, _ = say_hello(relay.directory)

    def rotate(self) -> UfragKeys:
        keys = UfragKeys.load(self.path).rotated(())
        keys.save(self.path)
        return keys

    def confirm(self, keys: UfragKeys) -> None:
        attach.send(self.sock, attach.ConfirmKey(keys.current, keys.fingerprint(keys.current)))

    def answer(self) -> attach.AnyMessage:
        while True:
            message, _ = attach.receive(self.sock)
            if not isinstance(message, attach.WorkerReplaced):
                return message


@pytest.fixture
def rotation(tmp_path: Path) -> Iterator[Rotation]:
    with RelayProcess(tmp_path, stuck_after_ms=300) as relay:
        made = Rotation(relay)
        yield made
        made.sock.close()


def test_control_new_key_is_confirmed_once_every_worker_has_it(rotation: Rotation) -> None:
    relay = rotation.relay
    keys = rotation.rotate()
    rotation.confirm(keys)
    assert rotation.answer() == attach.KeyConfirmed(keys.current)
    assert relay.status().keys == keys.fingerprints()
    # A worker that cannot answer is found stuck, since our message waits; its successor is born with the key.
    pid = relay.worker_pid(1)
    os.kill(pid, signal.SIGSTOP)
    keys = rotation.rotate()
    rotation.confirm(keys)
    assert rotation.answer() == attach.KeyConfirmed(keys.current)
    assert relay.worker_pid(1) != pid
    # What the file does not have cannot be confirmed.
    attach.send(rotation.sock, attach.ConfirmKey(keys.current, "0123456789abcdef"))
    answer = refused(rotation.answer())
    assert answer.found == "0123456789abcdef"
    assert keys.fingerprint(keys.current) in answer.allowed
