"""The packet path sends what it should, and judges what comes back rightly."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.load.echo_server import EchoServer, client_contexts
from transceiverd.load import packets
from transceiverd.load.packets import PacketPath

OUR_SSRC = 77


@contextmanager
def running(capacity: int = 8, **options: int) -> Iterator[PacketPath]:
    """A packet path on its thread."""
    with turning(PacketPath(capacity, **options)) as path:
        yield path


@contextmanager
def turning(path: PacketPath) -> Iterator[PacketPath]:
    """It, on its thread."""
    thread = threading.Thread(target=path.run)
    thread.start()
    try:
        yield path
    finally:
        path.stop()
        thread.join()
        path.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def talking(path: PacketPath, server: EchoServer) -> int:
    """A call that talks to the server."""
    place = path.add(server.address, server.port)
    path.secure(place, *client_contexts(OUR_SSRC), OUR_SSRC, 111)
    path.talk(place, True)
    return place


def hush(path: PacketPath, places: list[int]) -> None:
    """Nobody sends any more."""
    for place in places:
        path.talk(place, False)
    until(lambda: path.talkers == 0)


def settle(path: PacketPath, place: int, sent: int) -> dict[str, int]:
    """Talk until so many were sent, then let everything come back."""
    until(lambda: path.caller(place)["sent"] >= sent)
    hush(path, [place])
    last = -1
    while last != path.totals()["received"]:
        last = path.totals()["received"]
        time.sleep(0.1)
    return path.totals()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_packets_come_back_and_are_counted_with_their_times(address: str) -> None:
    with EchoServer(address) as server, running() as path:
        places = [talking(path, server) for _ in range(3)]
        until(lambda: all(path.caller(place)["received"] >= 10 for place in places))
        hush(path, places)
        until(lambda: path.totals()["received"] == path.totals()["sent"])
        totals = path.totals()
        assert not any(totals[name] for name in ("duplicates", "reordered", "foreign", "unauthentic", "send_errors"))
        assert len(server.clients) == 3  # an address for each call
        assert {path.local(place) for place in places} == server.clients
        histograms = path.histograms()
        assert histograms["round_trip"].total == totals["received"]
        assert histograms["spacing"].total == totals["received"] - 3
        assert histograms["sent_spacing"].total == totals["sent"] - 3
        assert all(path.caller(place)["gap_max"] > 0 for place in places)


def test_packets_lost_repeated_and_swapped_are_told_apart() -> None:
    kept: list[bytes] = []

    def change(number: int, packet: bytes) -> list[bytes]:
        if number == 3:
            return []
        if number == 5:
            return [packet, _renumbered(packet, 1000)]  # the same content under another index
        if number == 7:
            kept.append(packet)
            return []
        if number == 8:
            return [packet, kept.pop()]
        return [packet]

    with EchoServer("127.0.0.1", change) as server, running() as path:
        totals = settle(path, talking(path, server), 12)
    assert totals["sent"] - totals["received"] == 1
    assert totals["duplicates"] == 1
    assert totals["reordered"] == 1
    assert totals["foreign"] == totals["unauthentic"] == 0


def _renumbered(packet: bytes, ahead: int) -> bytes:
    number = (int.from_bytes(packet[2:4], "big") + ahead) % 65536
    return packet[:2] + number.to_bytes(2, "big") + packet[4:]


def test_packets_of_somebody_else_and_forged_ones_are_counted_apart() -> None:
    def change(number: int, packet: bytes) -> list[bytes | bytearray]:
        if number == 2:
            return [packet[:29] + b"else" + packet[33:]]  # the nonce of another call
        if number == 4:
            return [packet[:20]]  # cut off within our marks
        if number == 6:
            return [packet, bytearray(_renumbered(packet, 100))]  # nobody protected it
        return [packet]

    with EchoServer("127.0.0.1", change) as server, running() as path:
        place = talking(path, server)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (b"\x80" * 50, b"\0hello"):
                stranger.sendto(data, path.local(place))
        totals = settle(path, place, 10)
        assert totals["foreign"] == 2
        assert totals["unauthentic"] == 1
        assert totals["sent"] - totals["received"] == 2
        assert path.poll() == []  # the stranger reached nobody


def test_packets_of_the_control_path_reach_the_inbox_of_their_call() -> None:
    with EchoServer("127.0.0.1") as server, running() as path:
        places = [path.add(server.address, server.port) for _ in range(2)]
        for place in places:
            assert path.send(place, b"\0ping%d" % place)
        found: list[tuple[int, bytes]] = []
        until(lambda: found.extend(path.poll()) or len(found) == 2)
    assert sorted(found) == [(place, b"\0pong\0ping%d" % place) for place in places]


def test_packets_before_keys_are_counted_and_a_removed_call_gives_its_place_back() -> None:
    with EchoServer("127.0.0.1") as server, running(1) as path:
        place = path.add(server.address, server.port)
        with pytest.raises(ValueError, match="taken"):
            path.add(server.address, server.port)
        path.talk(place, True)  # no keys: nothing is sent
        path.remove(place)
        place = talking(path, server)
        totals = settle(path, place, 3)
        assert totals["sent"] == totals["received"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_packets_place_is_given_again_only_when_the_thread_has_let_it_go(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it turns, the thread may look at the call's keys and socket."""
    monkeypatch.setattr(packets, "LEAVING_SECONDS", 0.05)
    with EchoServer(address) as server:
        path = PacketPath(1)
        place = talking(path, server)
        path.remove(place)
        with pytest.raises(ValueError, match="taken"):
            path.add(server.address, server.port)
        monkeypatch.setattr(packets, "LEAVING_SECONDS", 20.0)
        with turning(path):
            assert path.caller(talking(path, server))["duplicates"] == 0
            until(lambda: path.totals()["received"] >= 3)


def test_packets_orders_that_nobody_obeys_are_bounded() -> None:
    with EchoServer("127.0.0.1") as server:
        path = PacketPath(1)
        place = talking(path, server)

        def dither() -> None:
            for number in range(100):
                path.talk(place, bool(number % 2))

        with pytest.raises(RuntimeError, match="obeyed no order"):
            dither()
        path.close()


def test_packets_of_many_calls_leave_once_a_turn_of_the_wheel_each() -> None:
    with EchoServer("127.0.0.1") as server, running(100) as path:
        places = [talking(path, server) for _ in range(100)]

        def count() -> list[int]:
            return [path.caller(place)["sent"] for place in places]

        def even() -> bool:
            """Reading takes time, on a busy machine more than a turn: then it is tried again."""
            before = count()
            until(lambda: path.caller(places[0])["sent"] >= before[0] + 5)
            grown = [now - then for now, then in zip(count(), before, strict=True)]
            return max(grown) - min(grown) <= 2

        until(even)


@pytest.mark.parametrize(
    "options", [{"capacity": 0}, {"capacity": 1, "payload_bytes": 10}, {"capacity": 1, "tick_ns": 7}]
)
def test_packets_numbers_out_of_bounds_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        PacketPath(**options)


def test_packets_server_that_is_gone_is_counted_as_refused() -> None:
    with EchoServer("::1") as server:
        port = server.port
    with running() as path:
        place = path.add("::1", port)
        for _ in range(3):
            path.send(place, b"\0ping")
            time.sleep(0.01)
        until(lambda: path.totals()["refused"] or not path.send(place, b"\0ping"))
