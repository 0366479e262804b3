"""The other end of a packet path: a UDP echo with keys, on a thread, that can lose, repeat, delay and forge."""

import socket
import threading
from collections.abc import Callable, Sequence

from transceiverd.media.srtp import SrtpContext

PROFILE = 0x0007
KEYS = (bytes(range(16)), bytes(range(12))), (bytes(range(16, 32)), bytes(range(12, 24)))
SSRC = 0x01020304
Change = Callable[[int, bytes], Sequence[bytes | bytearray]]
"""From the number of a packet and what goes back to all that shall go back; a bytearray goes without protection."""


def client_contexts(ssrc: int) -> tuple[SrtpContext, SrtpContext]:
    """Outbound and inbound, as the caller has them."""
    return SrtpContext(PROFILE, *KEYS[0], ssrc), SrtpContext(PROFILE, *KEYS[1])


class EchoServer:
    """Echoes RTP of each client address under fresh contexts; answers what is not RTP with `pong`."""

    def __init__(self, address: str, change: Change = lambda _number, packet: [packet]) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._end = socket.socket(family, socket.SOCK_DGRAM)
        self._end.bind((address, 0))
        self.address = address
        self.port: int = self._end.getsockname()[1]
        self.clients: set[tuple[str, int]] = set()
        self._change = change
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "EchoServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(self._end.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"\0stop", (self.address, self.port))
        self._thread.join()
        self._end.close()

    def _run(self) -> None:
        contexts: dict[tuple[str, int], tuple[SrtpContext, SrtpContext]] = {}
        numbers: dict[tuple[str, int], int] = {}
        while (received := self._end.recvfrom(2048))[0] != b"\0stop":
            data, source = received
            self.clients.add(source[:2])
            if not 128 <= data[0] <= 191:
                self._end.sendto(b"\0pong" + data, source)
                continue
            if source not in contexts:
                contexts[source] = SrtpContext(PROFILE, *KEYS[0]), SrtpContext(PROFILE, *KEYS[1], SSRC)
            inbound, outbound = contexts[source]
            packet = bytearray(inbound.unprotect(data))
            packet[8:12] = SSRC.to_bytes(4, "big")
            numbers[source] = numbers.get(source, -1) + 1
            for each in self._change(numbers[source], bytes(packet)):
                self._end.sendto(each if isinstance(each, bytearray) else outbound.protect(each), source)
