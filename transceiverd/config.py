"""The sections `[transceiver]` and `[application]` of `ringline.toml`; `settings.py` lists the others and loads all.

Every field's meaning, unit, default and whether it needs a restart stands in its description; `shm/daemon` makes
errors and the reference page from it.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from transceiverd.candidates import advertised_addresses

Cpu = Annotated[int, Meta(ge=0, le=4095)]


class TransceiverSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[transceiver]`: how many there are, what they may hold, what they advertise."""

    count: Annotated[
        int, Meta(ge=0, le=64, description="Transceiver processes. 0: one for every two CPUs. Restart.")
    ] = 0
    slots: Annotated[
        int,
        Meta(ge=1, le=65536, description="Calls that one transceiver can hold; 16 KiB of memory each. Restart."),
    ] = 1024
    half_open_max: Annotated[
        int,
        Meta(
            ge=1,
            le=65536,
            description="Calls of one transceiver that are answered and not yet connected; further ones get 429."
            " Default 512: half of the slots stay for calls that live, and 200 set-ups a second may take 2.5 s each."
            " Reload.",
        ),
    ] = 512
    cpus: Annotated[
        list[Cpu],
        Meta(
            description="CPUs for the transceivers, in turn, both threads. Empty: wherever the kernel likes. Restart."
        ),
    ] = msgspec.field(default_factory=list)
    media_cpus: Annotated[
        list[Cpu],
        Meta(
            description="CPUs for the transceivers' media threads, in turn, so that audio and handshakes do not share "
            "one. Empty: as `cpus`. Restart."
        ),
    ] = msgspec.field(default_factory=list)
    advertise: Annotated[
        list[str],
        Meta(
            description="Addresses to put into answers as host candidates, IPv4 and IPv6. `public=local`: 1:1 NAT, as "
            "in `203.0.113.7=10.0.0.5`. `auto`, or an empty list: all of this machine that the relay listens on. "
            "Reload, for new calls."
        ),
    ] = msgspec.field(default_factory=list)
    stuck_after_ms: Annotated[
        int,
        Meta(
            ge=500,
            le=60_000,
            description="A transceiver whose loop stands still this long is replaced; waiting for a CPU does not count."
            " Reload.",
        ),
    ] = 3000
    handshake_ring_bytes: Annotated[
        int, Meta(ge=65536, le=1 << 26, description="Ring for STUN and DTLS a lane, power of two. Restart.")
    ] = 1 << 18
    media_ring_bytes: Annotated[
        int,
        Meta(ge=65536, le=1 << 26, description="Ring for RTP and RTCP a lane and direction, power of two. Restart."),
    ] = 1 << 20
    control_ring_bytes: Annotated[
        int, Meta(ge=65536, le=1 << 26, description="Ring for answers and flow records a lane, power of two. Restart.")
    ] = 1 << 18
    drain_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="How long SIGTERM lets calls go on: no new ones meanwhile, and the daemon ends with the last. "
            "Default 0: whoever stops a service or reboots waits for it. `relayctl drain --deadline` and `relayctl "
            "upgrade --deadline` say it for one occasion. Reload.",
        ),
    ] = 0.0
    upgrade_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=604_800,
            description="How long calls go on in transceivers of the older release after an upgrade. Default 3600: "
            "hardly a call lasts longer, and until then the older ones keep their memory. Reload.",
        ),
    ] = 3600.0
    goodbyes_per_second: Annotated[
        float,
        Meta(
            ge=0,
            le=100_000,
            description="Calls that are ended in a second by a stop, a drain's or an upgrade's deadline; 0: all at "
            "once. Each client redials when it hears it, and a set-up costs its server about 2.5 ms of CPU: the "
            "default of 100 is a quarter of a CPU. Reload.",
        ),
    ] = 100.0
    stop_seconds: Annotated[
        float,
        Meta(
            ge=0,
            le=60,
            description="How long a transceiver that has said its last goodbye may take to end; then it is killed. "
            "Reload.",
        ),
    ] = 2.0

    def __post_init__(self) -> None:
        for name in ("handshake_ring_bytes", "media_ring_bytes", "control_ring_bytes"):
            size = getattr(self, name)
            if size & (size - 1):
                raise ValueError(f"{name}: found {size}, allowed are powers of two")
        try:
            advertised_addresses(self.advertise)
        except ValueError as error:
            raise ValueError(f"advertise: {error}") from None


class ApplicationSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[application]`: what a call is connected to."""

    type: Annotated[Literal["echo"], Meta(description="`echo`: audio comes back. Reload, for new calls.")] = "echo"
