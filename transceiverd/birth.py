"""What the supervisor gives a transceiver process at its fork."""

from dataclasses import dataclass

from relayd.ufrag import UfragKeys
from transceiverd.holding import Holding
from transceiverd.settings import Settings

MEDIA_THREAD = (
    "media"  # the name of its second thread, by which the supervisor knows it; the first is the control thread
)


@dataclass(frozen=True)
class Birth:
    """What a transceiver is born with."""

    transceiver: int
    machine: int
    supervisor: int
    holding: Holding
    keys: UfragKeys
    settings: Settings
    lock_fd: int
    cpu: int | None = None  # of the control thread; None: wherever the kernel likes
    media_cpu: int | None = None  # of the media thread; None: where the control thread may run
