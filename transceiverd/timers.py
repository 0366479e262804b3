"""One timer structure for everything a transceiver's control thread waits for.

Owned by the transceiver process, fed from `Session.next_timeout()`. A binary heap with lazy deletion: moving a
session's deadline later, which every consent check does, costs nothing until the old deadline comes up; then the
entry is put back where it belongs. No clock in here: the owner passes `now`.
"""

import heapq
from collections.abc import Hashable, Iterator

HEAP_SLACK = 64  # overtaken entries that are not worth a rebuild


class Deadlines:
    """The next deadline of each of many keys, in nanoseconds.

    `set` and `clear` are O(1) when a deadline moves later, O(log n) when it moves earlier.
    """

    def __init__(self) -> None:
        self._wanted: dict[Hashable, int] = {}
        self._heap: list[tuple[int, int, Hashable]] = []
        self._queued: dict[Hashable, int] = {}
        self._order = 0

    def __len__(self) -> int:
        return len(self._wanted)

    def set(self, key: Hashable, deadline: int | None) -> None:
        """Make `deadline` the only one of `key`; `None` takes it away."""
        if deadline is None:
            self._wanted.pop(key, None)
            return
        self._wanted[key] = deadline
        queued = self._queued.get(key)
        if queued is None or deadline < queued:
            self._push(key, deadline)

    def next(self) -> int | None:
        """The earliest deadline of all, or `None`."""
        while self._heap:
            at, _, key = self._heap[0]
            wanted = self._wanted.get(key)
            if wanted == at and self._queued.get(key) == at:
                return at
            self._pop_stale(key, at, wanted)
        return None

    def due(self, now: int) -> Iterator[Hashable]:
        """Take out and yield each key whose deadline is not after `now`; one set again waits for the next call."""
        if not self._heap or self._heap[0][0] > now:  # it may be overtaken, but only by a later one
            return
        keys = []
        while (at := self.next()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._queued[key], self._wanted[key]
            keys.append(key)
        yield from keys

    def _push(self, key: Hashable, at: int) -> None:
        self._order += 1
        self._queued[key] = at
        heapq.heappush(self._heap, (at, self._order, key))
        if len(self._heap) > 2 * len(self._queued) + HEAP_SLACK:
            self._heap = [(when, n, each) for when, n, each in self._heap if self._queued.get(each) == when]
            heapq.heapify(self._heap)

    def _pop_stale(self, key: Hashable, at: int, wanted: int | None) -> None:
        heapq.heappop(self._heap)
        if self._queued.get(key) != at:
            return  # an earlier entry of this key is in the heap; this one was overtaken
        del self._queued[key]
        if wanted is not None:
            self._push(key, wanted)
