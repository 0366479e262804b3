"""The `[media]` section of the configuration file.

Read by the transceiver's main module through shm/daemon, which checks types and bounds. Every option is read when a
transceiver starts; a change needs a restart.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The media thread: batches, early packets, reports."""

    batch: Annotated[int, Meta(ge=1, le=256)] = 64
    """Packets taken from one worker's ring before the next worker's turn. Also what a dying transceiver can lose of
    each ring. Default 64; restart."""

    coalesce_us: Annotated[int, Meta(ge=0, le=5000)] = 0
    """Microseconds to let packets gather after a turn that was not full, instead of waiting to be woken: saves wake-ups
    at light load, adds at most so much latency. Default 0, no added delay; restart."""

    early_calls: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Calls that may have SRTP kept at once whose keys have not come yet; 8 packets each, 13 kB of memory each. Default
    64: set-ups in the same half second whose client is faster than our handshake; restart."""

    early_time_ms: Annotated[int, Meta(ge=1, le=5000)] = 500
    """How long such packets are kept, ms. Default 500, two lost handshake flights; restart."""

    report_interval_ms: Annotated[int, Meta(ge=500, le=60000)] = 5000
    """Mean time between RTCP reports of a call, ms; each is spread by half of it either way (RFC 3550 6.2: 5 s).
    Default 5000; restart."""
