"""A reload of transceiverd: from the file to every process that it runs, without a restart of any.

Used by the supervisor on SIGHUP and on the order `reload`. The file is read and checked whole (shm/daemon/reload.py),
the ufrag keys with it (rotation.py); then the settings go to each transceiver and to signalling over their links, and
the reload has ended when each has said that it uses them. A process that dies meanwhile is succeeded by one that is
born with them.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shm.daemon.config import ConfigurationError
from shm.daemon.logs import set_log_level
from shm.daemon.loop import EventLoop
from shm.daemon.orders import Reply, Report
from shm.daemon.post import Post
from shm.daemon.reload import Change, Source, announce_end, announce_reload, changed_settings, rehearsed_report
from transceiverd import links
from transceiverd.rotation import Rotation
from transceiverd.settings import Settings, settings_in_memory

# A process takes its settings between two turns of its loop. One that is stuck is replaced, and its successor is born
# with them: no reason to call the reload a failure, but to say so.
ANSWER_PATIENCE_NS = 5_000_000_000

Posts = Sequence[Post[links.Message]]


@dataclass
class _Spreading:
    """One reload that processes still have to take."""

    change: Change[Settings]
    reply: Reply
    missing: set[str] = field(default_factory=set)
    """Names of the processes."""


class Reconfiguration:
    """Holds the settings as the last reload left them: `settings` is what a process that starts now is born with."""

    def __init__(
        self, settings: Settings, source: Source[Settings], loop: EventLoop, rotation: Rotation,
        posts: Callable[[], Posts], on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        """`on_change` is for the supervisor's own part, before the processes get theirs."""
        self.settings = settings
        self._source = source
        self._loop = loop
        self._rotation = rotation
        self._posts = posts
        self._on_change = on_change
        self._version = 0
        self._spreading: dict[int, _Spreading] = {}

    def reload(self, reply: Reply = lambda _report: None) -> None:
        """Begin; `reply` is told the end."""
        announce_reload()

        def ended(report: Report) -> None:
            announce_end(report)
            reply(report)

        try:
            change = changed_settings(self.settings, self._source)
        except ConfigurationError as error:
            ended(Report(False, str(error)))
            return
        self._rotation.adopt_file(
            lambda problem: ended(Report(False, problem)) if problem else self._spread(change, ended)
        )

    def rehearse(self) -> Report:
        """What a reload would come to, as far as the configuration goes."""
        return rehearsed_report(self.settings, self._source)

    @property
    def quiet(self) -> bool:
        """Whether no reload is under way."""
        return not self._spreading

    def taken(self, name: str, version: int) -> None:
        """A process uses the settings."""
        spreading = self._spreading.get(version)
        if spreading is not None:
            spreading.missing.discard(name)
            self._look(version)

    def gone(self, name: str) -> None:
        """A process ended."""
        for version in list(self._spreading):
            self.taken(name, version)

    def _spread(self, change: Change[Settings], reply: Reply) -> None:
        self.settings = change.settings
        set_log_level(self.settings.ringline.log_level)
        self._on_change()
        self._version += 1
        version = self._version
        spreading = self._spreading[version] = _Spreading(change, reply)
        encoded = settings_in_memory(self.settings)
        try:
            for post in self._posts():
                if post.process is not None:
                    spreading.missing.add(post.name)
                    post.send(links.UseSettings(version), [encoded])
        finally:
            os.close(encoded)
        self._loop.call_after(ANSWER_PATIENCE_NS, lambda: self._end(version))
        self._look(version)

    def _look(self, version: int) -> None:
        if not self._spreading[version].missing:
            self._end(version)

    def _end(self, version: int) -> None:
        spreading = self._spreading.pop(version, None)
        if spreading is not None:
            late = ", ".join(sorted(spreading.missing))
            spreading.reply(spreading.change.report(f"; not yet taken by {late}" if late else ""))
