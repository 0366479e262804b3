"""A ring against a plain model: two lists and arithmetic. Hypothesis writes, publishes, reads, releases and kills.

The model knows what README.md promises: order, whole batches, the exact moment a ring is full, padding at its end, what
a successor sees again (at least once) or never again (at most once), and that a record in work at two deaths is
skipped.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shm.lane import CONTROL_OUT, Lane
from shm.ring import RingConsumer, RingProducer

HEADER = 128  # bytes of struct record


class RingMachine(RuleBasedStateMachine):
    """`written` is not yet published; `waiting` is published and not released, of which `read` were given out."""

    @initialize(capacity=st.sampled_from([1024, 2048, 4096]), at_most_once=st.booleans())
    def make(self, capacity: int, at_most_once: bool) -> None:
        self.capacity, self.at_most_once = capacity, at_most_once
        self.lane = Lane.create(0, 0, handshake_in=1024, media_in=1024, control_out=capacity, media_out=1024)
        self.producer = RingProducer(self.lane.segment, CONTROL_OUT)
        self.consumer = RingConsumer(self.lane.segment, CONTROL_OUT, at_most_once)
        self.position = 0  # where the next record would start
        self.published = 0  # position up to which all is published
        self.released = 0  # position up to which all is released
        self.written: list[tuple[int, bytes]] = []
        self.waiting: list[tuple[int, bytes]] = []  # (position behind the record, payload)
        self.read = 0
        self.serial = self.lost = self.full = 0
        self.handling = self.attempts = 0  # serial of the record in work, and the deaths before its last try
        self.retry = 0

    @rule(size=st.one_of(st.sampled_from([0, 4, 124, 125, 380]), st.integers(0, 2100)), slot=st.integers(0, 2**32 - 1))
    def write(self, size: int, slot: int) -> None:
        payload = (self.serial + 1).to_bytes(4, "big") + bytes(size)
        need = -(-(HEADER + len(payload)) // 8) * 8
        room = self.capacity - self.position % self.capacity
        start = self.position + (room if need > room else 0)
        fits = need <= self.capacity // 2 and start + need - self.released <= self.capacity
        if len(payload) <= self.capacity:
            assert self.producer.write(4, bytes(48), payload, slot=slot) == fits
            self.full += not fits
        if fits:
            self.serial += 1
            self.position = start + need
            self.written.append((self.position, payload))

    @rule()
    def publish(self) -> None:
        self.producer.publish()
        self.waiting += self.written
        self.written = []
        self.published = self.position

    @rule(most=st.integers(0, 5))
    def take_up(self, most: int) -> None:
        expected = []
        while len(expected) < most and self.read < len(self.waiting):
            behind, payload = self.waiting[self.read]
            if self.tried(int.from_bytes(payload[:4], "big")):
                expected.append(payload)
                self.read += 1
            elif self.read:
                break  # the batch ends before poison, so that skipping it is for good
            else:
                self.lost += 1
                self.released = behind
                del self.waiting[0]
        assert [record.payload for record in self.consumer.read(most)] == expected

    def tried(self, serial: int) -> bool:
        """Whether an at-least-once reader hands this record out; at most once always does."""
        if self.at_most_once:
            return True
        if serial == self.retry:
            if self.attempts == 1:
                return False
            self.retry = 0
            self.attempts += 1
        if serial > self.handling:
            self.handling, self.attempts = serial, 0
        return True

    @rule()
    def release(self) -> None:
        self.consumer.release()
        if self.read:
            self.released = self.waiting[self.read - 1][0]
            del self.waiting[: self.read]
            self.read = 0

    @rule()
    def replace_producer(self) -> None:
        self.producer = RingProducer(self.lane.segment, CONTROL_OUT)
        self.written = []
        self.position = self.published

    @rule()
    def replace_consumer(self) -> None:
        self.consumer = RingConsumer(self.lane.segment, CONTROL_OUT, self.at_most_once)
        if self.at_most_once:
            self.lost += self.read
            if self.read:
                self.released = self.waiting[self.read - 1][0]
            del self.waiting[: self.read]
        else:
            in_work = [int.from_bytes(payload[:4], "big") for _, payload in self.waiting]
            self.retry = self.handling if self.handling in in_work else 0
        self.read = 0

    @invariant()
    def header_agrees(self) -> None:
        if not hasattr(self, "lane"):
            return
        ring = self.lane.status()["control_out"]
        assert ring["tail"] == self.published
        assert ring["full"] == self.full
        assert ring["lost"] == self.lost
        assert ring["malformed"] == 0
        assert self.consumer.pending() == 0 or self.waiting

    def teardown(self) -> None:
        if hasattr(self, "lane"):
            self.lane.close()


RingMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
test_ring_agrees_with_a_plain_model = RingMachine.TestCase
