"""The `[ice]` section of the configuration: how long a lite agent waits, and how often it answers a stranger.

Loaded by the transceiver through `shm/daemon`; the engines take the struct as it is.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


class IceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a lite agent waits, and how often it answers a stranger."""

    never_checked_ms: Annotated[
        int,
        Meta(
            ge=1_000,
            le=600_000,
            description="An answered call that gets no valid check for so long is dropped. A browser gives up sooner."
            " Reload, for new calls.",
        ),
    ] = 15_000

    consent_ms: Annotated[
        int,
        Meta(
            ge=5_000,
            le=600_000,
            description="Without a valid check for so long, sending stops (consent, RFC 7675 5.1 says 30 s)."
            " Reload, for new calls.",
        ),
    ] = 30_000

    silent_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="A call whose consent ran out is kept for so long; a valid check within it revives the call."
            " Reload, for new calls.",
        ),
    ] = 30_000

    error_interval_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="At most one 400 or 401 answer a call in this time; other failed checks meet silence."
            " Reload, for new calls.",
        ),
    ] = 1_000

    errors_per_second: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Error answers to checks a second, of all calls of a transceiver; further checks that fail meet"
            " silence. The default is a few for each of many set-ups a second, and 3.6 kB. Reload, for new calls.",
        ),
    ] = 100

    addresses_max: Annotated[
        int,
        Meta(
            ge=1,
            le=4,
            description="Addresses of one call at a time. The default is what a call's record has room for: two"
            " networks, each in IPv4 and IPv6. Reload, for new calls.",
        ),
    ] = 4

    nomination_quiet_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=60_000,
            description="An address that no check nominated for so long loses to a nomination of lower priority. "
            "A phone that leaves Wi-Fi nominates its slower network; this keeps the gap below the 5 s of client SDKs."
            " Reload, for new calls.",
        ),
    ] = 2_000
