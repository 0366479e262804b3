"""A media process killed between any two instructions: its successor, which has the struct alone, lets no packet in
twice, loses none that is newer, and uses no index of ours twice (DESIGN 2.6, 2.13; RFC 3711 3.3.2).

The states are those that the compiled engine really leaves behind, found by running it one instruction at a time.
"""

import struct
from collections.abc import Callable, Iterator

import pytest
from aiortc import rtp as aiortc_rtp

from shm import layout
from tests.media.stepper import states_of
from tests.media.world import GCM_128, LOCAL_SSRC, RTCP, SECOND, Client, World
from transceiverd.media.replay import ReplayWindow

STRUCT_BYTES = 4096
NEAR_OUR_WRAP = 65_533  # our index that the call begins with
OUT_TAIL = 1664 + 128  # layout.h: the fourth ring's producer words
SENDER_REPORT = bytes.fromhex("80c80006000010000000000000000000000000000000000000000000")
Steps = Callable[[Client], bytes]


def _forward(steps: int) -> Steps:
    """The next packet but `steps` - 1."""

    def packet(client: Client) -> bytes:
        client.sequence += steps - 1
        return client.packet()

    return packet


def _late(client: Client) -> bytes:
    """One from before the newest, which has not come yet."""
    newest, client.sequence = client.sequence, client.sequence - 4
    late = client.packet()
    client.sequence = newest
    return late


def _other_source(client: Client) -> bytes:
    """The client goes on with another SSRC."""
    client.ssrc = 0x2000
    return client.packet()


WORK: dict[str, Steps] = {
    "next": _forward(1),
    "gap of 40": _forward(40),
    "gap of 70": _forward(70),
    "gap of 200": _forward(200),
    "late": _late,
    "another SSRC": _other_source,
}


class Indexes:
    """Those of ours that have left, RTP and RTCP apart: none leaves twice."""

    def __init__(self, *left: bytes) -> None:
        self.rtp = ReplayWindow()
        self.rtcp: set[int] = set()
        for packet in left:
            self.note(packet)

    def note(self, packet: bytes) -> None:
        if aiortc_rtp.is_rtcp(packet):
            (trailer,) = struct.unpack(">L", packet[-4:])  # AEAD: the index is last (RFC 7714 9.2)
            assert trailer not in self.rtcp, "an SRTCP index of ours is used twice"
            self.rtcp.add(trailer)
            return
        sequence, ssrc = struct.unpack(">H4xL", packet[2:12])
        index = self.rtp.estimate(sequence)
        assert ssrc == LOCAL_SSRC
        assert self.rtp.check(index) == 0, "an index of ours is used twice"
        self.rtp.add(index)


class Story:
    """A call up to the turn in which the process dies: what it took in, and what of ours has left."""

    def __init__(self, sequence: int) -> None:
        self.world, self.client = World(slots=1, ring=1 << 16), Client(GCM_128, sequence=sequence)
        self.slot = self.world.call(self.client)
        memory = memoryview(self.world.sessions.segment)
        self.session = memory[layout.SESSIONS_OFFSET : layout.SESSIONS_OFFSET + STRUCT_BYTES]
        self.out_tail = memoryview(self.world.lanes[0].segment)[OUT_TAIL : OUT_TAIL + 8]
        struct.pack_into("<Q", self.session, layout.offset("session", "media.rtp_index_next"), NEAR_OUR_WRAP)
        self.taken_in: list[bytes] = []
        self.left: list[bytes] = []
        for step in (1, 1, 1, 3, 1, 5):  # two gaps, into which a late packet may fall
            self.client.sequence += step - 1
            self.taken_in.append(self.client.packet())
            self.left += self.world.echo(self.slot, self.taken_in[-1])

    def deaths(self) -> Iterator[tuple[bool, World, Indexes]]:
        """The turn that is due, killed anywhere: whether its packet had left, a successor, and what had left."""
        before = bytes(self.out_tail)
        states = states_of(lambda: self.world.engine.turn(self.world.now), [self.session, self.out_tail])
        last = [data for _, data in self.world.taken()]
        assert len(last) == 1
        assert len({state for state, _ in states}) >= 3, "the engine worked"
        assert states[-1][1] != before, "the packet left in the end"
        for state, tail in states:
            gone = tail != before
            yield gone, self._successor(state), Indexes(*self.left, *(last if gone else []))

    def _successor(self, state: bytes) -> World:
        """Another process with this struct, and nothing else of the dead one's."""
        world = World(slots=1, ring=1 << 16, seed=9)
        world.sessions.allocate(self.world.now)
        memoryview(world.sessions.segment)[layout.SESSIONS_OFFSET : layout.SESSIONS_OFFSET + STRUCT_BYTES] = state
        world.now = self.world.now
        world.port.install(self.slot)
        world.turn()
        return world


@pytest.mark.parametrize("sequence", [100, 65_520], ids=["", "at the wrap"])
@pytest.mark.parametrize("work", WORK.values(), ids=WORK.keys())
def test_media_killed_anywhere_takes_nothing_twice_and_loses_nothing_newer(work: Steps, sequence: int) -> None:
    story = Story(sequence)
    victim = work(story.client)
    newer = [story.client.packet() for _ in range(3)]
    story.world.give(story.slot, victim)
    for gone, successor, indexes in story.deaths():
        for packet in story.taken_in:
            assert successor.echo(story.slot, packet) == [], "taken in twice"
        again = successor.echo(story.slot, victim)
        assert not (gone and again), "echoed twice"
        for packet in newer:
            again += successor.echo(story.slot, packet)
        assert len(again) >= len(newer), "a newer packet is lost"
        for packet in again:
            indexes.note(packet)
        assert successor.count("dropped_authentication") == successor.count("dropped_protect") == 0


def test_media_killed_anywhere_in_a_report_uses_no_srtcp_index_twice() -> None:
    story = Story(100)
    story.world.now += 8 * SECOND
    for _gone, successor, indexes in story.deaths():
        for packet in story.taken_in:
            assert successor.echo(story.slot, packet) == []
        successor.turn(8 * SECOND)
        (report,) = successor.reports()
        indexes.note(report)


def test_media_killed_anywhere_over_a_report_takes_none_in_twice() -> None:
    """The client's SRTCP has a window of its own; its successor may say nothing of it to us, so it is asked."""
    story = Story(100)
    seen = story.client.rtcp(SENDER_REPORT)
    story.world.give(story.slot, seen, kind=RTCP)
    story.world.turn()
    victim, newer = story.client.rtcp(SENDER_REPORT), story.client.rtcp(SENDER_REPORT)
    story.world.give(story.slot, victim, kind=RTCP)
    story.world.give(story.slot, story.client.packet())  # whose echo shows that the turn came to its end
    for gone, successor, _indexes in story.deaths():
        for packet in (seen, *[victim] * gone, newer, newer):
            successor.give(story.slot, packet, kind=RTCP)
        successor.turn()
        counts = (successor.count("rtcp_processed"), successor.count("dropped_replayed"))
        assert counts == (1, 3 if gone else 2)
