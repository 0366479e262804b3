"""No more log lines than a person can read, whatever a peer does."""

import logging

import pytest

from relayd.quiet_log import APART_NS, REPEAT_NS, QuietLog


class Clock:
    """A clock that is set by hand."""

    now = 10**15

    def __call__(self) -> int:
        return self.now


def test_quiet_log_same_line_comes_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    quiet = QuietLog(logging.getLogger("supervisor"), clock)
    for _ in range(100):
        quiet.warning("kind", "again")
    assert caplog.text.count("again") == 1
    clock.now += REPEAT_NS
    quiet.warning("kind", "again")
    assert caplog.text.count("again") == 2
    assert "99 more" in caplog.text


def test_quiet_log_other_lines_of_a_kind_come_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    """A peer that connects anew has another pid, and so another line, each time."""
    clock = Clock()
    quiet = QuietLog(logging.getLogger("supervisor"), clock)
    for pid in range(1000):
        quiet.warning("kind", f"pid {pid}")
        clock.now += APART_NS // 100
    assert len(caplog.records) == 10


def test_quiet_log_kinds_do_not_silence_each_other(caplog: pytest.LogCaptureFixture) -> None:
    quiet = QuietLog(logging.getLogger("supervisor"), Clock())
    quiet.warning("one", "first")
    quiet.warning("two", "second")
    assert len(caplog.records) == 2
