"""Python's search for cyclic garbage, kept out of the way of calls: when it looks, and at what.

Used by the transceivers and the signalling process at their start. What is there by then, modules and classes above
all, is never garbage and never looked at again. What comes later is looked at while it is young; the old is not gone
through whenever there is a quarter more of it, which while 10,000 calls are dialled is some twenty times, up to 0.4 s
each (bench/README.md), but by the clock: a call leaves no cycle (`tests/test_no_cycles.py`), so hardly anything is
found.
"""

import asyncio
import gc

YOUNG = 700  # objects that came and did not go again until they are looked at: Python's own measure
MIDDLE = 10  # of those looks until what outlived them is looked at too: likewise
NEVER = 1 << 30
FULL_SECONDS = 600.0  # a pause of 0.4 s at 10,000 calls, seldom; what garbage old cycles may be is an error of ours


def begin_collection() -> None:
    """From now on, on the running loop."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)
    asyncio.get_running_loop().call_later(FULL_SECONDS, _look_at_all)


def _look_at_all() -> None:
    gc.collect()
    asyncio.get_running_loop().call_later(FULL_SECONDS, _look_at_all)
