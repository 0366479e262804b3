"""Taking a changed configuration while the daemon runs: what may change, what has to wait, and when all is refused.

Used by both supervisors, on SIGHUP and on the orders `reload` and `reload-check`. A file that cannot be used is refused
whole and the old settings stay. Of one that can be used those options take effect whose description says "Reload."; the
others keep their running values and are named, since they wait for a restart. What runs then is a mixture that nobody
wrote down, so it is checked like a file of its own: an `auth = "none"` that came with a `listen` on loopback must not
take effect on the old, public address.
"""

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from shm.daemon.config import ConfigurationError
from shm.daemon.config_reference import options_of
from shm.daemon.notify import notify, reloading
from shm.daemon.orders import Report

log = logging.getLogger("supervisor")

C = TypeVar("C")


@dataclass(frozen=True)
class Source(Generic[C]):
    """Where a daemon's configuration comes from. `C` is a dataclass; its fields that are Structs are the sections."""

    load: Callable[[], C]
    """Reads and checks the file. Raises ConfigurationError."""
    check: Callable[[C], None]
    """What the sections must be together. Raises ConfigurationError."""


@dataclass(frozen=True)
class Change(Generic[C]):
    """What a reload comes to."""

    settings: C
    changed: list[str]
    """Keys that take effect now, as `section.key`."""
    waiting: list[str]
    """Keys that need a restart."""

    @property
    def text(self) -> str:
        """For the log and for who asked. Keys only: a value may be a secret."""
        now = f"changed: {', '.join(self.changed)}" if self.changed else "no option changed"
        later = f"; a restart is needed for: {', '.join(self.waiting)}" if self.waiting else ""
        return now + later

    def report(self, more: str = "") -> Report:
        """For who asked."""
        return Report(True, self.text + more, {"changed": self.changed, "waiting": self.waiting})


def changed_settings(running: C, source: Source[C]) -> Change[C]:
    """Read the file again and compare. Raises ConfigurationError, and then nothing may change."""
    wanted = source.load()
    changed: list[str] = []
    waiting: list[str] = []
    sections: dict[str, msgspec.Struct] = {}
    for field in dataclasses.fields(running):  # type: ignore[arg-type]
        section = getattr(running, field.name)
        if isinstance(section, msgspec.Struct):
            now, later = _compare(section, getattr(wanted, field.name))
            changed += [f"{field.name}.{key}" for key in now]
            waiting += [f"{field.name}.{key}" for key in later]
            sections[field.name] = _replaced(field.name, section, now)
    settings = dataclasses.replace(running, **sections)  # type: ignore[type-var]
    source.check(settings)
    return Change(settings, changed, waiting)


def _compare(running: msgspec.Struct, wanted: msgspec.Struct) -> tuple[dict[str, Any], list[str]]:
    """Of a section: new values that take effect, by key, and keys that wait."""
    now: dict[str, Any] = {}
    later: list[str] = []
    for option in options_of(type(running)):
        value = getattr(wanted, option.attribute)
        if value == getattr(running, option.attribute):
            continue
        if option.reloads:
            now[option.attribute] = value
        else:
            later.append(option.name)
    return now, later


def _replaced(name: str, section: msgspec.Struct, values: dict[str, Any]) -> msgspec.Struct:
    """The section with what takes effect. What cannot be beside the values that wait is refused."""
    try:
        return msgspec.structs.replace(section, **values)
    except ValueError as error:
        keys = ", ".join(f"{name}.{key}" for key in values)
        problem = f"{keys} cannot change before a restart changes the rest: {error}"
        raise ConfigurationError(problem, file=f"[{name}]") from None


def rehearsed_report(running: C, source: Source[C]) -> Report:
    """What a reload would come to, which changes nothing: the order `reload-check`. Keys are not looked at."""
    try:
        return changed_settings(running, source).report()
    except ConfigurationError as error:
        return Report(False, str(error))


def announce_reload() -> None:
    """Tell the service manager that one begins."""
    log.info("reading the configuration again")
    reloading()


def announce_end(report: Report) -> None:
    """Tell the service manager and the log how it ended. READY=1 in any case: the daemon serves on."""
    if report.done:
        log.info("configuration taken: %s", report.text)
    else:
        log.error("configuration refused, the old one stays: %s", report.text)
    notify("READY=1", f"STATUS={'' if report.done else 'reload refused: '}{report.text}"[:512])
