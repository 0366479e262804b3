"""Starts transceiverd with every SCTP packet written to a file, one line each: `in` or `out` and its bytes in hex.

Run by the SNAP test instead of `transceiverd.main`; forked processes inherit what is patched here.
"""

import os
import sys

from transceiverd.main import main
from transceiverd.sctp.association import Association


def record(path: str) -> None:
    """From now on."""
    received, polled = Association.receive_datagram, Association.poll_datagram

    def write(direction: str, packet: bytes) -> None:
        with open(path, "a") as file:
            file.write(f"{direction} {packet.hex()}\n")

    def receive_datagram(self: Association, data: bytes, now: int) -> None:
        write("in", data)
        received(self, data, now)

    def poll_datagram(self: Association) -> bytes | None:
        packet = polled(self)
        if packet is not None:
            write("out", packet)
        return packet

    Association.receive_datagram = receive_datagram  # type: ignore[method-assign]
    Association.poll_datagram = poll_datagram  # type: ignore[method-assign]


if __name__ == "__main__":
    record(os.environ["RINGLINE_TEST_SCTP_RECORD"])
    sys.exit(main())
