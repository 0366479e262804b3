"""The `[media]` section of the configuration file.

Read by the transceiver's main module through shm/daemon, which checks types and bounds. Every option is read when a
transceiver starts; a change needs a restart.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


class Media(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The media thread: batches, early packets, reports."""

    batch: Annotated[
        int,
        Meta(
            ge=1,
            le=256,
            description="Packets taken from one worker's ring before the next worker's turn. Also what a dying "
            "transceiver can lose of each ring. Restart.",
        ),
    ] = 64

    coalesce_us: Annotated[
        int,
        Meta(
            ge=0,
            le=5000,
            description="How long packets may be left to gather, instead of waking the media thread for each. It naps "
            "for as long as four of them take to come, if that is within this bound, and not at all at a lower rate. "
            "0, the default: never, since a timer costs as much as two wake-ups on the CPU of the worker "
            "(`follow_worker`). Restart.",
        ),
    ] = 0

    follow_worker: Annotated[
        bool,
        Meta(
            description="Run on the CPU of the relay worker that the packets come from, as long as they come from one "
            "and both fit there: waking each other is then a change of context instead of an interrupt to another CPU, "
            "a third less CPU a packet and less delay. Not with `transceiver.media_cpus` or `cpus`, which place the "
            "thread for good. Restart.",
        ),
    ] = True

    nice: Annotated[
        int,
        Meta(
            ge=-20,
            le=19,
            description="Nice value of the media thread; see `relay.nice`. Restart.",
        ),
    ] = -5

    early_calls: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="Calls that may have SRTP kept at once whose keys have not come yet; 8 packets each, 13 "
            "kB of memory each. The default: set-ups in the same half second whose client is faster "
            "than our handshake. Restart.",
        ),
    ] = 64

    early_time_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=5000,
            description="How long such packets are kept. The default is two lost handshake flights. Restart.",
        ),
    ] = 500

    report_interval_ms: Annotated[
        int,
        Meta(
            ge=500,
            le=60000,
            description="Mean time between RTCP reports of a call; each is spread by half of it either way (RFC "
            "3550 6.2: 5 s). Restart.",
        ),
    ] = 5000
