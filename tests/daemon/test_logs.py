"""Log lines: one an event, whatever the event says."""

import logging

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
