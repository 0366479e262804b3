"""The ufrag keys as transceiverd's supervisor has them: rotated by order, or taken from a changed file (DESIGN 2.7, 3).

A call's ufrag is verified by every relay worker for as long as the call lives, so a key under which calls live neither
goes nor changes. Four steps, each before the next:

    every transceiver says which key ids have calls    one that does not answer stops it: nothing is known then
    the new keys go into the file                      refused when an id in use, or the current one, would change
    relayd confirms the current key                    every worker verifies under it; refused: the old file comes back
    the transceivers mint under it                     by value, in the order of their links

Runs in the supervisor's loop; one at a time, others wait. `adopt_file` is the reload's part, `rotate` the order's.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from relayd.ufrag_keys import KeyFileError, KeyInUse, UfragKeys
from shm import attach
from shm.daemon.loop import EventLoop, Timer
from shm.daemon.orders import Reply, Report
from shm.daemon.post import Post
from transceiverd import links
from transceiverd.relay_attachment import RelayAttachment

log = logging.getLogger("supervisor")

# A transceiver answers between two turns of its loop, tens of milliseconds at worst; one that is stuck gets no longer.
ANSWER_PATIENCE_NS = 3_000_000_000

Done = Callable[[str], None]
"""Told the reason why nothing changed; empty: it is done."""


class Rotation:
    """Holds the keys that calls are minted under: `keys` is what a transceiver that starts now is born with."""

    def __init__(
        self,
        loop: EventLoop,
        path: Path,
        relay: Callable[[], RelayAttachment],
        transceivers: Callable[[], Mapping[int, Post[links.Message]]],
    ) -> None:
        """Load the file, or create it when this daemon is the first. Raises KeyFileError, OSError."""
        self.path = path
        self.keys = UfragKeys.load_or_create(path)
        self._loop = loop
        self._relay = relay
        self._transceivers = transceivers
        self._waiting: deque[Callable[[], None]] = deque()
        self._busy = False
        self._request = 0
        self._asked: set[int] = set()
        self._use: dict[int, int] = {}
        self._then: Callable[[str], None] | None = None
        self._timer: Timer | None = None

    # ------------------------------------------------------------------ what may be asked

    @property
    def quiet(self) -> bool:
        """Whether no keys are being changed or asked for."""
        return not self._busy

    def rotate(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `keys-rotate`."""

        def ended(problem: str) -> None:
            report = Report(False, problem) if problem else self._report(f"key {self.keys.current} is current")
            log.log(logging.WARNING if problem else logging.INFO, "rotation of the ufrag keys: %s", report.text)
            reply(report)

        self._begin(lambda done: self._ask(lambda problem: self._rotate(problem, done)), ended)

    def show(self, _arguments: Mapping[str, str], reply: Reply) -> None:
        """The order `keys-show`."""

        def ended(problem: str) -> None:
            reply(Report(False, problem) if problem else self._report(self._keys_in_words()))

        self._begin(self._ask, ended)

    def adopt_file(self, ended: Done) -> None:
        """Take the file's keys, if they are others than ours."""
        self._begin(self._adopt_file, ended)

    def hear(self, transceiver: int, answer: links.KeyUse) -> None:
        """What a transceiver says."""
        if answer.request == self._request and transceiver in self._asked:
            self._asked.discard(transceiver)
            for key, calls in answer.calls.items():
                self._use[key] = self._use.get(key, 0) + calls
            self._heard()

    def gone(self, transceiver: int) -> None:
        """It ended, and its calls with it."""
        if transceiver in self._asked:
            self._asked.discard(transceiver)
            self._heard()

    # ------------------------------------------------------------------ one at a time

    def _begin(self, work: Callable[[Done], None], ended: Done) -> None:
        def done(problem: str) -> None:
            self._busy = False
            ended(problem)
            if self._waiting and not self._busy:
                self._waiting.popleft()()

        def start() -> None:
            self._busy = True
            work(done)

        if self._busy:
            self._waiting.append(start)
        else:
            start()

    # ------------------------------------------------------------------ the steps

    def _ask(self, then: Done) -> None:
        """Learn which key ids have calls, into `_use`."""
        self._request += 1
        self._use = {}
        self._then = then
        self._asked = {index for index, post in self._transceivers().items() if post.process is not None}
        self._timer = self._loop.call_after(ANSWER_PATIENCE_NS, self._unanswered)
        for index in list(self._asked):
            self._transceivers()[index].send(links.AskKeyUse(self._request))
        self._heard()

    def _heard(self) -> None:
        if not self._asked:
            self._go_on("")

    def _unanswered(self) -> None:
        silent = ", ".join(map(str, sorted(self._asked)))
        self._asked = set()
        self._go_on(f"transceiver {silent} did not say which keys its calls were minted under")

    def _go_on(self, problem: str) -> None:
        then, self._then = self._then, None
        if self._timer is not None:
            self._timer.cancel()
        if then is not None:
            then(problem)

    def _rotate(self, problem: str, done: Done) -> None:
        if problem:
            done(problem)
            return
        try:
            rotated = self.keys.rotated(self._use)
        except KeyInUse as error:
            done(f"{error}; {self._use_in_words()}")
        else:
            self._install(rotated, done)

    def _adopt_file(self, done: Done) -> None:
        try:
            wanted = UfragKeys.load(self.path)
        except (KeyFileError, OSError) as error:
            done(f"{self.path} cannot be used: {error}")
            return
        if wanted == self.keys:
            done("")
        else:
            self._ask(lambda problem: self._adopt(wanted, problem, done))

    def _adopt(self, wanted: UfragKeys, problem: str, done: Done) -> None:
        """The current key counts as in use: a call may be minted under it at this moment."""
        ours, theirs = self.keys.fingerprints(), wanted.fingerprints()
        cut = sorted(key for key in {*self._use, self.keys.current} if theirs.get(key) != ours.get(key))
        if cut and not problem:
            names = ", ".join(map(str, cut))
            problem = f"{self.path} takes away or changes key {names}, which is in use; {self._use_in_words()}"
        if problem:
            self._write_back()
            done(f"{problem}; the file has the old keys again")
        else:
            self._install(wanted, done)

    def _install(self, keys: UfragKeys, done: Done) -> None:
        """Into the file, to relayd, to the transceivers."""
        try:
            keys.save(self.path)
        except OSError as error:
            done(f"{self.path} cannot be written: {error.strerror}")
            return
        key = keys.current
        if not self._relay().attached:  # nothing is minted meanwhile, and an attach confirms the current key first
            self._use_keys(keys, done)
            return
        self._relay().ask(
            attach.ConfirmKey(key, keys.fingerprint(key)),
            lambda refused: self._refused(refused, done) if refused else self._use_keys(keys, done),
        )

    def _refused(self, why: str, done: Done) -> None:
        self._write_back()
        done(f"relayd does not take the new key: {why}")

    def _use_keys(self, keys: UfragKeys, done: Done) -> None:
        self.keys = keys
        for post in self._transceivers().values():
            post.send(links.UseKeys(keys.encode()))
        done("")

    def _write_back(self) -> None:
        """The file as it was: relayd reads it at its next start, and live calls need their keys then."""
        try:
            self.keys.save(self.path)
        except OSError as error:
            log.error("%s cannot be written back: %s", self.path, error.strerror)

    # ------------------------------------------------------------------ in words

    def _use_in_words(self) -> str:
        counts = [f"{count} under key {key}" for key, count in sorted(self._use.items())]
        return "live calls: " + (", ".join(counts) or "none")

    def _keys_in_words(self) -> str:
        prints = (f"key {key} {print_}" for key, print_ in sorted(self.keys.fingerprints().items()))
        return f"key {self.keys.current} is current; fingerprints: {', '.join(prints)}"

    def _report(self, text: str) -> Report:
        prints = {str(key): value for key, value in self.keys.fingerprints().items()}
        calls = {str(key): count for key, count in sorted(self._use.items())}
        details = {"current": self.keys.current, "fingerprints": prints, "calls": calls}
        return Report(True, f"{text}; {self._use_in_words()}", details)
