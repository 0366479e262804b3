"""Log lines: one an event, whatever the event says."""

import logging

import pytest

from shm.daemon.log_addresses import client_address
from shm.daemon.logs import LineBudget, OneLineFormatter


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


def test_logs_lines_a_second_are_bounded_and_what_is_left_out_is_said() -> None:
    now = 100.0
    budget = LineBudget(10, clock=lambda: now)
    formatter = OneLineFormatter("ringline", journal=False, terminal=False)

    def write(level: int, n: int) -> list[str]:
        records = [logging.LogRecord("calls", level, "", 0, "placed by %s", ("x",), None) for _ in range(n)]
        return [formatter.format(record) for record in records if budget.filter(record)]

    assert len(write(logging.INFO, 1000)) == 10
    warnings = write(logging.WARNING, 1000)
    assert len(warnings) == 10, "what peers cause by the thousand does not hide a warning"
    assert "990 lines before this one were not written" in warnings[0]
    assert "not written" not in warnings[1]
    assert budget.suppressed == 1980
    now += 0.5
    later = write(logging.INFO, 100)
    assert len(later) == 5
    assert "990 lines" in later[0]
    now -= 50
    assert not write(logging.INFO, 1), "time that goes back gives nothing"


@pytest.mark.parametrize(
    ("shown", "address", "text"),
    [
        ("full", "203.0.113.77", "203.0.113.77"),
        ("full", "2001:db8:1:2::3", "2001:db8:1:2::3"),
        ("network", "203.0.113.77", "203.0.113.0/24"),
        ("network", "2001:db8:1:2::3", "2001:db8:1::/48"),
        ("none", "203.0.113.77", "a client"),
        ("full", "evil\n<0>relayd: error", "?"),
        ("network", "", "?"),
    ],
)
def test_logs_addresses_of_clients_are_shown_as_configured(
    monkeypatch: pytest.MonkeyPatch, shown: str, address: str, text: str
) -> None:
    monkeypatch.setattr("shm.daemon.log_addresses._Shown.mode", shown)
    assert client_address(address) == text
