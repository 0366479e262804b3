from collections.abc import Mapping
from typing import Protocol

from shm.ring import Record, RingConsumer, RingProducer
from shm.session import SessionRecord
from transceiverd.ice.agent import LiteAgent

class Ownership(Protocol):
    slot: int
    generation: int
    incarnation: int
    origin: int

class ConsentSubject:
    waiting: int
    """Checks of the call that were handed out by `read` and not yet given to its agent."""
    def __init__(self, owner: Ownership, store: SessionRecord, agent: LiteAgent) -> None:
        """Only for an agent whose `credentials` are known."""

class ConsentReader:
    taken: int
    """Records that the last `read` took from the ring."""
    answered: int
    """Those of them that were consent checks and are answered."""
    def __init__(self, consumer: RingConsumer, producer: RingProducer, worker: int) -> None: ...
    def read(self, most: int, now: int, calls: Mapping[int, object]) -> list[Record]:
        """Take at most `most` records (256 in any case) and give those that were not answered. `calls` is a dict by
        slot of objects with `subject`, `closing` and `worker`. The caller publishes and releases."""
