"""How the daemon logs: one line an event on standard error, readable on a terminal, with priorities for the journal.

Called once by command.py; a reload may change the level later, in every process. Lines
a second are bounded, because peers cause some of them; clients' addresses go through log_addresses.py. A line
reads `relayd[worker 1]: ...`; the logger's name is the part in brackets. On a terminal the time stands in front (the
journal and most supervisors put their own), and warnings are coloured.
"""

import logging
import os
import sys
import time
from collections.abc import Callable

from shm.daemon.log_addresses import show_addresses

LEVELS = ("debug", "info", "warning", "error")

# sd-daemon(3): the journal reads <N> at the start of a line as its syslog priority.
_JOURNAL_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
LINES_PER_SECOND = 300  # see [ringline] log_lines_per_second
KEPT_BACK = "kept_back"  # attribute of a record: how many were left out before it
_COLOUR = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m", logging.CRITICAL: "\x1b[31m"}


class OneLineFormatter(logging.Formatter):
    """One event, one line: line breaks (a traceback, a peer's words) are shown as ` | `, other controls as blanks."""

    def __init__(self, program: str, *, journal: bool, terminal: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._program = program
        self._journal = journal
        self._terminal = terminal

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        text = record.getMessage()
        kept_back = getattr(record, KEPT_BACK, 0)
        if kept_back:
            text += f" ({kept_back} lines before this one were not written: too many a second)"
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info)
        if not text.isprintable():
            text = "".join(c if c.isprintable() else " " for c in " | ".join(text.splitlines()))
        line = f"{self._program}[{record.name}]: {_word(record.levelno)}{text}"
        if self._journal:
            return f"<{_JOURNAL_PRIORITY.get(record.levelno, 6)}>{line}"
        if self._terminal:
            colour = _COLOUR.get(record.levelno, "")
            return f"{self.formatTime(record, self.datefmt)} {colour}{line}{colour and chr(27) + '[0m'}"
        return line


class LineBudget(logging.Filter):
    """At most so many lines a second, and as many again from warnings up: what peers can cause by the thousand is
    placed and ended calls, and must not hide the one line that matters. What is left out is counted and said."""

    def __init__(self, lines_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._rate = lines_per_second
        self._clock = clock
        self._buckets = {False: (float(lines_per_second), clock()), True: (float(lines_per_second), clock())}
        self._kept_back = 0
        self.suppressed = 0
        """Lines left out since the start."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether there is room for this line."""
        grave = record.levelno >= logging.WARNING
        level, at = self._buckets[grave]
        now = self._clock()
        level = min(self._rate, level + max(0.0, now - at) * self._rate)
        if level < 1:
            self._buckets[grave] = level, now
            self._kept_back += 1
            self.suppressed += 1
            return False
        self._buckets[grave] = level - 1, now
        setattr(record, KEPT_BACK, self._kept_back)
        self._kept_back = 0
        return True


class _Logging:
    """What `set_up_logging` set, in this process."""

    budget = LineBudget(LINES_PER_SECOND)


def suppressed_lines() -> int:
    """Lines that this process and, up to its fork, its parent did not write because they were too many."""
    return _Logging.budget.suppressed


def _word(level: int) -> str:
    return {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "error: "}.get(level, "")


def set_up_logging(level: str, program: str, lines_per_second: int = LINES_PER_SECOND, addresses: str = "full") -> None:
    """Send everything from `level` up to standard error, within bounds."""
    handler = logging.StreamHandler(sys.stderr)
    _Logging.budget = LineBudget(lines_per_second)
    show_addresses(addresses)
    handler.addFilter(_Logging.budget)
    terminal = sys.stderr.isatty()
    handler.setFormatter(OneLineFormatter(program, journal=_standard_error_is_journal(), terminal=terminal))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What no line of ours shows is not looked up for each of them (logging's documentation, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def set_log_level(level: str) -> None:
    """From now on, in this process."""
    logging.getLogger().setLevel(level.upper())


def _standard_error_is_journal() -> bool:
    """systemd.exec(5): JOURNAL_STREAM names device and inode of the stream, so that a redirected one is told apart."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(sys.stderr.fileno())
    except OSError:  # no descriptor stands behind it
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
