"""The `[data_channel]` section of the configuration: bounds and times of an SCTP association.

Read by the transceiver process, which hands it to every association. A reload changes it
for calls that are made afterwards: what an association announced it must keep.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


def _milliseconds(least: int, most: int, description: str) -> Meta:
    return Meta(ge=least, le=most, description=f"{description}. Reload, for new calls.")


def _bytes(least: int, most: int, description: str) -> Meta:
    return Meta(ge=least, le=most, description=f"{description}. Reload, for new calls.")


class DataChannelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Association limits. RFC 9260 16 has the telephone network's values; these suit a voice call."""

    mtu: Annotated[
        int,
        _bytes(256, 1_400, "Largest SCTP packet sent; with DTLS, UDP and IPv6 around it it must fit the path"),
    ] = 1_180

    rto_initial_ms: Annotated[
        int, _milliseconds(50, 10_000, "RTO before the first measurement, and of the first INIT")
    ] = 500

    rto_min_ms: Annotated[
        int, _milliseconds(50, 5_000, "Least RTO; must be above the peer's delay of acknowledgements (200 at most)")
    ] = 250

    rto_max_ms: Annotated[int, _milliseconds(500, 60_000, "Most that the RTO backs off to")] = 4_000

    sack_delay_ms: Annotated[
        int, _milliseconds(0, 500, "How long the acknowledgement of a single packet may wait (RFC 9260 6.2)")
    ] = 50

    heartbeat_interval_ms: Annotated[
        int,
        _milliseconds(0, 3_600_000, "HEARTBEAT of an idle association; 0: none, ICE consent watches the path already"),
    ] = 30_000

    init_retransmits_max: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="Unanswered INITs or COOKIE ECHOs before the association is given up. Reload, for new calls.",
        ),
    ] = 10

    retransmits_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="RTOs in a row without any acknowledgement before the association is given up. The default "
            "outlasts the minute that ICE keeps a silent call. Reload, for new calls.",
        ),
    ] = 20

    initial_window_packets: Annotated[
        int, Meta(ge=2, le=64, description="First congestion window, packets. Reload, for new calls.")
    ] = 10

    burst_packets: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="Packets that one event may release (Max.Burst, RFC 9260 6.1). Reload, for new calls.",
        ),
    ] = 8

    max_message_bytes: Annotated[
        int, _bytes(1_024, 16_777_216, "Longest message taken; goes into the answer as a=max-message-size")
    ] = 262_144

    receive_buffer_bytes: Annotated[
        int, _bytes(16_384, 67_108_864, "What an association may hold of messages not yet complete or not yet fetched")
    ] = 1_048_576

    send_buffer_bytes: Annotated[
        int, _bytes(16_384, 67_108_864, "What an association may hold of messages not yet acknowledged")
    ] = 524_288

    interleaved_buffer_bytes: Annotated[
        int,
        _bytes(
            0,
            67_108_864,
            "What incomplete interleaved messages (RFC 8260) may hold beyond receive_buffer_bytes; when that is full "
            "too, nothing can complete and the association is aborted. The default lets 16 of the longest messages "
            "arrive at once",
        ),
    ] = 3_145_728

    buffers_total_bytes: Annotated[
        int,
        Meta(
            ge=1_048_576,
            le=1 << 40,
            description="What all associations of a transceiver may hold together, bytes. An association may hold as "
            "much as is free, at least 16 KiB; beyond that its window shrinks and what comes is refused (counted as "
            "buffers-full). The default has room for 40 calls with both buffers full. Reload.",
        ),
    ] = 67_108_864

    channels_max: Annotated[
        int, Meta(ge=1, le=65_535, description="Data channels of one call at a time. Reload, for new calls.")
    ] = 1_024

    unannounced_channels: Annotated[
        bool,
        Meta(
            description="Whether a message on an unused stream opens a pre-negotiated channel, as an echo needs it; "
            "else it is dropped. Reload, for new calls.",
        ),
    ] = True

    interleaving: Annotated[
        bool, Meta(description="Offer and use I-DATA (RFC 8260) with peers that offer it. Reload, for new calls.")
    ] = True

    zero_checksum: Annotated[
        bool,
        Meta(
            description="Accept packets without CRC32c, which DTLS makes redundant (RFC 9653). Reload, for new calls."
        ),
    ] = True

    def __post_init__(self) -> None:
        if self.rto_max_ms < max(self.rto_min_ms, self.rto_initial_ms):
            raise ValueError("rto_max_ms is below rto_min_ms or rto_initial_ms")
        if self.receive_buffer_bytes < self.max_message_bytes * 5 // 4:
            raise ValueError("receive_buffer_bytes must be at least 1.25 x max_message_bytes, or a message cannot fit")
