"""Types of transceiverd/media/channel.pyx."""

from transceiverd.media.srtp import SrtpContext

INSTALL: int
REMOVE: int
REBUILD: int
LANES: int
SRTP_PROVEN: int
BYE_RECEIVED: int
INSTALLED: int
REMOVED: int
REBUILT: int
INSTALL_REFUSED: int
REBUILD_REFUSED: int

class Channel:
    event_fd: int
    command_fd: int
    def send(
        self,
        kind: int,
        slot: int,
        generation: int,
        inbound: SrtpContext | None = None,
        outbound: SrtpContext | None = None,
        bye: bool = False,
    ) -> bool: ...
    def poll(self, max: int = 256) -> list[tuple[int, int, int, bytes, bytes]]: ...
