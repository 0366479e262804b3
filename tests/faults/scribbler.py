"""A process that scribbles over shared segments: `python -m tests.faults.scribbler PID SECONDS WORD...`

It opens every memory file of process PID whose name holds one of the words, through /proc, as a peer has it mapped, and
writes random words at random places, most of them where indexes and record headers are, until time is over. Of lanes
and counters everything is written but the header that says what a segment is, which nobody reads after the attach
(test_scribble.py writes over that at once, and has everybody attach anew).
"""

import mmap
import os
import random
import struct
import sys
import time
from pathlib import Path

LANE_RINGS = (512, 896, 1280, 1664)  # layout.h: where the ring headers of a lane are
RING_WORDS = (128, 136, 144, 256, 264, 272, 280)  # tail ... head, taken, handling, attempts
DATA = 4096
NEARLY = (0, 1, 8, 127, 128, 129, 1 << 16, 1 << 18, 1 << 20, (1 << 32) - 1, (1 << 63), (1 << 64) - 1)
BURST = 200


def opened(pid: int, words: list[str]) -> list[mmap.mmap]:
    """Each file once, writable."""
    found: dict[int, mmap.mmap] = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        name = os.readlink(entry)
        if "memfd:" in name and any(word in name for word in words):
            fd = os.open(entry, os.O_RDWR)
            size, number = os.fstat(fd).st_size, os.fstat(fd).st_ino
            found[number] = mmap.mmap(fd, size)
            os.close(fd)
    return list(found.values())


def scribble(memory: mmap.mmap, source: random.Random, is_lane: bool) -> None:
    """One word somewhere."""
    value = source.choice(NEARLY) if source.random() < 0.5 else source.getrandbits(64)
    if is_lane and source.random() < 0.5:
        at = source.choice(LANE_RINGS) + source.choice(RING_WORDS)
    else:
        at = source.randrange(128 if is_lane or len(memory) <= 2 * DATA else DATA, len(memory) - 8) & ~7
    struct.pack_into("<Q", memory, at, value)


def main() -> None:
    """See above."""
    pid, seconds, words = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    memories = opened(pid, words)
    print(len(memories), flush=True)
    source = random.Random(1)
    until = time.monotonic() + seconds
    lanes = ["lane" in word for word in words]
    while time.monotonic() < until:
        for _ in range(BURST):
            scribble(source.choice(memories), source, any(lanes))
        time.sleep(0.001)


if __name__ == "__main__":
    main()
