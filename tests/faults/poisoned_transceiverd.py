"""transceiverd that dies of what a test calls poison: `python -m tests.faults.poisoned_transceiverd --config FILE`.

A handshake record whose payload holds POISON kills the transceiver that handles it; so does the goodbye of the call in
slot POISONED_SLOT, as an unlucky byte in front of a library's bug would.
"""

import os
import signal
import sys

from shm.ring import Record
from shm.session import SessionRecord
from transceiverd import farewell, main
from transceiverd.calls import CallTable
from transceiverd.dtls.config import DtlsConfig
from transceiverd.engine import Datagram

POISON = b"deadly nightshade"
POISONED_SLOT = 1

receive = CallTable.receive
make_farewell = farewell._farewell


def die() -> None:
    """As a segmentation fault would end it: no handler, no goodbye."""
    os.kill(os.getpid(), signal.SIGKILL)


def poisoned_receive(self: CallTable, record: Record, now: int) -> None:
    """The product's, for all that is not poison."""
    if POISON in record.payload:
        die()
    receive(self, record, now)


def poisoned_farewell(record: SessionRecord, config: DtlsConfig) -> Datagram | None:
    """Likewise."""
    if record.slot == POISONED_SLOT:
        die()
    return make_farewell(record, config)


if __name__ == "__main__":
    CallTable.receive = poisoned_receive  # type: ignore[method-assign]
    farewell._farewell = poisoned_farewell
    sys.exit(main.main())
