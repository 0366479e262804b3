"""A worker's successor reads the whole batch of control records again (DESIGN 2.6): what that may change."""

from hypothesis import given, settings
from hypothesis import strategies as st

from shm.flows import FlowTable
from shm.layout import ADDRESS_CHECKED, ADDRESS_PROVEN, FLAG_CONTENDED

NOW = 10**12
KEY = bytes(48)

Step = tuple[int, int, int]  # call, address state (0: withdraw), flags


def steps(calls: int, **limits: int) -> st.SearchStrategy[list[Step]]:
    step = st.tuples(
        st.integers(1, calls),
        st.sampled_from([0, ADDRESS_CHECKED, ADDRESS_PROVEN]),
        st.sampled_from([0, FLAG_CONTENDED]),
    )
    return st.lists(step, **limits)


def apply(table: FlowTable, batch: list[Step]) -> None:
    for call, state, flags in batch:
        if state:
            table.publish(KEY, call, 5, slot=call, state=state, now=NOW, flags=flags)
        else:
            table.withdraw(KEY, call, 5)


def holders(table: FlowTable) -> set[int]:
    flow = table.lookup(KEY)
    return {holder.origin for holder in (flow.owner, flow.contender) if holder} if flow else set()


@settings(max_examples=120, deadline=None)
@given(before=steps(1, max_size=2), batch=steps(1, min_size=1, max_size=6), again_from=st.integers(0, 5))
def test_flows_batch_read_again_changes_nothing_for_an_undisputed_address(
    before: list[Step], batch: list[Step], again_from: int
) -> None:
    table = FlowTable.create(8)
    apply(table, before)
    apply(table, batch)
    once = [flow._replace(flow_generation=0) for flow in table.items()]
    apply(table, batch[again_from:])
    assert [flow._replace(flow_generation=0) for flow in table.items()] == once


@settings(max_examples=120, deadline=None)
@given(before=steps(4, max_size=4), batch=steps(4, min_size=1, max_size=6))
def test_flows_batch_read_again_gives_a_disputed_address_to_nobody_who_left(
    before: list[Step], batch: list[Step]
) -> None:
    """A dispute may start anew (the next packet that authenticates decides it), among calls that are still there."""
    table = FlowTable.create(8)
    apply(table, before)
    apply(table, batch)
    once = holders(table)
    apply(table, batch)
    there = {call for call, state, _ in batch if state} | once
    last = {call: state for call, state, _ in before + batch}
    assert holders(table) <= {call for call in there if last[call]}
    assert not once or holders(table), "an address that has calls is not lost"
