"""Two real processes hammer one ring, asleep and awake, alive and killed: every record is checked by its reader.

The harness (ring_harness.pyx) numbers and checksums each record. A consumer sleeps on its doorbell as in the product,
with the 20 ms alarm; an alarm that finds work waiting and then is not rung within seconds is a lost wake-up, and there
must be none. Kills are by SIGKILL at random moments; a successor takes over after its predecessor is reaped, as
DESIGN 2.8 demands.
"""

import random
import time
from typing import Any

import pytest

from shm.lane import HANDSHAKE_IN, MEDIA, Lane
from tests.shm.native_build import fault_harness
from tests.shm.processes import fork, kill, reap, reaped, shared_bytes, shared_words

ALIVE_MS_MAX = 6  # a victim lives so long at most: long enough for thousands of records


class Hammer:
    """One lane with its board; children are started with `producer` and `consumer`."""

    def __init__(self, lives: int, records_per_life: int) -> None:
        self.harness: Any = fault_harness()
        self.lane = Lane.create(0, 0, handshake_in=16384, media_in=1024, control_out=1024, media_out=1024)
        self.board = shared_words(self.harness.BOARD_WORDS)
        self.stride = records_per_life
        self.acted = shared_bytes((lives + 1) * records_per_life)
        self.bounds = shared_words(2 * (lives + 1))

    def producer(self, life: int) -> int:
        bounds = self.bounds[2 * life : 2 * life + 2]
        return fork(lambda: self.harness.produce(self.lane, HANDSHAKE_IN, MEDIA, life, self.stride, self.board, bounds))

    def consumer(self, at_most_once: bool) -> int:
        arguments = (self.lane, HANDSHAKE_IN, MEDIA, at_most_once, 32, self.board, self.acted, self.stride)
        return fork(lambda: self.harness.consume(*arguments))

    def stop(self) -> None:
        """The consumer ends when the ring is empty; the bell, so that it looks."""
        self.board[self.harness.BOARD["stop"]] = 1
        self.lane.doorbell(MEDIA).ring()

    def word(self, name: str) -> int:
        return int(self.board[self.harness.BOARD[name]])

    def ring(self) -> dict[str, int]:
        return self.lane.status()["handshake_in"]

    def acted_in(self, life: int) -> list[int]:
        """How often each record of `life` that may have been published was acted upon."""
        published_perhaps = min(self.bounds[2 * life + 1], self.stride)
        return list(self.acted[life * self.stride : life * self.stride + published_perhaps])

    def assert_whole(self) -> None:
        """What must hold whoever died: nothing torn or malformed, no half batch, no wake-up lost, the ring empty."""
        assert {name: self.word(name) for name in ("torn", "gaps", "halves", "lost_wakeups")} == {
            "torn": 0,
            "gaps": 0,
            "halves": 0,
            "lost_wakeups": 0,
        }
        assert self.ring()["malformed"] == 0
        assert self.lane.waiting(HANDSHAKE_IN) == 0


@pytest.mark.parametrize("at_most_once", [False, True])
def test_ring_hammered_by_two_processes(at_most_once: bool) -> None:
    hammer = Hammer(lives=1, records_per_life=60_000)
    running = [hammer.consumer(at_most_once), hammer.producer(1)]
    with reaped(running):
        assert reap(running.pop()) == 0
        hammer.stop()
        assert reap(running.pop()) == 0
    hammer.assert_whole()
    assert set(hammer.acted_in(1)) == {1}
    assert hammer.ring()["records_in"] == hammer.ring()["records_out"] == hammer.word("read") >= 60_000
    assert hammer.word("sleeps") > 0
    assert hammer.word("rings") > 0


def meet_sleepers(times: int) -> None:
    """The producer publishes just when the reader falls asleep, again and again, and rings once for each."""
    hammer = Hammer(lives=1, records_per_life=times)
    waiter = (hammer.lane, HANDSHAKE_IN, MEDIA, 1, hammer.stride, hammer.board)
    running = [hammer.consumer(at_most_once=False), fork(lambda: hammer.harness.produce_and_wait(*waiter))]
    with reaped(running):
        assert reap(running.pop()) == 0
        hammer.stop()
        assert reap(running.pop()) == 0
    hammer.assert_whole()
    assert hammer.word("read") == hammer.stride
    assert hammer.word("sleeps") > 100


def test_doorbell_loses_no_wakeup() -> None:
    meet_sleepers(40_000)


@pytest.mark.system
@pytest.mark.anytime
def test_doorbell_loses_no_wakeup_in_a_million() -> None:
    meet_sleepers(1_000_000)


def kill_producers(kills: int, seed: int) -> None:
    """One consumer, `kills` producers; each is killed at a random moment and its successor goes on."""
    hammer = Hammer(lives=kills + 1, records_per_life=20_000)
    chance = random.Random(seed)
    running = [hammer.consumer(at_most_once=True)]
    with reaped(running):
        for life in range(1, kills + 1):
            running.append(hammer.producer(life))
            time.sleep(chance.uniform(0, ALIVE_MS_MAX) / 1000)
            kill(running.pop())
        hammer.stop()
        assert reap(running.pop()) == 0
    hammer.assert_whole()
    assert hammer.ring()["lost"] == 0
    assert hammer.word("read") > kills
    for life in range(1, kills + 1):
        counts = hammer.acted_in(life)
        # A producer that was killed late had finished: its last batch reaches beyond what is counted.
        surely = min(hammer.bounds[2 * life], hammer.stride)
        seen = counts.count(1)
        assert counts == [1] * seen + [0] * (len(counts) - seen), "a prefix of what it wrote, each once"
        assert seen >= surely, "what was published is read"


def kill_consumers(kills: int, seed: int, at_most_once: bool) -> None:
    """One producer, many consumers; each is killed at a random moment, and its successor resumes by its ring's rule."""
    hammer = Hammer(lives=1, records_per_life=1_000 * kills)
    chance = random.Random(seed)
    running = [hammer.producer(1)]
    with reaped(running):
        for _ in range(kills):
            running.append(hammer.consumer(at_most_once))
            time.sleep(chance.uniform(0, ALIVE_MS_MAX) / 1000)
            kill(running.pop())
        running.append(hammer.consumer(at_most_once))
        assert reap(running.pop(0)) == 0
        hammer.stop()
        assert reap(running.pop()) == 0
    hammer.assert_whole()
    counts = hammer.acted_in(1)
    lost = hammer.ring()["lost"]
    if at_most_once:
        assert max(counts) <= 1, "nothing is acted upon twice"
        assert counts.count(0) <= lost <= 32 * kills, "at most the batch in hand, and booked"
    else:
        assert counts.count(0) <= lost, "nothing is lost but poison, and that is booked"


def test_ring_producers_killed_at_random() -> None:
    kill_producers(kills=150, seed=1)


@pytest.mark.parametrize("at_most_once", [False, True])
def test_ring_consumers_killed_at_random(at_most_once: bool) -> None:
    kill_consumers(kills=100, seed=2, at_most_once=at_most_once)


@pytest.mark.system
@pytest.mark.anytime
@pytest.mark.timeout(300)
def test_ring_killed_two_thousand_times() -> None:
    kill_producers(kills=1_000, seed=10)
    kill_consumers(kills=500, seed=20, at_most_once=True)
    kill_consumers(kills=500, seed=30, at_most_once=False)
