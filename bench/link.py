"""A bad link between two UDP ports of loopback: delay and loss, in user space, as a process of its own.

    python -m bench.link LEFT RIGHT DELAY_MS LOSS SEED

`LEFT` and `RIGHT` are the ports of the two ends. Prints the two ports they have to send to. Every packet is held for
`DELAY_MS` one way; the chance of loss is drawn from one generator a direction, so the same seed loses the same packets
(by their number), whoever is measured.
"""

import random
import select
import socket
import sys
import time
from collections import deque

BUFFER_BYTES = 8 << 20  # the link itself loses nothing
SO_RCVBUFFORCE = 33
BATCH = 64  # packets taken from one side before the other is looked at
PACKET_BYTES = 4_000


class Side:
    """Where one end sends to; what is on its way from there."""

    def __init__(self, peer_port: int, seed: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(("127.0.0.1", peer_port))
        self.socket.setblocking(False)
        self.random = random.Random(seed)
        self.flying: deque[tuple[float, bytes]] = deque()

    def take(self, delay: float, loss: float) -> None:
        """What has come."""
        for _ in range(BATCH):
            try:
                data = self.socket.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:  # the end is not there yet, or no more
                continue
            if self.random.random() >= loss:
                self.flying.append((time.monotonic() + delay, data))

    def deliver(self, other: "Side", now: float) -> None:
        """What is due goes out at the other side."""
        while self.flying and self.flying[0][0] <= now:
            try:
                other.socket.send(self.flying.popleft()[1])
            except OSError:  # the end is not there yet, or no more
                continue


def run(left: Side, right: Side, delay: float, loss: float) -> None:
    """Until killed."""
    sides = (left, right)
    while True:
        due = min((side.flying[0][0] for side in sides if side.flying), default=None)
        wait = None if due is None else max(0.0, due - time.monotonic())
        for ready in select.select([side.socket for side in sides], [], [], wait)[0]:
            (left if ready is left.socket else right).take(delay, loss)
        now = time.monotonic()
        left.deliver(right, now)
        right.deliver(left, now)


def main() -> None:
    """See above."""
    left, right = (Side(int(port), int(sys.argv[5]) + place) for place, port in enumerate(sys.argv[1:3]))
    print(left.socket.getsockname()[1], right.socket.getsockname()[1], flush=True)
    run(left, right, float(sys.argv[3]) / 1000, float(sys.argv[4]))


if __name__ == "__main__":
    main()
