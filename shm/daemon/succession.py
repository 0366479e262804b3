"""When and how a supervisor replaces its own code: rehearsed first, at a quiet moment, then at once.

Both supervisors have one, for `relayctl upgrade` and for SIGHUP after new code was installed.

    begin ──▶ rehearsal: the command of this process with --check-config, given the message as it would be now
               │ says no, or takes too long: refused with its last line, and nothing has changed
               ▼
              quiet moment: no message on its way that only this process knows of
               ▼
              execve (handover.py); the new code adopts what it finds in the message
"""

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import IO

from shm.daemon import handover
from shm.daemon.handover import Left
from shm.daemon.loop import READ, EventLoop, Timer
from shm.daemon.notify import notify, reloading
from shm.daemon.orders import Reply, Report
from shm.daemon.release import RELEASE

log = logging.getLogger("supervisor")

# The libraries take half a second to import; a machine under load gets this long before the upgrade is given up.
REHEARSAL_PATIENCE_NS = 20_000_000_000
QUIET_PATIENCE_NS = 5_000_000_000
QUIET_LOOK_NS = 2_000_000
LINE_CHARACTERS_MAX = 400
ENDING = "the daemon is being drained and ends: start it again, and what is installed runs"

Done = Callable[[str], None]


class Succession:
    """One at a time."""

    def __init__(
        self,
        loop: EventLoop,
        daemon: str,
        leave: Callable[[], Left],
        quiet: Callable[[], bool],
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        """`leave` gives what there is as it is; `quiet`, whether that is all there is; `ending`, whether the daemon is
        about to end: then there is nothing to hand over."""
        self._loop = loop
        self._daemon = daemon
        self._leave = leave
        self._quiet = quiet
        self._ending = ending
        self._rehearsal: subprocess.Popen[bytes] | None = None
        self._deadline: Timer | None = None
        self._done: Done = lambda _refused: None

    @property
    def at_work(self) -> bool:
        """Whether one has begun and not been refused."""
        return self._deadline is not None

    def order(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `upgrade`. The report comes right before the code is replaced."""
        self.begin(
            lambda refused: reply(
                Report(False, refused)
                if refused
                else Report(True, f"release {RELEASE} hands over to what is installed")
            )
        )

    def begin(self, done: Done) -> None:
        """Start one. `done("")` is called right before the code is replaced; `done(reason)` when it is not."""
        if self._deadline is not None:
            done("an upgrade is at work already")
            return
        if self._ending():
            done(ENDING)
            return
        self._done = done
        try:
            words = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the rehearsal has ended
            try:
                pidfd = self._rehearse(words)
            except OSError:
                words.close()
                raise
        except OSError as error:
            self._refuse(f"the rehearsal cannot be started: {error.strerror}")
            return
        self._deadline = self._loop.call_after(REHEARSAL_PATIENCE_NS, self._kill_rehearsal)
        self._loop.watch(pidfd, READ, lambda _events: self._rehearsed(pidfd, words))

    def _rehearse(self, words: IO[bytes]) -> int:
        """Start what is installed, and give its pidfd. Raises OSError, and then nothing runs or is open."""
        message = handover.write(self._daemon, self._leave())
        try:
            rehearsal = subprocess.Popen(
                [*handover.own_command(), "--check-config"],
                stdin=subprocess.DEVNULL, stdout=words, stderr=words,
                pass_fds=[message], env=handover.environment(message),
            )  # fmt: skip
        finally:
            os.close(message)
        try:
            pidfd = os.pidfd_open(rehearsal.pid)
        except OSError:
            rehearsal.kill()
            rehearsal.wait()
            raise
        self._rehearsal = rehearsal
        return pidfd

    def _kill_rehearsal(self) -> None:
        assert self._rehearsal is not None
        self._rehearsal.kill()

    def _rehearsed(self, pidfd: int, words: IO[bytes]) -> None:
        assert self._rehearsal is not None
        assert self._deadline is not None
        status = self._rehearsal.wait()
        self._loop.unwatch(pidfd)
        os.close(pidfd)
        self._deadline.cancel()
        with words:
            words.seek(0)
            said = words.read().decode(errors="replace").strip()
        if status != 0:
            last = said.splitlines()[-1][:LINE_CHARACTERS_MAX] if said else f"it ended with status {status}"
            self._refuse(f"the installed code does not take over: {last}")
            return
        self._deadline = self._loop.call_after(QUIET_PATIENCE_NS, lambda: None)
        self._replace_when_quiet()

    def _replace_when_quiet(self) -> None:
        assert self._deadline is not None
        if self._ending():
            self._refuse(ENDING)
        elif self._quiet():
            self._replace()
        elif self._deadline.due_ns <= time.monotonic_ns():
            self._refuse("messages were on their way all the time: try again")
        else:
            self._loop.call_after(QUIET_LOOK_NS, self._replace_when_quiet)

    def _replace(self) -> None:
        """Signals first: one that came until now is acted upon below, a later one waits for the new code."""
        handover.block_signals()
        self._loop.turn(0)
        if not self._quiet():
            handover.unblock_signals()
            self._loop.call_after(QUIET_LOOK_NS, self._replace_when_quiet)
            return
        self._done("")
        reloading()
        log.info("the code of this process is replaced by what is installed")
        try:
            self._become_installed()
        except OSError as error:
            handover.unblock_signals()
            notify("READY=1")
            log.error("the code cannot be replaced, this one goes on: %s", error)
            self._deadline = None

    def _become_installed(self) -> None:
        """Returns by OSError only."""
        left = self._leave()
        message = handover.write(self._daemon, left)
        try:
            handover.replace_code(message, left.descriptors)
        except OSError:
            os.close(message)
            raise

    def _refuse(self, reason: str) -> None:
        self._deadline = None
        log.error("no upgrade: %s", reason)
        self._done(reason)
