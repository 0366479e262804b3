"""Contexts are caches: rebuilt from the struct at any moment, and no index is ever used twice (DESIGN 2.13)."""

import itertools
import random
import struct

import pytest

from tests.media import reference
from tests.media.world import CM_80, GCM_128, GCM_256, LOCAL_SSRC, MILLISECOND, RTCP, SECOND, Client, World
from transceiverd.media.port import Rebuilt, SrtpProven
from transceiverd.media.replay import ReplayWindow

ALL = [CM_80, GCM_128, GCM_256]
RTP_INDEX_NEXT = 4096 + 1152 + 8  # of slot 0: sessions, session.media, session_media.rtp_index_next


class Ledger:
    """Every (SSRC, index) that left, RTP and RTCP apart; each packet is shown to be sealed at exactly that index."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.window = ReplayWindow()
        self.used: set[tuple[bool, int, int]] = set()

    def rtp(self, data: bytes, plain: bytes) -> None:
        sequence, ssrc = struct.unpack(">H", data[2:4])[0], struct.unpack(">L", data[8:12])[0]
        index = self.window.estimate(sequence)
        keys = (self.client.profile, self.client.server_key, self.client.server_salt)
        assert reference.protect(*keys, plain, index) == data
        self._note(False, ssrc, index)
        assert self.window.check(index) == 0
        self.window.add(index)

    def rtcp(self, data: bytes) -> None:
        tag = 10 if self.client.profile == CM_80 else 0
        trailer = struct.unpack(">L", data[len(data) - tag - 4 : len(data) - tag])[0]
        self._note(True, struct.unpack(">L", data[4:8])[0], trailer & 0x7FFFFFFF)
        self.client.receiver.unprotect_rtcp(data)

    def _note(self, rtcp: bool, ssrc: int, index: int) -> None:
        assert (rtcp, ssrc, index) not in self.used
        self.used.add((rtcp, ssrc, index))


def rebuilt(world: World, slot: int) -> None:
    world.port.rebuild(slot)
    world.turn()
    assert Rebuilt(slot, world.sessions.record(slot).generation) in world.port.poll_events()


@pytest.mark.parametrize("profile", ALL)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rebuild_at_random_moments_never_uses_an_index_twice(profile: int, seed: int) -> None:
    dice = random.Random(seed)
    world, client = World(seed=seed), Client(profile, sequence=65_400)
    slot = world.call(client)
    # Close below the wrap, so that our own rollover counter moves too.
    struct.pack_into("<Q", memoryview(world.sessions.segment), RTP_INDEX_NEXT, 65_300)
    ledger, echoed, rebuilds, kept = Ledger(client), 0, 0, []
    for _ in range(800):
        if dice.random() < 0.02:
            client.ssrc, client.sequence = dice.choice([0x1000, 0x2000, 0x3000, client.ssrc]), client.sequence + 1
        if dice.random() < 0.03:
            client.sequence += dice.randrange(60)  # loss
        plain = client.plain(dice.randbytes(20))
        kept.append((plain, client.sender.protect(plain)))
        dice.shuffle(kept)
        while len(kept) > dice.randrange(1, 5):
            sent, data = kept.pop()
            for again in range(1 if dice.random() < 0.9 else 2):
                world.give(slot, data)
                world.turn(dice.randrange(20) * MILLISECOND)
                for out in (out for _, out in world.taken()):
                    if 192 <= out[1] <= 223:
                        ledger.rtcp(out)
                        continue
                    assert again == 0
                    ledger.rtp(out, out[:12] + sent[12:])  # our header, the client's payload
                    echoed += 1
        if dice.random() < 0.1:
            world.turn(dice.randrange(3) * SECOND)
            for out in world.reports():
                ledger.rtcp(out)
        if dice.random() < 0.1:
            rebuilt(world, slot)
            rebuilds += 1
    media = world.sessions.record(slot).media
    assert echoed > 700
    assert rebuilds > 50
    assert media.rtp_index_next > 65_536
    assert len([1 for rtcp, _, _ in ledger.used if rtcp]) > 10
    assert world.count("dropped_authentication") == world.count("dropped_protect") == 0
    assert world.adds_up()


@pytest.mark.parametrize("profile", ALL)
def test_rebuild_makes_no_gap(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    heard = []
    for _ in range(30):
        heard.append(client.heard(world.echo(slot, client.packet())[0]))
        rebuilt(world, slot)
    assert {b.sequence_number - a.sequence_number for a, b in itertools.pairwise(heard)} == {1}
    assert {b.timestamp - a.timestamp for a, b in itertools.pairwise(heard)} == {960}


@pytest.mark.parametrize("profile", ALL)
def test_rebuild_right_before_and_after_the_clients_wrap(profile: int) -> None:
    for ahead in (1, 2, 3):
        world, client = World(), Client(profile, sequence=65_534)
        slot = world.call(client)
        packets = [client.packet() for _ in range(6)]
        for place in (0, ahead, *(i for i in range(1, 6) if i != ahead)):  # reordering across the wrap
            assert len(world.echo(slot, packets[place])) == 1
            rebuilt(world, slot)
        for data in packets:  # the window came through, though libsrtp's was lost
            assert world.echo(slot, data) == []


@pytest.mark.parametrize("profile", ALL)
def test_rebuild_skips_only_the_margin_of_srtcp_indexes(profile: int) -> None:
    world, client = World(), Client(profile)
    slot = world.call(client)
    world.echo(slot, client.packet())
    ledger = Ledger(client)
    for _ in range(20):
        world.turn(8 * SECOND)
        (data,) = world.reports()
        ledger.rtcp(data)
        rebuilt(world, slot)
    assert max(index for _, _, index in ledger.used) == 20 + 2 * 19
    assert world.sessions.record(slot).media.rtcp_index_next == 20 + 2 * 19 + 1


def test_rebuild_is_made_anew_when_a_stream_was_taken_up_meanwhile() -> None:
    world, client = World(), Client(GCM_128)
    slot = world.call(client)
    world.echo(slot, client.packet())
    world.port.rebuild(slot)  # waits in the command ring; media hears a new SSRC first in the next turn's batch
    record = world.sessions.record(slot)
    stream = 4096 + 1152 + 256 + 128  # slot 0, second stream
    struct.pack_into("<LL", memoryview(world.sessions.segment), stream, 0x7777, 1)
    world.turn()
    events = [event for event in world.port.poll_events() if not isinstance(event, SrtpProven)]
    assert events == []  # refused, and sent again
    world.turn()
    assert world.port.poll_events() == [Rebuilt(slot, record.generation)]
    assert world.count("commands_refused") == 1


def test_rebuild_a_new_engine_goes_on_from_the_struct_of_a_dead_one() -> None:
    """What a successor of a dead transceiver will do: same segment, nothing else."""
    world, client = World(), Client(CM_80, sequence=65_530)
    slot = world.call(client)
    for _ in range(10):
        last = client.heard(world.echo(slot, client.packet())[0])
    world.turn(8 * SECOND)
    client.heard_rtcp(world.reports()[0])
    successor = World(seed=9)
    source, target = memoryview(world.sessions.segment), memoryview(successor.sessions.segment)
    target[4096 : 4096 + 16384] = source[4096 : 4096 + 16384]
    successor.now = world.now
    successor.port.install(slot)
    successor.turn()
    back = client.heard(successor.echo(slot, client.packet())[0])
    assert (back.ssrc, back.sequence_number) == (LOCAL_SSRC, (last.sequence_number + 1) & 0xFFFF)
    successor.turn(8 * SECOND)
    assert len(client.heard_rtcp(successor.reports()[0])) == 2
    successor.give(slot, client.rtcp(bytes.fromhex("80c9000100001000")), kind=RTCP)
    successor.turn()
    assert successor.count("rtcp_processed") == 1
