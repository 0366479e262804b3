"""What a supervisor leaves to itself when it replaces its own code: execve in the same process (DESIGN 2.7, FACTS 3).

The process stays: its pid, its lock, its children and every descriptor. What they are for is said in one message, JSON
in a memfd whose number stands in the environment:

    {"version": 1, "daemon": "relayd", "release": "0.1.0+3f9a1c2e", "descriptors": [3, 5, ...], "state": {...}}

Two releases meet in it, and either may be the newer one: fields that a release does not know are ignored, fields that
are missing have a default, and descriptors that nobody claimed are closed. `version` is raised only when that is not
enough; a release takes its own and lower ones, and a rehearsal (succession.py) refuses others while all still runs.

Leaves out: what `state` is. Each daemon has structs of its own (relayd/legacy.py, transceiverd/legacy.py).
"""

import os
import signal
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, NoReturn, TypeVar

import msgspec

from shm.attach import named
from shm.daemon.child import FORK_BLOCKED_SIGNALS
from shm.daemon.release import RELEASE
from shm.segment import SUPPORTED_MAJORS

ENVIRONMENT = "RINGLINE_HANDOVER"
VERSION = 1
MESSAGE_BYTES_MAX = 64 << 20  # 256 workers times 256 transceivers with four descriptors each are below 4 MiB

S = TypeVar("S", bound=msgspec.Struct)


class HandoverRefused(RuntimeError):
    """What a predecessor left cannot be taken over by this release; the message says why."""


class Envelope(msgspec.Struct):
    """The message."""

    version: int
    daemon: str
    release: str
    descriptors: list[int]
    state: msgspec.Raw
    layouts: list[int] = []
    """Majors of the segments that come along."""


class Inherited:
    """What a predecessor left; whoever takes a descriptor of it over says so."""

    def __init__(self, envelope: Envelope) -> None:
        self.release = envelope.release
        self._state = envelope.state
        self._unclaimed = set(envelope.descriptors)

    def state(self, kind: type[S]) -> S:
        """The daemon's own part. Raises HandoverRefused."""
        try:
            return msgspec.json.decode(self._state, type=kind)
        except msgspec.DecodeError as error:
            raise HandoverRefused(f"the state that release {self.release} left: {error}") from None

    def claim(self, descriptors: Iterable[int]) -> None:
        """These have a user now."""
        self._unclaimed -= set(descriptors)

    def close_rest(self) -> int:
        """Close what nobody claimed: a release that knew more of it left it. Gives how many."""
        for descriptor in self._unclaimed:
            os.close(descriptor)
        return len(self._unclaimed)


class Left(NamedTuple):
    """What a supervisor leaves."""

    state: msgspec.Struct
    descriptors: Sequence[int]
    layouts: Collection[int]
    """Majors of the segments among them."""


def write(daemon: str, left: Left) -> int:
    """Put the message into a memfd that an exec inherits; gives its descriptor. Raises OSError."""
    encoded = msgspec.json.encode(
        Envelope(
            VERSION,
            daemon,
            RELEASE,
            sorted(set(left.descriptors)),
            msgspec.Raw(msgspec.json.encode(left.state)),
            sorted(set(left.layouts)),
        )
    )
    fd = os.memfd_create("ringline-handover", 0)
    try:
        os.fchmod(fd, 0o600)
        os.pwrite(fd, encoded, 0)
    except OSError:
        os.close(fd)
        raise
    return fd


def received(daemon: str) -> Inherited | None:
    """What a predecessor of this process left, if it had one; once. Raises HandoverRefused."""
    number = os.environ.pop(ENVIRONMENT, "")
    if not number.isdigit():
        return None
    fd = int(number)
    try:
        envelope = msgspec.json.decode(os.pread(fd, MESSAGE_BYTES_MAX, 0), type=Envelope)
    except (OSError, msgspec.DecodeError) as error:
        raise HandoverRefused(f"no message in descriptor {fd}: {error}") from None
    os.close(fd)
    if envelope.version > VERSION:
        raise HandoverRefused(
            f"release {envelope.release} hands over in version {envelope.version}, this one takes up to {VERSION}"
        )
    foreign = set(envelope.layouts) - set(SUPPORTED_MAJORS)
    if foreign:
        raise HandoverRefused(
            f"release {envelope.release} holds segments of layout {named(sorted(foreign))}, "
            f"this one speaks {named(SUPPORTED_MAJORS)}"
        )
    if envelope.daemon != daemon:
        raise HandoverRefused(f"a {envelope.daemon} left it, and this is {daemon}")
    return Inherited(envelope)


def own_command() -> list[str]:
    """How this process was started: the same again runs what is installed there now."""
    return [sys.executable, *sys.orig_argv[1:]]


def environment(message_fd: int) -> dict[str, str]:
    """For a process that is to find the message."""
    return {**os.environ, ENVIRONMENT: str(message_fd)}


def replace_code(message_fd: int, descriptors: Iterable[int]) -> NoReturn:
    """Become what is installed now, in this process. Raises OSError, and then all is as before.

    The caller has blocked FORK_BLOCKED_SIGNALS, which stay so until `unblock_signals` in the new code.
    """
    descriptors = set(descriptors)
    try:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        command = own_command()
        os.execve(command[0], command, environment(message_fd))
    except OSError:
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        raise


def block_signals() -> None:
    """From here to the new code's handlers a signal waits; by default it would kill the daemon."""
    signal.pthread_sigmask(signal.SIG_BLOCK, FORK_BLOCKED_SIGNALS)


def unblock_signals() -> None:
    """The handlers are there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FORK_BLOCKED_SIGNALS)
