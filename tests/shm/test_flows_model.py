"""The flow table against a dict: any order of publishes, withdraws, deaths, moves, time, with a fake clock."""

from ipaddress import IPv4Address
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shm.flow_types import FlowOutcome, FlowOwner
from shm.flowkey import TRANSPORT_UDP, FlowKey
from shm.flows import FlowTable
from shm.layout import ADDRESS_CHECKED, ADDRESS_PROVEN, FLAG_CONTENDED, origin
from tests.shm.flow_model import FlowModel

PLACES = 8  # one bucket, so that it is full at times
TRANSCEIVERS = 3

keys = st.sampled_from(
    [
        FlowKey(TRANSPORT_UDP, IPv4Address(f"192.0.2.{i}"), 5000 + i, IPv4Address("127.0.0.1"), 3478).pack()
        for i in range(PLACES + 3)
    ]
)
few_keys = st.sampled_from(
    [
        FlowKey(TRANSPORT_UDP, IPv4Address("198.51.100.1"), port, IPv4Address("127.0.0.1"), 3478).pack()
        for port in (1, 2)
    ]
)
any_key = few_keys | keys
calls = st.integers(0, 4)
transceivers = st.integers(0, TRANSCEIVERS - 1)
states = st.sampled_from([ADDRESS_CHECKED, ADDRESS_PROVEN])
flags = st.sampled_from([0, FLAG_CONTENDED])

PUBLISH, PUBLISH_AND_SEND = 16, 18  # enum ringline_record_type


class FlowMachine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.table = FlowTable.create(PLACES)
        assert self.table.capacity == PLACES
        self.model = FlowModel(PLACES)
        self.now = 10**12
        self.next_incarnation = 100
        self.generations_seen: dict[int, tuple[Any, ...]] = {}
        # Where each call lives; a call may be asked to publish under an incarnation that is no longer current.
        self.home = {call: (call % TRANSCEIVERS, 0) for call in range(5)}
        for transceiver in range(TRANSCEIVERS):
            self.restart(transceiver)
        for call in range(5):
            self.move(call, call % TRANSCEIVERS)

    @rule(transceiver=transceivers)
    def restart(self, transceiver: int) -> None:
        self.next_incarnation += 1
        self.set_incarnation(transceiver, self.next_incarnation)

    @rule(transceiver=transceivers)
    def detach(self, transceiver: int) -> None:
        self.set_incarnation(transceiver, 0)

    def set_incarnation(self, transceiver: int, incarnation: int) -> None:
        self.table.set_incarnation(transceiver, incarnation)
        self.model.current[transceiver] = incarnation

    @rule(call=calls, transceiver=transceivers)
    def move(self, call: int, transceiver: int) -> None:
        self.home[call] = (transceiver, self.model.current[transceiver])

    @rule(seconds=st.sampled_from([0, 1, 5, 9, 10, 11]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 10**9

    @rule(key=any_key, call=calls, state=states, flags=flags, kind=st.sampled_from([PUBLISH, PUBLISH_AND_SEND]))
    def publish(self, key: bytes, call: int, state: int, flags: int, kind: int) -> None:
        transceiver, incarnation = self.home[call]
        claim = FlowOwner(origin(7, 1, call, 3), incarnation, call, 3, transceiver, state, self.now)
        expected = self.model.publish(key, claim, flags, check=kind == PUBLISH_AND_SEND)
        for again in range(2):
            found = self.table.publish(
                key,
                claim.origin,
                incarnation,
                slot=call,
                generation=3,
                transceiver=transceiver,
                state=state,
                now=self.now,
                flags=flags,
                kind=kind,
            )
            assert again or found is expected
            self.agrees()  # also after the second time: applying twice is harmless

    @rule(key=any_key, call=calls)
    def withdraw(self, key: bytes, call: int) -> None:
        _, incarnation = self.home[call]
        expected = self.model.withdraw(key, origin(7, 1, call, 3), incarnation)
        assert self.table.withdraw(key, origin(7, 1, call, 3), incarnation) is expected
        assert self.table.withdraw(key, origin(7, 1, call, 3), incarnation) is False or not expected

    @rule(key=any_key)
    def look_up(self, key: bytes) -> None:
        flow = self.table.lookup(key)
        assert (flow is None) == (key not in self.model.entries)

    @rule()
    def successor_takes_over(self) -> None:
        """Recovery of a table that nobody died in changes nothing."""
        import os

        before = self.table.items()
        successor = FlowTable.attach(os.dup(self.table.fd), writer=True)
        assert successor.items() == before
        for transceiver, incarnation in self.model.current.items():
            successor.set_incarnation(transceiver, incarnation)
        self.table = successor

    @invariant()
    def agrees(self) -> None:
        flows = {flow.key: flow for flow in self.table.items()}
        assert {key: (e.place, e.owner, e.contender) for key, e in self.model.entries.items()} == {
            key: (flow.flow_index, flow.owner, flow.contender) for key, flow in flows.items()
        }
        assert self.table.occupied == len(flows)
        for key in flows:
            assert self.table.route(key, self.now) == self.model.route(key, self.now)
            assert self.table.handshakers(key, self.now) == self.model.handshakers(key, self.now)

    @invariant()
    def generation_names_one_holder(self) -> None:
        """A flow generation is never given to another key, owner or contender."""
        for flow in self.table.items():
            contender = flow.contender and flow.contender._replace(state=0)
            named = (flow.key, flow.owner._replace(state=0, since_ns=0))
            assert self.generations_seen.setdefault(flow.flow_generation, named) == named
            assert flow.flow_generation <= self.table.generation
            assert contender is None or contender.origin != flow.owner.origin


TestFlowsModel = FlowMachine.TestCase
TestFlowsModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_flows_outcome_order_says_what_took_effect() -> None:
    """flow_took_effect in flows.pxd is a comparison."""
    took_effect = [outcome.name for outcome in FlowOutcome if outcome <= FlowOutcome.CONTENDER_DROPPED]
    assert took_effect == [
        "APPLIED",
        "REFRESHED",
        "REPLACED_DEAD",
        "CONTENDING",
        "CONTENDER_WON",
        "CONTENDER_DROPPED",
    ]
