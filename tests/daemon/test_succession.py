"""New code in a supervisor's own process, where the rehearsal cannot even begin: nothing stays, and it says why."""

import os
import tempfile
from pathlib import Path

import msgspec
import pytest

from shm.daemon.handover import Left
from shm.daemon.loop import EventLoop
from shm.daemon.succession import Succession


class Nothing(msgspec.Struct):
    """What this supervisor leaves."""


@pytest.fixture
def succession() -> Succession:
    """Of a daemon that leaves nothing and is always quiet."""
    return Succession(EventLoop(), "relayd", lambda: Left(Nothing(), [], []), lambda: True)


def test_succession_refuses_and_leaves_nothing_open_where_no_file_can_be_made(
    succession: Succession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):  # a refused one does not keep the next from being tried
        refusals: list[str] = []
        succession.begin(refusals.append)
        assert refusals == ["the rehearsal cannot be started: No such file or directory"]
        assert not succession.at_work
    assert len(os.listdir("/proc/self/fd")) == before


def test_succession_refuses_where_nothing_can_be_started(
    succession: Succession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shm.daemon.handover.own_command", lambda: ["/missing/python"])
    before = len(os.listdir("/proc/self/fd"))
    refusals: list[str] = []
    succession.begin(refusals.append)
    assert refusals == ["the rehearsal cannot be started: No such file or directory"]
    assert len(os.listdir("/proc/self/fd")) == before
