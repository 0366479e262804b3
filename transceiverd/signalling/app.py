"""The public application: the call API, WHIP, the call page, and whether all is well (DESIGN 5).

Built for `server.py`, or for a test client. Middlewares from outside in: cross-origin headers (on errors too), errors
as JSON, the Host and Origin rules.
"""

from aiohttp import web
from aiohttp.typedefs import Middleware

from transceiverd.sdp.negotiate import NegotiationConfig
from transceiverd.signalling.auth import TokenList
from transceiverd.signalling.calls import CALLS, CallRoutes, CallService
from transceiverd.signalling.config import SignallingSection
from transceiverd.signalling.errors import Handler, HttpError, errors_middleware, json_response
from transceiverd.signalling.hosts import LOOPBACK_NAMES, HostRule
from transceiverd.signalling.page_files import PageFiles
from transceiverd.signalling.router import CallRouter, Unavailable
from transceiverd.signalling.whip import WHIP, WhipRoutes

SERVICE = web.AppKey("service", CallService)


def build_public_app(
    config: SignallingSection,
    router: CallRouter,
    negotiation: NegotiationConfig | None = None,
    page: PageFiles | None = None,
) -> web.Application:
    """The application, with its `CallService` under the key `SERVICE`."""
    service = CallService(config, router, negotiation or NegotiationConfig(), TokenList())
    app = web.Application(
        client_max_size=config.body_bytes_max,
        middlewares=[_cross_origin(service), errors_middleware, _host(service)],
    )
    app[SERVICE] = service
    CallRoutes(service).register(app.router)
    WhipRoutes(service).register(app.router)
    Health(service, router).register(app.router)
    (page or PageFiles()).register(app.router)
    return app


def host_rule(config: SignallingSection) -> HostRule:
    """Any name where tokens protect the server, unless the configuration names its hosts."""
    if config.hosts:
        return HostRule([*config.hosts, *LOOPBACK_NAMES])
    return HostRule(LOOPBACK_NAMES, any_literal=True, any_name=config.auth == "tokens")


class Health:
    """`/healthz`: this process answers. `/readyz`: a call made now could succeed."""

    def __init__(self, service: CallService, router: CallRouter) -> None:
        self._service = service
        self._router = router

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get("/healthz", self.health)
        router.add_get("/readyz", self.readiness)

    async def health(self, request: web.Request) -> web.Response:
        """Always 200."""
        return json_response({"status": "ok"})

    async def readiness(self, request: web.Request) -> web.Response:
        """200, or 503 with the reasons."""
        try:
            ready = await self._service.ask(self._router.ready())
        except Unavailable as error:
            raise HttpError(503, error.code, error.message, headers={"Retry-After": str(error.retry_after)}) from None
        body = {"ready": ready.ready, "reasons": list(ready.reasons)}
        if ready.ready:
            return json_response(body)
        return json_response(body, 503, {"Retry-After": str(ready.retry_after)})


def _cross_origin(service: CallService) -> Middleware:
    @web.middleware
    async def cross_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if request.path.startswith((CALLS, WHIP)):  # nothing else is for pages of other origins
            service.cors.mark(request, response)
        return response

    return cross_origin


def _host(service: CallService) -> Middleware:
    config, rule = service.config, host_rule(service.config)

    @web.middleware
    async def host(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal config, rule
        if config is not service.config:  # a reload
            config, rule = service.config, host_rule(service.config)
        hosts = service.clients.host(request)
        rule.require(request, hosts)
        try:
            service.cors.require(request, hosts)
        except HttpError as error:
            service.counters[f"refused_{error.code}"] += 1
            raise
        return await handler(request)

    return host
