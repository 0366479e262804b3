"""The `[dtls]` section of the configuration: bounds and times of a handshake.

Read by the transceiver process, which hands it to every engine. A reload changes it for calls
that are made afterwards.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


class DtlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Handshake limits. What is over one of them is a counted drop; the handshake then runs into its time-out."""

    handshake_timeout_ms: Annotated[
        int,
        Meta(
            ge=500,
            le=60_000,
            description="From the first accepted check to the end of the handshake, milliseconds. It takes two round "
            "trips; a client SDK gives up on a call after 5 s. Reload, for new calls.",
        ),
    ] = 10_000

    client_hello_retransmit_ms: Annotated[
        int,
        Meta(
            ge=20,
            le=1_000,
            description="First retransmission of our ClientHello, milliseconds; doubles each time. Short: some peers "
            "miss one that comes before they are ready, and it is small. Reload, for new calls.",
        ),
    ] = 50

    retransmit_ms: Annotated[
        int,
        Meta(
            ge=20,
            le=1_000,
            description="First retransmission of any other flight, milliseconds; doubles each time. RFC 6347 4.2.4.1 "
            "suggests a second, which a voice call does not have. Reload, for new calls.",
        ),
    ] = 100

    retransmit_max_ms: Annotated[
        int,
        Meta(
            ge=100,
            le=60_000,
            description="Longest time between two retransmissions, milliseconds. Reload, for new calls.",
        ),
    ] = 1_600

    resends_max: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Retransmissions of all flights of a handshake together, by time or because the peer repeated "
            "its own. The default is three flights over the whole default time-out. Reload, for new calls.",
        ),
    ] = 32

    mtu: Annotated[
        int,
        Meta(
            ge=256,
            le=16_384,
            extra={"unit": "bytes"},
            description="Largest DTLS datagram sent, bytes. The default is IPv6's least MTU, 1,280, without IP, UDP "
            "and a tunnel's header. Reload, for new calls.",
        ),
    ] = 1_200

    handshake_datagrams_max: Annotated[
        int,
        Meta(
            ge=8,
            le=100_000,
            description="Datagrams looked into in one handshake. One without loss has about 3, ten seconds of a peer's "
            "retransmissions about 60. Reload, for new calls.",
        ),
    ] = 256

    handshake_bytes_max: Annotated[
        int, Meta(ge=4_096, le=16_777_216, description="Bytes looked into in one handshake. Reload, for new calls.")
    ] = 262_144

    handshake_fragments_max: Annotated[
        int,
        Meta(ge=8, le=100_000, description="Handshake fragments looked into in one handshake. Reload, for new calls."),
    ] = 1_024

    handshakes_per_turn: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000,
            description="Datagrams of handshakes that a transceiver gives to OpenSSL in one turn; the others wait for"
            " the next. Each may be a signature and a key exchange, half a millisecond: the default keeps a turn below"
            " 10 ms for everybody's checks. Restart.",
        ),
    ] = 16

    handshakes_per_call: Annotated[
        int,
        Meta(
            ge=4,
            le=4_096,
            description="Datagrams of one call's handshake that may wait; further ones are dropped. The default is two"
            " flights with a long certificate chain. Restart.",
        ),
    ] = 32

    records_per_call: Annotated[
        int,
        Meta(
            ge=4,
            le=4_096,
            description="Datagrams of one established association that may wait; further ones are dropped, which its"
            " data channels repeat. The default is 75 kB, a turn's work. Restart.",
        ),
    ] = 64

    message_bytes_max: Annotated[
        int,
        Meta(
            ge=1_024,
            le=16_372,
            description="Longest handshake message, by its declared length, bytes. The most is what one record holds; "
            "the longest in practice is a certificate chain of a few kB. Reload, for new calls.",
        ),
    ] = 16_372

    reassembly_bytes_max: Annotated[
        int,
        Meta(
            ge=16_384,
            le=262_144,
            description="Bytes of handshake messages in reassembly at any time, by their declared lengths. Reload, for "
            "new calls.",
        ),
    ] = 32_768
