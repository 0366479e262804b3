"""kill -9 of a worker before every single store of a publish or a withdraw.

After each kill every entry is absent or whole, a successor repairs what was left half done, applies the record again
(control records are handled at least once), and ends where a worker ends that nobody killed; once more changes nothing.
"""

import os
from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, NamedTuple

import pytest

from shm.flow_types import Flow
from shm.flowkey import TRANSPORT_UDP, FlowKey
from shm.flows import FlowTable
from shm.layout import ADDRESS_CHECKED, ADDRESS_PROVEN, FLAG_CONTENDED
from tests.shm.faultbuild import fault_module, killed_at

NOW = 10**12
CHECKED, PROVEN = ADDRESS_CHECKED, ADDRESS_PROVEN
KEYS = [FlowKey(TRANSPORT_UDP, IPv4Address("192.0.2.1"), p, IPv4Address("127.0.0.1"), 3478).pack() for p in range(9)]
A, B, C = 0x70001, 0x70002, 0x70003  # origins; each call lives in the transceiver of its last digit
INCARNATIONS = {1: 101, 2: 102, 3: 103}

Step = tuple[Any, ...]


class Publish(NamedTuple):
    """A publish record: call, key, address state; `flags`, `incarnation` and `transceiver` where they matter."""

    call: int
    key: bytes
    state: int
    flags: int = 0
    transceiver: int = 0
    now: int = NOW

    def apply(self, table: FlowTable) -> None:
        transceiver = self.transceiver or self.call & 0xF
        table.publish(
            self.key,
            self.call,
            INCARNATIONS[transceiver],
            slot=self.call & 0xF,
            generation=9,
            transceiver=transceiver,
            state=self.state,
            now=self.now,
            flags=self.flags,
        )


class Withdraw(NamedTuple):
    call: int
    key: bytes

    def apply(self, table: FlowTable) -> None:
        table.withdraw(self.key, self.call, INCARNATIONS[self.call & 0xF])


class Dies(NamedTuple):
    """A transceiver is gone: what it owns counts as absent."""

    transceiver: int

    def apply(self, table: FlowTable) -> None:
        table.set_incarnation(self.transceiver, 0)


K = KEYS[0]
BYSTANDERS = [Publish(C, key, CHECKED) for key in KEYS[1:4]]
FULL = [Publish(C, key, CHECKED) for key in KEYS[1:8]]
DISPUTE = [*BYSTANDERS, Publish(A, K, PROVEN), Publish(B, K, CHECKED)]
FRESH_DISPUTE = [*BYSTANDERS, Publish(A, K, CHECKED), Publish(B, K, CHECKED)]

SCENARIOS: dict[str, tuple[list[Any], Any]] = {
    "publish-new": (BYSTANDERS, Publish(A, K, CHECKED)),
    "publish-state-raised": ([*BYSTANDERS, Publish(A, K, CHECKED)], Publish(A, K, PROVEN)),
    "publish-becomes-contender": ([*BYSTANDERS, Publish(A, K, PROVEN)], Publish(B, K, CHECKED)),
    "publish-contender-wins": (DISPUTE, Publish(B, K, PROVEN)),
    "publish-third-wins-by-evidence": (DISPUTE, Publish(C, K, PROVEN, FLAG_CONTENDED)),
    "publish-third-refused": (DISPUTE, Publish(C, K, CHECKED)),
    "publish-owner-drops-contender": (FRESH_DISPUTE, Publish(A, K, PROVEN)),
    "publish-owner-checks-again": (FRESH_DISPUTE, Publish(A, K, CHECKED, now=NOW + 5)),
    "publish-owner-moved": (DISPUTE, Publish(A, K, CHECKED, transceiver=3)),
    "publish-contender-moved": (DISPUTE, Publish(B, K, CHECKED, transceiver=3)),
    "publish-contender-moved-and-wins": (DISPUTE, Publish(B, K, PROVEN, transceiver=3)),
    "publish-replaces-dead": ([*BYSTANDERS, Publish(A, K, PROVEN), Dies(1)], Publish(B, K, CHECKED)),
    "publish-against-dead-with-contender": ([*DISPUTE, Dies(1)], Publish(C, K, CHECKED)),
    "publish-dead-contender-replaced": ([*DISPUTE, Dies(2)], Publish(C, K, CHECKED)),
    "publish-takes-place-of-dead": ([*FULL, Publish(A, K, PROVEN), Dies(1)], Publish(C, KEYS[8], CHECKED)),
    "publish-refused-full": ([*FULL, Publish(A, K, PROVEN)], Publish(C, KEYS[8], CHECKED)),
    "withdraw-owner": ([*BYSTANDERS, Publish(A, K, PROVEN)], Withdraw(A, K)),
    "withdraw-contender": (DISPUTE, Withdraw(B, K)),
    "withdraw-owner-with-contender": (DISPUTE, Withdraw(A, K)),
}


class Run:
    """A table brought to where the scenario starts, and what it must come to."""

    def __init__(self, steps: list[Any]) -> None:
        self.table = FlowTable.create(8)
        self.dead = [step.transceiver for step in steps if isinstance(step, Dies)]
        self.judge(self.table)
        for step in steps:
            step.apply(self.table)

    def judge(self, table: Any) -> Any:
        for transceiver, incarnation in INCARNATIONS.items():
            table.set_incarnation(transceiver, incarnation)
        return table

    def again(self, writer: Any = FlowTable) -> Any:
        """Another worker's view of the same table, after the same deaths."""
        table = self.judge(writer.attach(os.dup(self.table.fd), writer=True))
        for transceiver in self.dead:
            table.set_incarnation(transceiver, 0)
        return table


def meaning(flows: list[Flow]) -> dict[bytes, Flow]:
    """Without what may differ between two correct runs: the numbers of the generations."""
    return {flow.key: flow._replace(flow_generation=0) for flow in flows}


def assert_whole(before: dict[bytes, Flow], after: dict[bytes, Flow], seen: dict[bytes, Flow]) -> None:
    """Each entry is one that a reader may see between two stores: absent, or of owners and contenders that were asked
    for, and what the record does not name is as it was."""
    holders = {
        key: {
            flow.owner._replace(state=0)
            if place == "owner"
            else flow.contender and flow.contender._replace(state=0, since_ns=0)
            for flow in (*filter(None, (before.get(key), after.get(key))),)
            for place in ("owner", "contender")
        }
        for key in before.keys() | after.keys()
    }
    for key, flow in seen.items():
        named = {holder and holder._replace(state=0, since_ns=0) for holder in holders[key]}
        assert flow.owner._replace(state=0, since_ns=0) in named
        assert flow.contender is None or flow.contender._replace(state=0, since_ns=0) in named
    for key in before.keys() & after.keys():
        if before[key] == after[key]:
            assert seen[key] == before[key]


def each_kill(steps: list[Any], work: Callable[[Run], Callable[[], object]]) -> list[Run]:
    """A run killed at the first store, at the second, ... and the last one, which survived."""
    runs = []
    for store in range(1, 200):
        run = Run(steps)
        runs.append(run)
        if not killed_at(store, work(run)):
            return runs
    raise AssertionError("no end")


@pytest.mark.parametrize("name", SCENARIOS)
def test_flows_writer_killed_at_every_store(name: str) -> None:
    steps, record = SCENARIOS[name]
    deadly = fault_module("flows").FlowTable
    start, unharmed = Run(steps), Run(steps)
    before = meaning(start.table.items())
    record.apply(unharmed.table)
    after = meaning(unharmed.table.items())

    def work(run: Run) -> Callable[[], object]:
        table = run.again(deadly)
        return lambda: record.apply(table)

    runs = each_kill(steps, work)
    for run in runs:
        assert_whole(before, after, meaning(run.table.items()))
        successor = run.again()
        repaired = meaning(successor.items())
        assert_whole(before, after, repaired)
        if isinstance(record, Withdraw) and K in after:
            assert K in repaired, "the contender of a withdrawn owner is not lost, even if the record were"
        for _ in range(2):
            record.apply(successor)
            assert meaning(successor.items()) == after
            assert successor.occupied == len(after)
    assert meaning(runs[-1].table.items()) == after, "the run that nobody killed"


def test_flows_successor_killed_at_every_store() -> None:
    """The successor dies too, in its repair of an interrupted promotion; the next one still finds the contender."""
    steps, record = SCENARIOS["withdraw-owner-with-contender"]
    deadly = fault_module("flows").FlowTable
    deaths = 0
    for first in range(1, 20):
        for second in range(1, 40):
            run = Run(steps)
            table = run.again(deadly)
            if not killed_at(first, lambda table=table: record.apply(table)):
                assert deaths > 10
                return
            died = killed_at(second, lambda run=run: run.again(deadly))
            flow = run.again().lookup(K)
            assert flow is not None
            assert flow.contender is None or flow.owner.origin == A
            assert flow.owner.origin in (A, B)
            if not died:
                break
            deaths += 1
    raise AssertionError("no end")
