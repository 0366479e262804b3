"""The `[dtls]` section of the configuration: bounds and times of a handshake.

Read by the transceiver process, which hands it to every engine. All of it needs a restart to change: calls that are
set up at different times would otherwise behave differently.
"""

from typing import Annotated

import msgspec
from msgspec import Meta


class DtlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Handshake limits. What is over one of them is a counted drop; the handshake then runs into its time-out."""

    handshake_timeout_ms: Annotated[int, Meta(ge=500, le=60_000)] = 10_000
    """From the first check to the end of the handshake, in milliseconds (default 10 s: a peer that is alive needs two
    round trips; a client SDK gives up on a call after 5 s). Restart."""

    client_hello_retransmit_ms: Annotated[int, Meta(ge=20, le=1_000)] = 50
    """First retransmission of our ClientHello, in milliseconds; doubles each time. Short, because some peers miss one
    that comes before they are ready, and because it is small (about 165 bytes). Restart."""

    retransmit_ms: Annotated[int, Meta(ge=20, le=1_000)] = 100
    """First retransmission of any other flight, in milliseconds; doubles each time. RFC 6347 section 4.2.4.1 suggests
    one second, which a voice call does not have. Restart."""

    retransmit_max_ms: Annotated[int, Meta(ge=100, le=60_000)] = 1_600
    """Longest time between two retransmissions, in milliseconds. Restart."""

    resends_max: Annotated[int, Meta(ge=1, le=1_000)] = 32
    """Retransmissions of all flights together, whether by time or because the peer repeated its own. The default is
    three flights over the whole default time-out. Restart."""

    mtu: Annotated[int, Meta(ge=256, le=16_384)] = 1_200
    """Largest DTLS datagram sent, in bytes: 1,280 (IPv6's least) minus IP, UDP and some tunnel. Restart."""

    handshake_datagrams_max: Annotated[int, Meta(ge=8, le=100_000)] = 256
    """Datagrams looked at in one handshake; one without loss has about 3, ten seconds of retransmissions about 60.
    Restart."""

    handshake_bytes_max: Annotated[int, Meta(ge=4_096, le=16_777_216)] = 262_144
    """Bytes looked at in one handshake. Restart."""

    handshake_fragments_max: Annotated[int, Meta(ge=8, le=100_000)] = 1_024
    """Handshake fragments looked at in one handshake. Restart."""

    message_bytes_max: Annotated[int, Meta(ge=1_024, le=16_372)] = 16_372
    """Longest handshake message, by its declared length, in bytes: what one record holds (2^14 minus the message's
    header). The longest in practice is a certificate chain of a few kB. Restart."""

    reassembly_bytes_max: Annotated[int, Meta(ge=4_096, le=262_144)] = 32_768
    """Bytes of handshake messages in reassembly at any time, by their declared lengths. Restart."""
