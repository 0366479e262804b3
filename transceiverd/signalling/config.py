"""The sections `[signalling]` and `[operator]` of `ringline.toml`.

Read through `shm/daemon`, which makes errors and the reference page from the descriptions. What one field alone
cannot say (who may be reached from where) is checked in `exposure.py`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from transceiverd.sdp.limits import SdpLimits
from transceiverd.signalling.clients import Networks

# As a Host header may have it, without port: with one, or with a scheme, it would never be equal to any.
HostName = Annotated[str, Meta(pattern=r"^([A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?)$", max_length=255)]
Origin = Annotated[str, Meta(pattern=r"^(\*|null|[a-z][a-z0-9+.-]*://[^/?#@\s]+)$")]
Token = Annotated[str, Meta(min_length=16, max_length=512, pattern=r"^[A-Za-z0-9._~+/-]+=*$")]


class SignallingSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[signalling]`: the public HTTP listener."""

    listen: Annotated[
        str, Meta(description="Address of the plain HTTP listener. Other than loopback needs `auth`. Restart.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Its TCP port. 0: no plain HTTP listener. Restart.")] = 8080
    auth: Annotated[
        Literal["tokens", "none"] | None,
        Meta(
            description="`tokens`: callers need one of `tokens`. `none`: everybody may call, from wherever `listen` can"
            " be reached. Unset: as `none`, and only loopback may be listened on. Reload."
        ),
    ] = None
    tokens: Annotated[
        list[Token],
        Meta(
            description='Bearer tokens for `auth = "tokens"`, at least 16 characters each. Reload.',
            extra={"secret": True},
        ),
    ] = msgspec.field(default_factory=list)
    tokens_file: Annotated[
        str | None,
        Meta(
            description="File of further tokens, one a line, `#` for comments. A relative name is looked for in"
            " $CREDENTIALS_DIRECTORY first, where systemd puts a service's secrets (LoadCredential=). Reload."
        ),
    ] = None
    tls_listen: Annotated[
        str, Meta(description="Address of the HTTPS listener. Other than loopback needs `auth`. Restart.")
    ] = "127.0.0.1"
    tls_port: Annotated[int, Meta(ge=0, le=65535, description="Its TCP port. 0: no HTTPS listener. Restart.")] = 0
    tls_certificate: Annotated[
        str | None,
        Meta(description="PEM file of the certificate chain for HTTPS; a relative name as `tokens_file`. Reload."),
    ] = None
    tls_key: Annotated[
        str | None, Meta(description="PEM file of its private key; a relative name as `tokens_file`. Reload.")
    ] = None
    hosts: Annotated[
        list[HostName],
        Meta(
            description="Host names accepted in requests, without port. Empty: with tokens any, else only names of"
            " loopback and literal addresses (against DNS rebinding). Reload."
        ),
    ] = msgspec.field(default_factory=list)
    cors_origins: Annotated[
        list[Origin],
        Meta(
            description="Origins whose pages may place calls, as `https://app.example`; our own page always may. `*`:"
            " any; tokens still count. Empty: with tokens any, else pages of this machine (`http://localhost:...`),"
            " since a server without tokens would take calls from every page that somebody here opens. Reload."
        ),
    ] = msgspec.field(default_factory=list)
    proxies: Annotated[
        list[str],
        Meta(
            description="Addresses or networks of reverse proxies, whose X-Forwarded-For and -Host are believed:"
            " bounds for one address then count the client behind, and logs name it. Nothing depends on"
            " X-Forwarded-Proto: `Location` is a path, and there are no cookies. Empty: nobody's, since anybody can"
            " write one. Reload."
        ),
    ] = msgspec.field(default_factory=list)
    unlimited: Annotated[
        list[str],
        Meta(
            description="Networks whose calls and connections are not bounded by address. Default loopback: this"
            " machine's own programs, and a proxy that `proxies` does not name. Reload."
        ),
    ] = msgspec.field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    calls_max: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Calls of this machine at once; further ones get 429. Default 0: as many as transceivers have"
            " slots. Reload.",
        ),
    ] = 0
    calls_per_address_max: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Calls at once from one IPv4 address or IPv6 /64; further ones get 429. 0: no bound. Default"
            " 100: an office behind one address, and a tenth of one transceiver's slots. Reload.",
        ),
    ] = 100
    calls_per_token_max: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000,
            description="Calls at once with one token; further ones get 429. Default 0, no bound: one token often"
            " serves a whole application. Reload.",
        ),
    ] = 0
    setups_per_second: Annotated[
        float,
        Meta(
            gt=0,
            le=100_000,
            description="Call set-ups a second; further ones get 429 and a Retry-After that spreads them. Default 200:"
            " at 2.5 ms each half of one CPU, and a thousand redials within 5 s. Reload.",
        ),
    ] = 200.0
    setups_burst: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Set-ups at once after a pause. Default 200, a second's worth. Reload."),
    ] = 200
    setups_per_second_address: Annotated[
        float,
        Meta(
            gt=0,
            le=100_000,
            description="Set-ups a second from one IPv4 address or IPv6 /64. Default 10: an office that redials, and a"
            " twentieth of what the server does. Reload.",
        ),
    ] = 10.0
    setups_burst_address: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Set-ups at once from one address after a pause. Default 20. Reload."),
    ] = 20
    offer_bytes_max: Annotated[
        int, Meta(ge=4096, le=262_144, description="Bytes of an SDP offer; larger ones get 400. Reload.")
    ] = 65_536
    offer_lines_max: Annotated[int, Meta(ge=100, le=20_000, description="Lines of an offer; more get 400. Reload.")] = (
        2_000
    )
    offer_sections_max: Annotated[
        int, Meta(ge=1, le=64, description="Media sections of an offer; more get 400. Reload.")
    ] = 16
    offer_candidates_max: Annotated[
        int, Meta(ge=0, le=4096, description="Candidates of an offer; more get 400. None is ever contacted. Reload.")
    ] = 256
    body_bytes_max: Annotated[
        int, Meta(ge=8192, le=1 << 20, description="Bytes of a request body, offer and session; more get 413. Restart.")
    ] = 131_072
    header_bytes_max: Annotated[
        int, Meta(ge=1024, le=65_536, description="Bytes of one header line; more get 400. Restart.")
    ] = 8_190
    headers_max: Annotated[int, Meta(ge=16, le=512, description="Header lines of a request. Restart.")] = 64
    connections_max: Annotated[
        int, Meta(ge=8, le=100_000, description="HTTP connections at once; further ones get 503. Reload.")
    ] = 1_024
    connections_per_address_max: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Of these from one IPv4 address or IPv6 /64; further ones get 429. Default 64: ten browsers"
            " with six connections each. Reload.",
        ),
    ] = 64
    header_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="Seconds from the connection, or from a further request's first byte, to the end of the"
            " request's header, TLS handshake included; then it is cut off. Default 5: one lost packet and its"
            " repetitions on a slow line. Reload.",
        ),
    ] = 5.0
    request_seconds: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="Seconds from a request's first byte to its answer's last; then it is cut off. Reload.",
        ),
    ] = 30.0
    idle_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="Seconds that an idle connection is kept open. Restart.")
    ] = 60.0
    calls_pending_max: Annotated[
        int, Meta(ge=1, le=10_000, description="Calls being set up at once; further ones get 503. Reload.")
    ] = 256
    router_seconds: Annotated[
        float, Meta(gt=0, le=60, description="Seconds that a transceiver has for a reply; then 503. Reload.")
    ] = 5.0

    def __post_init__(self) -> None:
        if self.auth == "tokens" and not self.tokens and self.tokens_file is None:
            raise ValueError('auth = "tokens" needs tokens or tokens_file')
        if self.auth != "tokens" and (self.tokens or self.tokens_file is not None):
            raise ValueError('tokens are given but not asked for: add auth = "tokens"')
        for key in ("proxies", "unlimited"):
            try:
                Networks(getattr(self, key))
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from None
        if self.tls_port and not (self.tls_certificate and self.tls_key):
            raise ValueError("tls_port needs tls_certificate and tls_key")
        if self.tls_certificate and not self.tls_port:
            raise ValueError("tls_certificate is given, but nobody would serve it: add a tls_port")

    def sdp_limits(self) -> SdpLimits:
        """The bounds of offers, as the parser takes them."""
        return SdpLimits(
            bytes_max=self.offer_bytes_max,
            lines_max=self.offer_lines_max,
            sections_max=self.offer_sections_max,
            candidates_max=self.offer_candidates_max,
        )


class OperatorSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[operator]`: metrics and sessions, for people who run the server."""

    socket: Annotated[
        str,
        Meta(description="Unix socket, mode 0660; relative to the runtime directory. Empty: none. Restart."),
    ] = "operator.sock"
    listen: Annotated[
        str, Meta(description="Address of the TCP listener. Other than loopback needs `tokens`. Restart.")
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Its TCP port. 0: none. Restart.")] = 9478
    tokens: Annotated[
        list[Token],
        Meta(
            description="Bearer tokens for the TCP listener. Empty: none asked for, loopback only. Reload.",
            extra={"secret": True},
        ),
    ] = msgspec.field(default_factory=list)
    tokens_file: Annotated[
        str | None, Meta(description="File of further tokens, as `tokens_file` in [signalling]. Reload.")
    ] = None
    connections_max: Annotated[
        int, Meta(ge=4, le=10_000, description="Connections at once; further ones get 503. Reload.")
    ] = 64


SECTIONS: dict[str, type[msgspec.Struct]] = {"signalling": SignallingSection, "operator": OperatorSection}
