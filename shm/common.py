"""The section `[ringline]` of the configuration: what both daemons must agree on. Read by both at their start."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct


class Ringline(Struct, frozen=True, forbid_unknown_fields=True):
    """What all daemons of one machine share. Every option needs a restart of both."""

    runtime_directory: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=80,
            description="Directory of the control socket, the locks and ufrag.keys; both daemons' users can read it. "
            "At most 80 characters, because a Unix socket's whole path has 107.",
        ),
    ] = "/run/ringline"

    machine: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Number of this machine among those that know each other's ufrags. It is written into every "
            "call's ufrag.",
        ),
    ] = 0

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least important messages that are logged. Never one a packet, whatever the level."),
    ] = "info"
