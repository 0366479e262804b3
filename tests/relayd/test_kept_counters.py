"""Counters that a restarted relayd finds in the descriptor store, beside sockets of its own."""

import os
from pathlib import Path

import pytest

from relayd.kept import make_or_take_holding
from relayd.sockets import WorkerSockets
from relayd.worker import worker_counter_names
from shm.counters import Counters
from shm.daemon.descriptor_store import DescriptorStore

NONE = WorkerSockets(None, None)


class _Kept(DescriptorStore):
    """As systemd passes it."""

    def __init__(self, counters: Counters) -> None:
        super().__init__()
        self._kept = {"counters.0": os.dup(counters.fd)}


@pytest.mark.parametrize(("new_sockets", "dropped"), [(True, 0), (False, 7)])
def test_kept_counters_of_what_the_kernel_dropped_follow_the_sockets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, new_sockets: bool, dropped: int
) -> None:
    """The worker books what a socket's running total is above its counter. Restarted with another port, relayd has new
    sockets and, with the old one's seven drops, would not have booked the first seven of the new."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    counters = Counters.create(worker_counter_names())
    counters.add("kernel_dropped_v4", 7)
    counters.add("received", 9)
    holding = make_or_take_holding(
        0, None, NONE, worker_counter_names(), 64, _Kept(counters), lambda: None, new_sockets=new_sockets
    )
    assert holding.counters["kernel_dropped_v4"] == dropped
    assert holding.counters["received"] == 9
    holding.close()
