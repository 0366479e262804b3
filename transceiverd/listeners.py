"""The signalling process's listeners: public HTTP and HTTPS, and the operator's socket and port (DESIGN 5).

Used by `signalling_process.py`; what is served there is `transceiverd/signalling`, on the sockets of `listening.py`.
"""

import logging

from aiohttp import web

from transceiverd.listening import OPERATOR, OPERATOR_SOCKET, PUBLIC, PUBLIC_TLS, Doors
from transceiverd.sdp.negotiate import NegotiationConfig
from transceiverd.signalling.app import SERVICE, build_public_app
from transceiverd.signalling.clients import Clients
from transceiverd.signalling.config import OperatorSection, SignallingSection
from transceiverd.signalling.guard import ConnectionGuard
from transceiverd.signalling.operator import TOKENS, build_operator_app, signalling_metrics
from transceiverd.signalling.router import CallRouter
from transceiverd.signalling.server import HttpServer
from transceiverd.signalling.tls import LiveCertificate

log = logging.getLogger("signalling")


class Listeners:
    """Everything that listens for HTTP."""

    def __init__(
        self,
        config: SignallingSection,
        operator: OperatorSection,
        router: CallRouter,
        negotiation: NegotiationConfig,
        doors: Doors,
    ) -> None:
        self._config = config
        self._doors = doors
        public = build_public_app(config, router, negotiation)
        service = self._service = public[SERVICE]
        public_guard = ConnectionGuard(config.connections_max, config.request_seconds)
        _configure_public(public_guard, config)
        private = build_operator_app(
            operator,
            router,
            lambda: signalling_metrics(service.counters, len(public_guard.connections), public_guard.counters),
        )
        self._public = self._server(public, public_guard)
        private_guard = ConnectionGuard(operator.connections_max, config.request_seconds, config.header_seconds)
        self._private_app = private
        self._private = self._server(private, private_guard)
        self._tls: LiveCertificate | None = None

    def _server(self, app: web.Application, guard: ConnectionGuard) -> HttpServer:
        return HttpServer(
            app,
            guard,
            keepalive_timeout=self._config.idle_seconds,
            max_field_size=self._config.header_bytes_max,
            max_line_size=self._config.header_bytes_max,
            max_headers=self._config.headers_max,
        )

    async def start(self) -> None:
        """Serve them all. OSError when the certificate cannot be used."""
        tls = self._tls = self._certificate()
        await self._public.start()
        await self._private.start()
        for name, end in self._doors.sockets.items():
            address = self._doors.addresses[name]
            if name in (OPERATOR, OPERATOR_SOCKET):
                await self._private.listen(end)
            else:
                await self._public.listen(end, tls.context if tls is not None and name == PUBLIC_TLS else None)
                scheme = {PUBLIC: "http", PUBLIC_TLS: "https"}[name]
                log.info("call page and API on %s://%s:%d/", scheme, _host(address.host), address.port)
        if not {PUBLIC, PUBLIC_TLS} & self._doors.sockets.keys():
            log.warning("[signalling] port and tls_port are both 0: nobody can place a call")

    def configure(self, config: SignallingSection, operator: OperatorSection, negotiation: NegotiationConfig) -> None:
        """A reload: for requests from now on. Connections stay; TLS ones keep the certificate they began with."""
        self._config = config
        self._service.configure(config, negotiation)
        self._private_app[TOKENS].replace(operator.tokens)
        _configure_public(self._public.guard, config)
        self._private.guard.configure(operator.connections_max, config.request_seconds, config.header_seconds)
        if self._tls is not None:
            try:
                self._tls.replace(config.tls_certificate or "", config.tls_key)
            except OSError as error:  # the supervisor has read them a moment ago
                log.error("[signalling] tls_certificate %s: %s; the old one stays", config.tls_certificate, error)

    async def stop(self) -> None:
        """Accept no more, answer what is in work. The sockets go on to listen: they are the supervisor's, too."""
        await self._public.stop()
        await self._private.stop()

    def _certificate(self) -> LiveCertificate | None:
        config = self._config
        if not config.tls_port:
            return None
        assert config.tls_certificate, "check_exposure has looked"
        try:
            return LiveCertificate(config.tls_certificate, config.tls_key)
        except OSError as error:  # ssl.SSLError is one
            raise OSError(f"[signalling] tls_certificate {config.tls_certificate}: {error}") from error


def _configure_public(guard: ConnectionGuard, config: SignallingSection) -> None:
    clients = Clients(config.proxies, config.unlimited)
    guard.configure(
        config.connections_max,
        config.request_seconds,
        config.header_seconds,
        config.connections_per_address_max,
        clients.counted_peer,
    )


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
