"""The section `[ringline]` of the configuration: what both daemons must agree on. Read by both at their start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct


class Ringline(Struct, frozen=True, forbid_unknown_fields=True):
    """What all daemons of one machine share."""

    runtime_directory: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=80,
            description="Directory of the control socket, the locks and ufrag.keys; both daemons' users can read it. "
            "At most 80 characters, because a Unix socket's whole path has 107. Restart.",
        ),
    ] = "/run/ringline"

    machine: Annotated[
        int,
        Meta(
            ge=0,
            le=65535,
            description="Number of this machine among those that know each other's ufrags. It is written into every "
            "call's ufrag. Restart.",
        ),
    ] = 0

    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(
            description="The least important messages that are logged. Never one a packet, whatever the level. Reload."
        ),
    ] = "info"

    log_lines_per_second: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Lines that one process writes to its log in a second, and as many again of warnings and up;"
            " what is over is left out, and how much is said. Default 300: a busy second has 200 calls begin, and a"
            " disk takes it for ever. Restart.",
        ),
    ] = 300

    log_addresses: Annotated[
        Literal["full", "network", "none"],
        Meta(
            description="Clients' addresses in logs: as they are; only the network (IPv4 /24, IPv6 /48); or not at all."
            " The operator's listener still shows them while a call is known. Default full: who runs a server wants to"
            " find a caller's trouble. Restart.",
        ),
    ] = "full"


SERVICE_DIRECTORY = Path("/run/ringline")
"""Made by systemd/tmpfiles.conf for root and the group of both daemons, where Ringline is installed."""


def default_runtime_directory() -> Path:
    """/run/ringline for root and for whom it was made; else the user's own, so that a checkout runs without set-up."""
    uid = os.geteuid()
    if uid == 0 or os.access(SERVICE_DIRECTORY, os.W_OK | os.X_OK):
        return SERVICE_DIRECTORY
    user_directory = os.environ.get("XDG_RUNTIME_DIR", "")
    return Path(user_directory) / "ringline" if user_directory else Path(f"/tmp/ringline-{uid}")


def runtime_directory(common: Ringline) -> Path:
    """The default is for a service; without root it cannot be made, and the user's own takes its place."""
    if common.runtime_directory == Ringline().runtime_directory:
        return default_runtime_directory()
    return Path(common.runtime_directory)
