"""Starts transceiverd with every SCTP packet written to a file, one line each: `in` or `out` and its bytes in hex.

Run by the SNAP test instead of `transceiverd.main`; forked processes inherit what is patched here.
"""

import os
import sys

from transceiverd.dtls.engine import ApplicationDataReceived, DtlsEngine, Event
from transceiverd.main import main


def record(path: str) -> None:
    """From now on: what DTLS carries is SCTP and nothing else (RFC 8261)."""
    send, poll_event = DtlsEngine.send, DtlsEngine.poll_event

    def write(direction: str, packet: bytes) -> None:
        with open(path, "a") as file:
            file.write(f"{direction} {packet.hex()}\n")

    def recording_send(self: DtlsEngine, data: bytes, now: int) -> None:
        write("out", data)
        send(self, data, now)

    def recording_poll_event(self: DtlsEngine) -> Event | None:
        event = poll_event(self)
        if isinstance(event, ApplicationDataReceived):
            write("in", event.data)
        return event

    DtlsEngine.send = recording_send  # type: ignore[method-assign]
    DtlsEngine.poll_event = recording_poll_event  # type: ignore[method-assign]


if __name__ == "__main__":
    record(os.environ["RINGLINE_TEST_SCTP_RECORD"])
    sys.exit(main())
