"""How the daemon logs: one line an event on standard error, readable on a terminal, with priorities for the journal.

Called once by command.py; a reload may change the level later, in every process. A line
reads `relayd[worker 1]: ...`; the logger's name is the part in brackets. On a terminal the time stands in front (the
journal and most supervisors put their own), and warnings are coloured.
"""

import logging
import os
import sys

LEVELS = ("debug", "info", "warning", "error")

# sd-daemon(3): the journal reads <N> at the start of a line as its syslog priority.
_JOURNAL_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
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
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info)
        text = "".join(c if c.isprintable() else " " for c in " | ".join(text.splitlines()))
        line = f"{self._program}[{record.name}]: {_word(record.levelno)}{text}"
        if self._journal:
            return f"<{_JOURNAL_PRIORITY.get(record.levelno, 6)}>{line}"
        if self._terminal:
            colour = _COLOUR.get(record.levelno, "")
            return f"{self.formatTime(record, self.datefmt)} {colour}{line}{colour and chr(27) + '[0m'}"
        return line


def _word(level: int) -> str:
    return {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "error: "}.get(level, "")


def set_up_logging(level: str, program: str) -> None:
    """Send everything from `level` up to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    terminal = sys.stderr.isatty()
    handler.setFormatter(OneLineFormatter(program, journal=_standard_error_is_journal(), terminal=terminal))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def set_log_level(level: str) -> None:
    """From now on, in this process."""
    logging.getLogger().setLevel(level.upper())


def _standard_error_is_journal() -> bool:
    """systemd.exec(5): JOURNAL_STREAM names device and inode of the stream, so that a redirected one is told apart."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    found = os.fstat(sys.stderr.fileno())
    return stream == f"{found.st_dev}:{found.st_ino}"
