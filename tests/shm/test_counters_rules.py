"""Counters: named, one writer, read from outside, and they outlive their writer."""

import os
import signal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm.counters import Counters
from shm.errors import LayoutRefused
from shm.flows import FlowTable
from shm.layout import offset
from tests.shm.processes import fork, reap

NAMES = ["received", "to_handshake_ring", "dropped_malformed"]


def test_counters_are_read_by_name_from_another_mapping() -> None:
    counters = Counters.create(NAMES, index=3, incarnation=77)
    counters.add("received", 5)
    counters.add("received")
    counters.set("to_handshake_ring", 1 << 63)
    reader = Counters.attach(os.dup(counters.fd))
    assert reader.read() == {"received": 6, "to_handshake_ring": 1 << 63, "dropped_malformed": 0}
    assert reader.names == tuple(NAMES)
    assert reader["received"] == 6
    assert reader.index("dropped_malformed") == 2
    assert (reader.segment.index, reader.segment.incarnation) == (3, 77)


def test_counters_outlive_a_killed_writer() -> None:
    counters = Counters.create(NAMES)

    def work() -> None:
        writer = Counters.attach(os.dup(counters.fd))
        writer.batch_in_hand = 64
        writer.add("received", 64)
        writer.segment.beat(123)
        os.kill(os.getpid(), signal.SIGKILL)

    assert reap(fork(work)) == -signal.SIGKILL
    assert (counters.batch_in_hand, counters["received"], counters.segment.heartbeat_ns) == (64, 64, 123)
    successor = Counters.attach(os.dup(counters.fd))
    successor.batch_in_hand = 0
    successor.add("received", 1)
    assert (counters.batch_in_hand, counters["received"]) == (0, 65)


@settings(max_examples=50, deadline=None)
@given(
    additions=st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2**64 - 1)), max_size=20),
)
def test_counters_add_up_modulo_two_to_the_64(additions: list[tuple[str, int]]) -> None:
    counters = Counters.create(NAMES)
    expected = dict.fromkeys(NAMES, 0)
    for name, n in additions:
        counters.add(name, n)
        expected[name] = (expected[name] + n) % 2**64
    assert counters.read() == expected


def test_counters_unknown_name_is_our_own_bug() -> None:
    counters = Counters.create(NAMES)
    for use in (counters.add, counters.index, counters.__getitem__):
        with pytest.raises(KeyError):
            use("nonsense")


@pytest.mark.parametrize("names", [["a", "a"], [""], ["x" * 56], ["naïve"]])
def test_counters_names_that_do_not_fit_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError):
        Counters.create(names)


def test_counters_longest_name_and_none_at_all() -> None:
    assert Counters.create(["x" * 55]).names == ("x" * 55,)
    assert Counters.create([]).read() == {}


def test_counters_attach_refuses_another_kind_and_a_count_beyond_the_segment() -> None:
    table = FlowTable.create(8)
    with pytest.raises(LayoutRefused):
        Counters.attach(os.dup(table.fd))
    counters = Counters.create(NAMES)
    view = memoryview(counters.segment)
    at = offset("counters_header", "count")
    view[at : at + 8] = (4).to_bytes(8, "little")
    with pytest.raises(ValueError, match="header"):
        Counters.attach(os.dup(counters.fd))


def test_counters_more_than_anybody_counts_are_refused() -> None:
    """Their reader goes through all names: a stranger's number must not keep it busy."""
    most = Counters.create([f"c{i}" for i in range(4096)])
    assert len(Counters.attach(os.dup(most.fd)).names) == 4096
    with pytest.raises(ValueError, match="header does not fit"):
        Counters.create([f"c{i}" for i in range(4097)])
