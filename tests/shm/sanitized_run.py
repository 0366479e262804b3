"""Runs a sanitized ring_harness; started by test_ring_sanitizers.py in a process with the sanitizer preloaded.

`python -m tests.shm.sanitized_run PATH hammer|scribble`. The sanitizer ends the process when it finds something.
Producer and consumer are threads here, without the GIL while they work, so that TSan sees both sides.
"""

import random
import sys
import threading
from pathlib import Path
from typing import Any

from shm.lane import MEDIA, MEDIA_OUT, Lane
from tests.shm.native_build import load

RECORDS = 20_000
CAPACITY = 4096


def new_lane() -> Lane:
    """The ring under test is the last thing in its segment, so that a step beyond it leaves the mapping."""
    return Lane.create(0, 0, handshake_in=1024, media_in=1024, control_out=1024, media_out=CAPACITY)


def hammer(harness: Any) -> None:
    """One producer, one consumer, the doorbell between them."""
    for at_most_once in (False, True):
        lane = new_lane()
        board = memoryview(bytearray(8 * harness.BOARD_WORDS)).cast("Q")
        bounds = memoryview(bytearray(16)).cast("Q")
        acted = bytearray(2 * RECORDS)
        consumer = threading.Thread(
            target=harness.consume, args=(lane, MEDIA_OUT, MEDIA, at_most_once, 32, board, acted, RECORDS)
        )
        consumer.start()
        harness.produce(lane, MEDIA_OUT, MEDIA, 1, RECORDS, board, bounds)
        board[harness.BOARD["stop"]] = 1
        lane.doorbell(MEDIA).ring()
        consumer.join()
        assert set(acted[RECORDS:]) == {1}
        assert [board[harness.BOARD[name]] for name in ("torn", "gaps", "halves", "lost_wakeups")] == [0, 0, 0, 0]


def scribble(harness: Any) -> None:
    """Random bytes in the ring and its header, read by fresh readers, then overwritten by fresh producers."""
    chance = random.Random(5)
    lane = new_lane()
    header = 512 + MEDIA_OUT * 384
    with memoryview(lane.segment) as memory:
        for _ in range(3_000):
            for _ in range(20):
                place = lane.segment.size - CAPACITY + 8 * chance.randrange(CAPACITY // 8)
                size = chance.choice([chance.getrandbits(32), chance.randrange(CAPACITY)])
                header_size = chance.choice([128, 128, 136, chance.getrandbits(16)])
                words = size.to_bytes(4, "little") + header_size.to_bytes(2, "little")
                memory[place : place + 8] = words + bytes([chance.randrange(3), 0])
            for offset in (128, 256, 264, 272):  # tail, head, taken, handling
                value = chance.choice([chance.getrandbits(64), 8 * chance.randrange(1024), chance.randrange(1024)])
                memory[header + offset : header + offset + 8] = value.to_bytes(8, "little")
            harness.read_anything(lane, MEDIA_OUT, bool(chance.randrange(2)), 64)
            harness.publish_batch(lane, MEDIA_OUT, 1, chance.randrange(100), 3)


if __name__ == "__main__":
    {"hammer": hammer, "scribble": scribble}[sys.argv[2]](load(Path(sys.argv[1])))
