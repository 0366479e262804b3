from collections.abc import Sequence
from types import TracebackType

from shm.doorbell import CONTROL as CONTROL
from shm.doorbell import MEDIA as MEDIA
from shm.doorbell import WORKER as WORKER
from shm.doorbell import Doorbell
from shm.segment import Segment

HANDSHAKE_IN: int
MEDIA_IN: int
CONTROL_OUT: int
MEDIA_OUT: int
RINGS: int
RING_NAMES: tuple[str, ...]

class Lane:
    @property
    def segment(self) -> Segment: ...
    @property
    def control_fd(self) -> int: ...
    @property
    def media_fd(self) -> int: ...
    @property
    def worker_fd(self) -> int: ...
    @property
    def transceiver(self) -> int: ...
    @property
    def worker(self) -> int: ...
    @property
    def incarnation(self) -> int: ...
    @incarnation.setter
    def incarnation(self, value: int) -> None: ...
    @property
    def fds(self) -> tuple[int, int, int, int]: ...
    @staticmethod
    def create(
        transceiver: int,
        worker: int,
        *,
        handshake_in: int,
        media_in: int,
        control_out: int,
        media_out: int,
        incarnation: int = 0,
        control_fd: int | None = None,
        media_fd: int | None = None,
        major: int | None = None,
    ) -> Lane: ...
    @staticmethod
    def attach(fds: Sequence[int]) -> Lane: ...
    def restore_constants(self) -> None: ...
    def doorbell(self, which: int) -> Doorbell: ...
    def waiting(self, which: int) -> int: ...
    def status(self) -> dict[str, dict[str, int]]: ...
    def close(self) -> None: ...
    def __enter__(self) -> Lane: ...
    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
