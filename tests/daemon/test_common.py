"""What both daemons take from `[ringline]`."""

import os
from pathlib import Path

import pytest

from shm.daemon import common
from shm.daemon.common import default_runtime_directory


def test_common_runtime_directory_needs_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(common, "SERVICE_DIRECTORY", Path("/no/such/directory"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/4711")
    assert default_runtime_directory() == Path("/run/user/4711/ringline")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert default_runtime_directory() == Path("/tmp/ringline-4711")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_runtime_directory() == Path("/no/such/directory")


def test_common_runtime_directory_is_the_services_for_whom_it_was_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """relayd, transceiverd and an operator in their group find each other without any option."""
    assert str(common.SERVICE_DIRECTORY) == "/run/ringline"
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(common, "SERVICE_DIRECTORY", tmp_path)
    assert default_runtime_directory() == tmp_path
