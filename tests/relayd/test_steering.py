"""relayd/steering.py: who gets packets. The rule by made-up readings, the kernel's part by a real group."""

import errno
import socket
from collections.abc import Iterator

import pytest

from relayd.sockets import PublicSockets, open_sockets
from relayd.steering import CALM_NS, LOOK_NS, Choice, Reading, Rule, Steering, steer

WORKERS = 4


class Workers:
    """Readings of workers that are so busy, look by look."""

    def __init__(self, rule: Rule, workers: int) -> None:
        self.rule = rule
        self.now = 0
        self.heartbeats = [0] * workers
        self.asleep = [0.0] * workers
        self.stopped: set[int] = set()
        self.look([0.0] * workers)

    def look(self, busy: list[float]) -> Choice:
        """LOOK_NS pass."""
        self.now += LOOK_NS
        for worker, share in enumerate(busy):
            if worker not in self.stopped:
                self.heartbeats[worker] += 1
                self.asleep[worker] += (1 - share) * LOOK_NS
        readings = [Reading(beat, int(asleep)) for beat, asleep in zip(self.heartbeats, self.asleep, strict=True)]
        return self.rule.decide(readings, self.now)

    def look_for(self, ns: int, busy: list[float]) -> Choice:
        """Several looks."""
        for _ in range(ns // LOOK_NS):
            choice = self.look(busy)
        return choice


@pytest.fixture
def idle() -> Workers:
    """Four workers that got calm."""
    workers = Workers(Rule(WORKERS, 0.5), WORKERS)
    workers.look_for(3 * CALM_NS, [0.0] * WORKERS)
    return workers


def test_steering_starts_with_all_and_goes_to_one_when_it_is_calm() -> None:
    workers = Workers(Rule(WORKERS, 0.5), WORKERS)
    assert workers.rule.choice == Choice(WORKERS)
    assert workers.look_for(CALM_NS, [0.05] * WORKERS) == Choice(WORKERS)
    assert workers.look_for(3 * CALM_NS, [0.05] * WORKERS) == Choice(1)


def test_steering_widens_at_the_first_look_that_finds_the_active_ones_busy(idle: Workers) -> None:
    assert idle.look([0.49, 0, 0, 0]) == Choice(1)
    assert idle.look([0.51, 0, 0, 0]) == Choice(2)
    assert idle.look([0.6, 0.3, 0, 0]) == Choice(2)
    assert idle.look([0.6, 0.5, 0, 0]) == Choice(4)


def test_steering_does_not_go_to_and_fro_between_two_widths(idle: Workers) -> None:
    assert idle.look([0.55, 0, 0, 0]) == Choice(2)
    assert idle.look_for(5 * CALM_NS, [0.3, 0.3, 0, 0]) == Choice(2)


def test_steering_narrows_only_after_calm_without_a_break(idle: Workers) -> None:
    idle.look([0.9, 0, 0, 0])
    for _ in range(3):
        assert idle.look_for(CALM_NS - LOOK_NS, [0.1, 0.1, 0, 0]) == Choice(2)
        assert idle.look([0.3, 0.3, 0, 0]) == Choice(2)
    assert idle.look_for(CALM_NS + 2 * LOOK_NS, [0.1, 0.1, 0, 0]) == Choice(1)


def test_steering_passes_over_a_worker_that_stands_still(idle: Workers) -> None:
    idle.stopped.add(0)
    assert idle.look([0, 0.1, 0, 0]) == Choice(1, 1)
    idle.stopped = {1}
    assert idle.look([0, 0, 0, 0]) == Choice(1, 0)


def test_steering_passes_over_a_worker_that_stopped_in_the_middle_of_a_look(idle: Workers) -> None:
    """It beat once more and was found busy, so packets went to two: one of them stopped."""
    assert idle.look([0.9, 0, 0, 0]) == Choice(2)
    idle.stopped.add(0)
    assert idle.look([0, 0.2, 0, 0]) == Choice(1, 1)


def test_steering_does_not_give_all_to_one_that_has_no_time_for_it(idle: Workers) -> None:
    idle.look([0.9, 0, 0, 0])
    idle.stopped.add(0)
    assert idle.look([0, 0.6, 0, 0]) == Choice(4)


def test_steering_workers_that_get_no_cpu_count_as_busy(idle: Workers) -> None:
    idle.stopped.update(range(WORKERS))
    assert idle.look([0, 0, 0, 0]) == Choice(2)


def test_steering_can_be_turned_off_and_on_while_it_runs(idle: Workers) -> None:
    idle.rule.spread_above = 0
    assert idle.look([0, 0, 0, 0]) == Choice(WORKERS)
    assert idle.look_for(5 * CALM_NS, [0.0] * WORKERS) == Choice(WORKERS)
    idle.rule.spread_above = 0.5
    assert idle.look_for(5 * CALM_NS, [0.0] * WORKERS) == Choice(1)


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def group(request: pytest.FixtureRequest) -> Iterator[tuple[PublicSockets, list[socket.socket]]]:
    """A group of sockets as the workers have."""
    public = open_sockets(
        WORKERS, port=0, port_search=0, bind4="127.0.0.1", bind6="::1", receive_buffer_bytes=1 << 20
    )  # fmt: skip
    with public:
        pairs = public.workers
        found = [pair.v4 if request.param == socket.AF_INET else pair.v6 for pair in pairs]
        yield public, [sock for sock in found if sock is not None]


def arrivals(public: PublicSockets, sockets: list[socket.socket], clients: int) -> list[int]:
    """How many packets of so many clients each socket gets."""
    address = "127.0.0.1" if sockets[0].family == socket.AF_INET else "::1"
    for _ in range(clients):
        with socket.socket(sockets[0].family, socket.SOCK_DGRAM) as client:
            client.sendto(b"packet", (address, public.port))
    return [drain(sock) for sock in sockets]


def drain(sock: socket.socket) -> int:
    count = 0
    try:
        while sock.recv(16):
            count += 1
    except BlockingIOError:
        return count
    raise AssertionError("an empty datagram")


def test_steering_the_kernel_gives_all_packets_to_the_one_chosen(
    group: tuple[PublicSockets, list[socket.socket]],
) -> None:
    public, sockets = group
    steer(sockets[0], Choice(1, 0), WORKERS)
    assert arrivals(public, sockets, 20) == [20, 0, 0, 0]
    steer(sockets[0], Choice(1, 2), WORKERS)
    assert arrivals(public, sockets, 20) == [0, 0, 20, 0]


def test_steering_the_kernel_spreads_clients_over_the_first_or_over_all(
    group: tuple[PublicSockets, list[socket.socket]],
) -> None:
    public, sockets = group
    steer(sockets[0], Choice(2), WORKERS)
    two = arrivals(public, sockets, 100)
    assert min(two[:2]) > 20
    assert two[2:] == [0, 0]
    steer(sockets[0], Choice(WORKERS), WORKERS)
    assert min(arrivals(public, sockets, 200)) > 10


def test_steering_a_client_stays_with_its_worker(group: tuple[PublicSockets, list[socket.socket]]) -> None:
    public, sockets = group
    steer(sockets[0], Choice(3), WORKERS)
    address = "127.0.0.1" if sockets[0].family == socket.AF_INET else "::1"
    with socket.socket(sockets[0].family, socket.SOCK_DGRAM) as client:
        for _ in range(20):
            client.sendto(b"packet", (address, public.port))
    assert sorted(drain(sock) for sock in sockets) == [0, 0, 0, 20]


class Refusing(socket.socket):
    """A socket of a kernel without classic BPF on groups."""

    def setsockopt(self, *_arguments: object) -> None:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")


def test_steering_a_kernel_that_refuses_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    with Refusing(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        steering = Steering([sock], 2, 50)
        for number in range(50):
            steering.look([Reading(number, number * LOOK_NS)] * 2, number * LOOK_NS)
        assert steering.choice == Choice(2)
    assert sum("steered" in record.message for record in caplog.records) == 1
