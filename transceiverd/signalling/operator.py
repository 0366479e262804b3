"""The operator's application: `/metrics`, `/v1/sessions`, `/v1/sessions/{id}/stats` (DESIGN 5).

Reached through a Unix socket, whose file permissions are its protection, and on TCP at loopback, where any process of
the machine can come and so can a web page in its browser: there the Host must be a loopback name, nothing is said about
cross-origin requests, and tokens may be asked for. Orders to the daemon go
to its supervisor (shm/daemon/orders.py).
"""

import socket
from collections import Counter
from collections.abc import Callable

import msgspec
from aiohttp import web
from aiohttp.typedefs import Middleware

from shm.daemon.logs import suppressed_lines
from transceiverd.signalling.auth import TokenList
from transceiverd.signalling.calls import known_id, no_such_call
from transceiverd.signalling.config import OperatorSection
from transceiverd.signalling.diagnosis import diagnose
from transceiverd.signalling.errors import Handler, errors_middleware, json_response
from transceiverd.signalling.hosts import LOOPBACK_NAMES, HostRule
from transceiverd.signalling.metrics import CONTENT_TYPE, exposition, from_counter
from transceiverd.signalling.router import CallRouter, Metric, RouterError, Sample

TOKENS = web.AppKey("tokens", TokenList)
EMPTY = len(b"[]")
BODY_BYTES_MAX = 4096  # nothing here takes a body yet


def build_operator_app(
    config: OperatorSection, router: CallRouter, own_metrics: Callable[[], list[Metric]] | None = None
) -> web.Application:
    """The application. `own_metrics` are those of the signalling process itself (`signalling_metrics`)."""
    tokens = TokenList(config.tokens)
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[errors_middleware, _local_only(tokens)])
    app[TOKENS] = tokens
    OperatorRoutes(router, own_metrics or list).register(app.router)
    return app


class OperatorRoutes:
    """What operators may see."""

    def __init__(self, router: CallRouter, own_metrics: Callable[[], list[Metric]]) -> None:
        self._router = router
        self._own_metrics = own_metrics

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        router.add_get("/metrics", self.metrics)
        router.add_get("/v1/sessions", self.sessions)
        router.add_get("/v1/sessions/{call_id}/stats", self.stats)

    async def metrics(self, request: web.Request) -> web.Response:
        """Counters and gauges of all processes."""
        text = exposition([*await self._router.metrics(), *self._own_metrics()])
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    async def sessions(self, request: web.Request) -> web.StreamResponse:
        """All live calls, sent page by page. What is wrong before the first is an error; after it the list ends and
        says that it is not whole."""
        pages = self._router.sessions()
        first = await anext(pages, b"[]")
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Cache-Control": "no-store"})
        await response.prepare(request)
        await response.write(b'{"sessions":[' + first[1:-1])
        end, separator = b"]}", b"," if len(first) > EMPTY else b""
        try:
            async for page in pages:
                if len(page) > EMPTY:
                    await response.write(separator + page[1:-1])
                    separator = b","
        except RouterError as error:
            end = b'],"incomplete":' + msgspec.json.encode(error.code) + b"}"
        await response.write_eof(end)
        return response

    async def stats(self, request: web.Request) -> web.Response:
        """One call, with what may be wrong with it."""
        snapshot = await self._router.snapshot(known_id(request.match_info["call_id"]))
        if snapshot is None:
            raise no_such_call()
        return json_response({"session": snapshot, "diagnosis": diagnose(snapshot)})


def signalling_metrics(calls: Counter[str], connections: int, connection_events: Counter[str]) -> list[Metric]:
    """The signalling process's own counters."""
    return [
        from_counter("ringline_signalling_calls", "Call requests by outcome.", "outcome", calls),
        from_counter("ringline_signalling_connections", "HTTP connections by event.", "event", connection_events),
        Metric(
            "ringline_signalling_log_lines_suppressed",
            "counter",
            "Log lines left out as too many a second.",
            [Sample({}, float(suppressed_lines()))],
        ),
        Metric("ringline_signalling_open", "gauge", "Open HTTP connections.", [Sample({}, float(connections))]),
    ]


def _local_only(tokens: TokenList) -> Middleware:
    anybody, locals_only = HostRule(any_name=True), HostRule(LOOPBACK_NAMES)

    @web.middleware
    async def local_only(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not _through_unix_socket(request):
            (locals_only if tokens.open else anybody).require(request)
            tokens.require(request)
        return await handler(request)

    return local_only


def _through_unix_socket(request: web.Request) -> bool:
    """Only the kernel is asked: a transport that cannot tell counts as TCP."""
    end = request.get_extra_info("socket")
    return end is not None and end.family == socket.AF_UNIX
