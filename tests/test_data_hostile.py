"""A caller that lies inside its own DTLS, and one that moves as much as it can: other calls lose nothing.

Real daemons. The others talk on a thread of this process; the bulk transfer is a process of its own, so that what is
measured is the server and not the interpreter's lock.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.daemons import Server, running, wait_for
from tests.data_client import PORT
from tests.udp_caller import UdpCaller
from transceiverd.engine import MILLISECOND
from transceiverd.sctp import chunks
from transceiverd.sctp.chunks import FLAG_BEGIN, FLAG_END, Data, ForwardTsn, Heartbeat, Sack, Unknown
from transceiverd.sctp.config import DataChannelConfig
from transceiverd.sctp.initiation import make_init
from transceiverd.sctp.packet import serialize_packet

GROWTH_MAX = 24 << 20  # bytes that a transceiver may grow by what one caller does; its own buffers are 5.5 MiB


class Talkers:
    """Calls that talk all the time, and note how long each packet was away."""

    def __init__(self, server: Server, count: int) -> None:
        self.callers = [UdpCaller(server.calls_url, seed=seed) for seed in range(1, count + 1)]
        self.times: list[list[int]] = [[] for _ in self.callers]
        self._away: list[dict[bytes, int]] = [{} for _ in self.callers]
        self._heard = [0] * count
        self._going = True
        for place, caller in enumerate(self.callers):
            talk = caller.client.talk
            caller.client.talk = lambda place=place, talk=talk: self._note(place, talk)
            caller.connect()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _note(self, place: int, talk: Callable[[], bytes]) -> bytes:
        client = self.callers[place].client
        self._away[place][b"voice %d" % client.sequence] = time.monotonic_ns()
        return talk()

    def _run(self) -> None:
        while self._going:
            for place, caller in enumerate(self.callers):
                caller.step(0.001)
                heard = caller.client.heard
                for packet in heard[self._heard[place] :]:
                    sent = self._away[place].pop(packet[12:], 0)
                    if sent:
                        self.times[place].append(time.monotonic_ns() - sent)
                self._heard[place] = len(heard)

    def take_times(self) -> list[float]:
        """Milliseconds, of all since the last time, in order of size."""
        taken = sorted(each / MILLISECOND for times in self.times for each in times)
        for times in self.times:
            times.clear()
        return taken

    def stop(self) -> list[int]:
        """Packets that each call lost."""
        self._going = False
        self._thread.join()
        lost = [caller.lost() for caller in self.callers]
        for caller in self.callers:
            caller.end.close()
        return lost


@contextmanager
def talking(server: Server, count: int) -> Iterator[Talkers]:
    """Stopped at the end, whatever comes."""
    talkers = Talkers(server, count)
    try:
        yield talkers
    finally:
        if talkers._going:
            talkers.stop()


def memory(pid: int) -> int:
    """Resident bytes."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def dropped(server: Server, reason: str) -> float:
    """How often any transceiver has dropped something for this reason."""
    lines = server.operator("/metrics").splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'"{reason}"' in line)


class Liar:
    """A call with a channel, whose own association has fallen silent: tests speak in its place."""

    def __init__(self, server: Server, seed: int) -> None:
        self.caller = UdpCaller(server.calls_url, seed=seed, data=True)
        self.caller.connect()
        client = self.caller.client
        stream_id = client.association.open_channel("lies")
        client.association.send(stream_id, b"honest once", False, client.now)
        assert self.caller.run(lambda: client.received.get(stream_id) == [b"honest once"], 5)
        self.caller.run(lambda: False, 0.3)
        client.own_sctp = False
        client.talking = False
        self.tag = client.association.peer_tag
        self.tsn = int(client.association.transmission.outstanding.next_tsn)
        self.theirs = int(client.association.reception.tracker.cumulative)

    def __enter__(self) -> "Liar":
        return self

    def __exit__(self, *_: object) -> None:
        self.caller.end.close()

    def say(self, *said: Any, tag: int | None = None) -> None:
        """One packet."""
        parts = [chunk if isinstance(chunk, bytes) else chunk.serialize() for chunk in said]
        packet = serialize_packet(PORT, PORT, self.tag if tag is None else tag, parts)
        self.caller.client.dtls.send(packet, time.monotonic_ns())
        self.caller.step(0)

    def flood(self, count: int, make: Callable[[int], tuple[Any, ...]], tag: int | None = None) -> None:
        """Many packets, no faster than a few thousand a second."""
        for number in range(count):
            self.say(*make(number), tag=tag)
            if number % 16 == 0:
                self.caller.step(0.002)

    def data(self, offset: int, payload: bytes = b"x", flags: int = FLAG_BEGIN | FLAG_END, stream: int = 1) -> Data:
        """DATA at a distance from the TSN that is next."""
        interleaved = bool(self.caller.client.association.reception.interleaved)
        return Data((self.tsn + offset) & 0xFFFFFFFF, stream, 0, 53, payload, flags, interleaved=interleaved)


# What is said, a thousand times over, and the reason that counts it.
LIES: dict[str, tuple[Callable[[Liar], None], str]] = {
    "wrong tags": (lambda liar: liar.flood(1000, lambda n: (liar.data(0),), tag=liar.tag ^ 0xFFFF), "tag-wrong"),
    "unknown chunks that want a report": (
        lambda liar: liar.flood(1000, lambda n: (Unknown(0xC0 | 0x2A, 0, bytes(1000)),)), "chunk-unknown",
    ),
    "duplicates": (lambda liar: liar.flood(1000, lambda n: (liar.data(-1),)), "tsn-duplicate"),
    "giant gaps": (lambda liar: liar.flood(1000, lambda n: (liar.data(1_000_000 + n * 1000),)), "tsn-far"),
    "every other TSN": (lambda liar: liar.flood(1000, lambda n: (liar.data(2 + 2 * n),)), "tsn-far"),
    "old acknowledgements": (
        lambda liar: liar.flood(1000, lambda n: (Sack((liar.theirs - 5) & 0xFFFFFFFF, 0),)), "sack-old",
    ),
    "forward of the past": (
        lambda liar: liar.flood(1000, lambda n: (ForwardTsn((liar.tsn - 9) & 0xFFFFFFFF, (), True),)), "forward-old",
    ),
    "noise": (lambda liar: liar.flood(1000, lambda n: (bytes([n % 256]) * 40,)), "sctp-chunk-length"),
}  # fmt: skip


@pytest.mark.system
def test_data_hostile_floods_are_counted_and_cost_other_calls_nothing() -> None:
    with running(transceivers=1) as server, talking(server, 3) as talkers, Liar(server, 50) as liar:
        pid = server.pids("transceiverd")["transceiver0"]
        before = memory(pid)
        for name, (lie, reason) in LIES.items():
            counted = dropped(server, reason)
            lie(liar)
            wait_for(lambda r=reason, c=counted: dropped(server, r) > c, f"{name}: {reason} is counted")  # type: ignore[misc]
        liar.flood(2000, lambda n: (make_init_chunk(n),), tag=0)  # INIT flood: answered from nothing, kept nowhere
        liar.flood(500, lambda n: (Heartbeat(bytes(1000)),))
        assert memory(pid) - before < GROWTH_MAX
        assert liar.caller.client.dtls.status.name == "ESTABLISHED"
        assert talkers.stop() == [0, 0, 0]


def make_init_chunk(number: int) -> bytes:
    """A valid INIT with a tag of its own."""
    return make_init(DataChannelConfig(), lambda size: (number + 1).to_bytes(4, "big") * (size // 4) or b"\1" * size)


@pytest.mark.system
def test_data_hostile_optimistic_acknowledgements_and_closed_windows_end_only_their_own_association() -> None:
    with running(transceivers=1) as server, talking(server, 3) as talkers, ExitStack() as stack:
        liar = stack.enter_context(Liar(server, 60))
        liar.say(Sack((liar.theirs + 1000) & 0xFFFFFFFF, 1 << 20))
        wait_for(lambda: dropped(server, "sack-optimistic") == 1, "counted")
        assert liar.caller.run(lambda: any(packet[12] == chunks.ABORT for packet in liar.caller.client.packets), 5)
        pid = server.pids("transceiverd")["transceiver0"]
        before = memory(pid)
        closed = [stack.enter_context(Liar(server, 70 + n)) for n in range(4)]
        for _ in range(40):  # whole messages that want an echo, and never a window to send it into
            for shut in closed:
                shut.say(Sack(shut.theirs & 0xFFFFFFFF, 0))
                for _ in range(30):
                    shut.say(shut.data(0, bytes(1000), stream=0))
                    shut.tsn += 1
            time.sleep(0.01)
        assert memory(pid) - before < GROWTH_MAX
        for shut in closed:
            shut.caller.run(lambda: False, 0.1)
            shut.caller.client.talking = True
            heard = len(shut.caller.client.heard)
            assert shut.caller.run(lambda shut=shut, heard=heard: len(shut.caller.client.heard) > heard + 20, 5)
        assert talkers.stop() == [0, 0, 0]


def bulk(url: str, seconds: float, done: Any) -> None:
    """Echo as much as goes through for some time; how many bytes came back, and what was lost of its own audio."""
    with UdpCaller(url, seed=90, data=True) as caller:
        caller.connect()
        client = caller.client
        stream_id = client.association.open_channel("bulk")
        end = time.monotonic() + seconds
        size = 0

        def push() -> bool:
            nonlocal size
            while client.association.send(stream_id, bytes(65_536), False, client.now):
                pass
            size += sum(len(data) for data in client.received.pop(stream_id, ()))
            return time.monotonic() > end

        while not push():
            caller.step(0.001)
        done.put(size)
        done.close()
        done.join_thread()


@pytest.mark.system
def test_data_bulk_transfer_of_one_call_does_not_delay_the_audio_of_others() -> None:
    context = multiprocessing.get_context("spawn")
    done = context.Queue()
    with running(transceivers=1) as server, talking(server, 4) as talkers:
        time.sleep(0.5)
        talkers.take_times()
        time.sleep(4)
        alone = talkers.take_times()
        process = context.Process(target=bulk, args=(server.calls_url, 6.0, done))
        process.start()
        time.sleep(2)  # it has connected
        talkers.take_times()
        time.sleep(4)
        beside = talkers.take_times()
        moved = done.get(timeout=20)
        process.join()
        process.close()
        done.close()
        lost = talkers.stop()
    print(f"bulk: {moved / 6 / 1e6:.2f} MB/s; round trips in ms, alone and beside it:", _spread(alone), _spread(beside))
    assert lost == [0] * 4
    assert moved > 1_000_000
    assert len(beside) > 500
    assert beside[len(beside) // 2] < alone[len(alone) // 2] + 10
    assert beside[len(beside) * 99 // 100] < 60  # a jitter buffer's worth, on a machine with two busy CPUs


def _spread(times: list[float]) -> str:
    return " ".join(f"p{part}={times[len(times) * part // 100]:.2f}" for part in (50, 90, 99))
