"""Types of transceiverd/media/engine.pyx."""

from collections.abc import Iterable, Sequence

from shm.counters import Counters
from shm.lane import Lane
from shm.segment import Segment
from transceiverd.media.channel import Channel

def nap_lengths(bound_ns: int, turns: Iterable[tuple[int, int]]) -> list[int]: ...

class MediaEngine:
    def __init__(
        self,
        sessions: Segment,
        lanes: Sequence[Lane],
        counters: Counters,
        channel: Channel,
        *,
        incarnation: int,
        ntp_offset_ns: int,
        seed: int,
        batch: int = 64,
        early_calls: int = 64,
        early_time_ns: int = 500_000_000,
        report_interval_ns: int = 5_000_000_000,
        coalesce_ns: int = 0,
        follow_worker: bool = False,
    ) -> None: ...
    def add_lane(self, lane: Lane) -> int: ...
    def turn(self, now: int) -> int: ...
    def run(self) -> None: ...
    def stop(self) -> None: ...
