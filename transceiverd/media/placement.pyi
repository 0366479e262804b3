"""Types of transceiverd/media/placement.pyx: the choice alone, for tests."""

from collections.abc import Sequence

def choose(home: int, lanes: Sequence[tuple[int, int]], asleep_ns: int, elapsed_ns: int) -> int: ...
