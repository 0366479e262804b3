"""What the supervisor's child does with a worker between two runs, and how a worker sleeps and is woken."""

import os
import signal
import socket

import pytest

from relayd.ufrag import UfragKeys
from relayd.worker import Worker, worker_counter_names
from shm.counters import Counters
from shm.flows import FlowTable
from tests.relayd import packets
from tests.relayd.rig import CHECKED, MACHINE, PROVEN, PUBLISH, PUBLISH_AND_SEND, SEND, Call, Rig, until, waiting_bytes

ALICE = Call(0, 5, 9)
ANSWER = packets.stun(packets.BINDING_SUCCESS, bytes(12))


def test_worker_returns_when_its_control_descriptor_is_readable_and_leaves_the_message() -> None:
    rig = Rig()
    near, far = socket.socketpair()
    far.send(b"attach")
    rig.worker.run(near.fileno())
    assert near.recv(100) == b"attach"
    far.close()  # the supervisor is gone
    rig.worker.run(near.fileno())
    assert near.recv(100) == b""
    near.close()
    rig.close()


def test_worker_returns_under_load() -> None:
    """A worker that is never idle still hears its supervisor."""
    with Rig() as rig:
        client = rig.client()
        for _ in range(20):
            for _ in range(40):
                rig.send(client, packets.rtp())
            with rig.paused():
                pass


def test_worker_run_ends_by_a_signal_whose_handler_raises() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    rig = Rig()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(Interrupted):
            rig.worker.run(rig.control)
    finally:
        signal.signal(signal.SIGALRM, before)
        rig.close()


def test_worker_lane_attached_later_is_served_and_detached_is_not() -> None:
    with Rig(transceivers=()) as rig:
        client = rig.client()
        request = packets.binding_request(rig.ufrag(ALICE))
        rig.send(client, request)
        assert rig.settled(1)["dropped_no_transceiver"] == 1
        end = rig.add_lane(0)
        end.ask(PUBLISH_AND_SEND, ALICE, rig.key(client), ANSWER)  # waits in the ring
        with rig.paused():
            rig.worker.attach_lane(end.lane)
        assert client.recv(100) == ANSWER
        rig.send(client, request)
        rig.send(client, packets.rtp())
        after = rig.settled(3)
        assert (after["forwarded_stun"], after["forwarded_rtp"]) == (1, 1)
        with rig.paused():
            rig.worker.detach(0)
            rig.worker.detach(0)  # of an unknown one nothing happens
        rig.send(client, request)
        rig.send(client, packets.rtp())
        after = rig.settled(5)
        assert (after["dropped_no_transceiver"], after["dropped_owner_gone"]) == (2, 1)
        end.ask(SEND, ALICE, rig.key(client), b"unheard", media=True)
        assert rig.count("out_records") == 1
        assert end.lane.waiting(3) > 0


def test_worker_lane_of_a_new_transceiver_process_replaces_the_old_one() -> None:
    with Rig() as rig:
        client, old = rig.client(), rig.ends[0]
        old.ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.out_settled(1)
        new = rig.add_lane(0)
        new.lane.incarnation = 2
        with rig.paused():
            rig.worker.attach_lane(new.lane)
        rig.send(client, packets.rtp())
        assert rig.settled(1)["dropped_owner_gone"] == 1
        # The new process has the call (from its session segment) and publishes again.
        new.ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        rig.out_settled(2)
        rig.send(client, packets.rtp())
        assert rig.settled(2)["forwarded_rtp"] == 1
        assert len(new.take_media()) == 1
        assert not old.take_media()


def test_worker_attaching_the_same_lane_again_loses_nothing() -> None:
    """transceiverd sends the same lanes again at every attach (DESIGN 2.7)."""
    with Rig() as rig:
        client, end = rig.client(), rig.ends[0]
        for number in range(1, 6):
            end.ask(PUBLISH_AND_SEND, ALICE, rig.key(client), ANSWER)
            assert client.recv(100) == ANSWER
            rig.send(client, packets.rtp(sequence=number))
            rig.settled(number)
            with rig.paused():
                rig.worker.attach_lane(end.lane)
        assert [record.payload[3] for record in end.take_media()] == [1, 2, 3, 4, 5]


def test_worker_verifies_under_the_keys_set_last() -> None:
    with Rig() as rig:
        client = rig.client()
        old = rig.keys
        both = old.rotated(ids_in_use={0})
        only_new = UfragKeys(1, {1: both.secret(1)})
        for number, (keys, minted_under, outcome) in enumerate(
            [
                (old, both, "dropped_ufrag_key"),
                (both, both, "forwarded_stun"),
                (both, old, "forwarded_stun"),
                (only_new, old, "dropped_ufrag_key"),
                (only_new, both, "forwarded_stun"),
            ],
            start=1,
        ):
            with rig.paused():
                rig.worker.set_keys(keys)
            before = rig.count(outcome)
            rig.send(client, packets.binding_request(rig.ufrag(ALICE, minted_under)))
            rig.settled(number)
            assert rig.count(outcome) == before + 1


def test_worker_refuses_what_it_cannot_work_with() -> None:
    flows, counters = FlowTable.create(64), Counters.create(worker_counter_names())
    keys = UfragKeys.generate()
    with pytest.raises(ValueError, match="worker_counter_names"):
        Worker(0, (-1, -1), flows.segment, Counters.create(["received"]).segment, keys, machine=0)
    with pytest.raises(ValueError, match="one of counters"):
        Worker(0, (-1, -1), counters.segment, flows.segment, keys, machine=0)
    for batch in (0, 1025):
        with pytest.raises(ValueError, match="batch"):
            Worker(0, (-1, -1), flows.segment, counters.segment, keys, machine=0, batch=batch)
    pipe = os.pipe()
    with pytest.raises(OSError, match="getsockname"):
        Worker(0, (pipe[0], -1), flows.segment, counters.segment, keys, machine=0)
    for fd in pipe:
        os.close(fd)
    worker = Worker(0, (-1, -1), flows.segment, counters.segment, keys, machine=0)
    with pytest.raises(OSError, match="epoll_ctl"):
        worker.run(-1)


@pytest.mark.parametrize("off", [0, 1])
def test_worker_serves_one_family_when_the_other_is_off(off: int) -> None:
    rig = Rig()
    fds = [sock.fileno() for sock in rig.sockets]
    fds[off] = -1
    rig.worker = Worker(0, (fds[0], fds[1]), rig.flows.segment, rig.counters.segment, rig.keys, machine=MACHINE)
    rig.worker.attach_lane(rig.ends[0].lane)
    families = (socket.AF_INET, socket.AF_INET6)
    with rig:
        rig.ends[0].ask(PUBLISH_AND_SEND, ALICE, rig.key(rig.client(families[off])), ANSWER)
        assert rig.out_settled(1)["out_refused_address"] == 1
        client = rig.client(families[1 - off])
        rig.ends[0].ask(PUBLISH_AND_SEND, ALICE, rig.key(client), ANSWER)
        assert client.recv(100) == ANSWER


# ------------------------------------------------------------------------------------------------- sleeping, waking


def test_worker_rings_a_sleeping_consumer_once_a_batch() -> None:
    with Rig() as rig:
        client, end = rig.client(), rig.ends[0]
        rig.ends[0].ask(PUBLISH, ALICE, rig.key(client), state=CHECKED)
        rig.out_settled(1)
        handshake_bell, media_bell = end.lane.doorbell(0), end.lane.doorbell(1)
        for fd in (end.lane.control_fd, end.lane.media_fd):  # from the attachment
            os.set_blocking(fd, False)
        handshake_bell.clear()
        media_bell.clear()
        with rig.paused():
            media_bell.arm()
            for _ in range(10):
                rig.send(client, packets.rtp())
                rig.send(client, packets.dtls())
        rig.settled(20)
        until(lambda: rig.count("doorbells") == 1, "the doorbell of the sleeper")
        assert os.eventfd_read(end.lane.media_fd) == 1
        with pytest.raises(BlockingIOError):
            os.eventfd_read(end.lane.control_fd)  # its owner was awake
        assert len(end.take_media()) == 10


def test_worker_asleep_is_woken_by_every_doorbell() -> None:
    with Rig() as rig:
        client, end = rig.client(), rig.ends[0]
        end.ask(PUBLISH, ALICE, rig.key(client), state=PROVEN)
        for number in range(200):
            end.ask(SEND, ALICE, rig.key(client), bytes([number]), media=bool(number & 1))
            assert client.recv(10) == bytes([number])
        assert rig.count("lost_wakeups") == 0


def test_worker_finds_work_whose_doorbell_was_not_rung_and_raises_the_alarm() -> None:
    with Rig() as rig:
        client, end = rig.client(), rig.ends[0]
        until(lambda: end.bell.armed, "a sleeping worker")
        while rig.count("lost_wakeups") == 0:
            end.control_out.write(
                PUBLISH_AND_SEND,
                rig.key(client),
                ANSWER,
                origin=ALICE.origin,
                incarnation=end.lane.incarnation,
                address_state=CHECKED,
            )
            end.control_out.publish()
            assert client.recv(100) == ANSWER


def test_worker_beats_while_it_has_nothing_to_do() -> None:
    with Rig() as rig:
        beats = rig.counters.segment.heartbeat
        until(lambda: rig.counters.segment.heartbeat > beats + 2, "an idle worker's heartbeat")
        assert rig.counters.segment.heartbeat_ns > 0
        assert rig.count("sleeps") > 0


def test_worker_uses_no_processor_time_while_idle() -> None:
    """No spinning: an idle worker turns once a sleep, so its turns and its sleeps are as many."""
    with Rig() as rig:
        turns, sleeps = rig.counters.segment.heartbeat, rig.count("sleeps")
        until(lambda: rig.count("sleeps") >= sleeps + 10, "ten sleeps")
        assert rig.counters.segment.heartbeat - turns <= rig.count("sleeps") - sleeps + 2


# ------------------------------------------------------------------------------------------------- kernel drops


def test_worker_counts_what_the_kernel_dropped_and_its_successor_does_not_again() -> None:
    with Rig() as rig:
        client = rig.client()
        with rig.paused():
            rig.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for _ in range(100):
                rig.send(client, packets.rtp())

        def arrived(sent: int) -> None:
            rig.send(client, packets.rtp())
            until(
                lambda: rig.count("received") + rig.count("kernel_dropped_v4") == sent, f"{sent} packets in the books"
            )

        until(lambda: waiting_bytes(rig.sockets[0]) == 0, "what fitted into the buffer")
        arrived(101)  # the kernel tells its count with the next datagram it takes
        dropped = rig.count("kernel_dropped_v4")
        assert dropped > 50
        with rig.paused():
            rig.worker = rig.make_worker()
        arrived(102)
        assert rig.count("kernel_dropped_v4") == dropped
        assert rig.count("kernel_dropped_v6") == 0
