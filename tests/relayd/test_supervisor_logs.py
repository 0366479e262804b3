"""Log lines: one an event, whatever the event says, and no more of them than a person can read."""

import logging

import pytest

from relayd.quiet_log import APART_NS, REPEAT_NS, QuietLog
from shm.daemon.logs import OneLineFormatter


def line(message: str, level: int = logging.INFO, *, journal: bool = False, terminal: bool = False) -> str:
    record = logging.LogRecord("worker 1", level, "", 0, message, (), None)
    return OneLineFormatter("relayd", journal=journal, terminal=terminal).format(record)


def test_logs_name_program_and_part() -> None:
    assert line("hello") == "relayd[worker 1]: hello"
    assert line("careful", logging.WARNING) == "relayd[worker 1]: warning: careful"


def test_logs_event_cannot_make_a_second_line() -> None:
    assert line("hello\nrelayd[supervisor]: forged") == "relayd[worker 1]: hello | relayd[supervisor]: forged"
    assert "\n" not in line("a\r\x0b\x0c\x85\u2028b")


def test_logs_journal_gets_priorities_and_a_terminal_the_time() -> None:
    assert line("hello", journal=True) == "<6>relayd[worker 1]: hello"
    assert line("bad", logging.ERROR, journal=True) == "<3>relayd[worker 1]: error: bad"
    assert line("hello", terminal=True).endswith(" relayd[worker 1]: hello")
    assert "\x1b[31m" in line("bad", logging.ERROR, terminal=True)


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
