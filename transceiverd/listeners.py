"""The signalling process's listeners: public HTTP and HTTPS, and the operator's socket and port (DESIGN 5).

Used by `signalling_process.py`; what is served there is `transceiverd/signalling`. All sockets are bound before any is
served, so a port that is taken is said at once and nothing half-works.
"""

import logging
import socket
from pathlib import Path

from aiohttp import web

from transceiverd.sdp.negotiate import NegotiationConfig
from transceiverd.signalling.app import SERVICE, build_public_app
from transceiverd.signalling.clients import Clients
from transceiverd.signalling.config import OperatorSection, SignallingSection
from transceiverd.signalling.guard import ConnectionGuard
from transceiverd.signalling.operator import TOKENS, build_operator_app, signalling_metrics
from transceiverd.signalling.router import CallRouter
from transceiverd.signalling.server import HttpServer, open_tcp, open_unix
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
        runtime_directory: Path,
    ) -> None:
        self._config = config
        self._operator = operator
        self._operator_path = runtime_directory / operator.socket
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
        """Bind everything, then serve. OSError (`[signalling]` or `[operator]` named in it) when that is impossible."""
        config, operator = self._config, self._operator
        tls = self._tls = self._certificate()
        await self._public.start()
        await self._private.start()
        if config.port:
            end = _bind("[signalling] port", config.listen, config.port)
            await self._public.listen(end)
            log.info("call page and API on http://%s:%d/", _host(config.listen), config.port)
        if tls is not None:
            end = _bind("[signalling] tls_port", config.tls_listen, config.tls_port)
            await self._public.listen(end, tls.context)
            log.info("call page and API on https://%s:%d/", _host(config.tls_listen), config.tls_port)
        if operator.port:
            await self._private.listen(_bind("[operator] port", operator.listen, operator.port))
        if operator.socket:
            await self._private.listen(open_unix(str(self._operator_path)))

    def configure(self, config: SignallingSection, operator: OperatorSection, negotiation: NegotiationConfig) -> None:
        """A reload: for requests from now on. Connections stay; TLS ones keep the certificate they began with."""
        self._config, self._operator = config, operator
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
        """Accept no more, answer what is in work, remove the socket."""
        await self._public.stop()
        await self._private.stop()
        self._operator_path.unlink(missing_ok=True)

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


def _bind(key: str, address: str, port: int) -> socket.socket:
    try:
        return open_tcp(address, port)
    except OSError as error:
        raise OSError(f"{key}: {address} port {port}: {error.strerror}") from error


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
