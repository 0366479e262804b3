"""The call API: `/v1/realtime/calls` (DESIGN 5, FACTS 2), shared by WHIP where both do the same.

One object for one application. Every route here but the preflight needs a token where tokens are configured, the very
one that the call was placed with, and a call id on top: ids cannot be guessed (`callid.py`), so who has both may end
and watch that call. For anybody else it is not there.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from typing import Literal, TypeVar

from aiohttp import web

from shm.daemon.log_addresses import client_address
from transceiverd import callid
from transceiverd.sdp.errors import SdpError
from transceiverd.sdp.negotiate import NegotiationConfig, negotiate
from transceiverd.sdp.parse import parse_offer
from transceiverd.signalling.auth import TokenList
from transceiverd.signalling.body import CallRequest, read_call_request
from transceiverd.signalling.clients import Clients
from transceiverd.signalling.config import SignallingSection
from transceiverd.signalling.cors import CrossOrigin
from transceiverd.signalling.diagnosis import diagnose
from transceiverd.signalling.errors import Handler, HttpError, as_http_error, json_response
from transceiverd.signalling.pace import SetupPaces
from transceiverd.signalling.router import CallContext, CallRouter, CallSnapshot, Created, Unavailable

logger = logging.getLogger("signalling")

CALLS = "/v1/realtime/calls"
T = TypeVar("T")


class CallService:
    """Placing, ending and explaining calls, whatever the dialect of the request."""

    def __init__(
        self, config: SignallingSection, router: CallRouter, negotiation: NegotiationConfig, tokens: TokenList
    ) -> None:
        self.tokens = tokens
        self.counters: Counter[str] = Counter()
        """Calls created and hung up, and offers refused by code: for `/metrics`."""
        self._router = router
        self._pending = 0
        self._paces = SetupPaces(
            config.setups_per_second, config.setups_burst, config.setups_per_second_address, config.setups_burst_address
        )
        self.configure(config, negotiation)

    def configure(self, config: SignallingSection, negotiation: NegotiationConfig) -> None:
        """For requests from now on."""
        self.config = config
        self.tokens.replace(config.tokens if config.auth == "tokens" else ())
        self.cors = CrossOrigin(config.cors_origins, tokens=config.auth == "tokens")
        self._negotiation = negotiation
        self._limits = config.sdp_limits()
        self.clients = Clients(config.proxies, config.unlimited)
        self._paces.configure(
            config.setups_per_second, config.setups_burst, config.setups_per_second_address, config.setups_burst_address
        )

    @contextlib.contextmanager
    def admitted(self, request: web.Request, dialect: Literal["realtime", "whip"]) -> Iterator[CallContext]:
        """Around a set-up, before anything is read of it: who asks, and whether one more may be begun now.

        Whatever refuses it is counted by its code. Raises HttpError, LimitReached.
        """
        try:
            owner = self.tokens.require(request)
            address = self.clients.address(request)
            counted = self.clients.counted(address)
            self._paces.admit(counted, time.monotonic())
            try:
                yield CallContext(address, dialect, owner=owner, counted=counted)
            except (HttpError, SdpError, web.HTTPException):  # what is no offer takes nobody's turn
                self._paces.refund()
                raise
        except Exception as error:
            known = as_http_error(error)
            if known is not None:
                self.counters[f"refused_{known.code}"] += 1
            raise

    async def place(self, wanted: CallRequest, context: CallContext) -> Created:
        """From an offer to an answer. Raises SdpError, RouterError."""
        negotiation = negotiate(parse_offer(wanted.sdp, self._limits), self._negotiation)
        if self._pending >= self.config.calls_pending_max:
            raise Unavailable("too_many_pending", "too many calls are being set up at this moment")
        self._pending += 1
        try:
            created = await self.ask(self._router.create(negotiation, context._replace(session=wanted.session)))
        finally:
            self._pending -= 1
        self.counters["created"] += 1
        place = client_address(context.client_address)
        logger.info("%s placed by %s (%s)", callid.short(created.call_id), place, context.dialect)
        return created

    async def end(self, call_id: str, owner: str) -> None:
        """Hang up. HttpError 404 for a call that is not, or is another's."""
        if not await self.ask(self._router.hangup(known_id(call_id), owner)):
            raise no_such_call()
        self.counters["hung_up"] += 1

    async def explain(self, call_id: str, owner: str) -> web.Response:
        """The diagnosis of a call as JSON."""
        snapshot = await self._seen(call_id, owner)
        if snapshot is None:
            raise no_such_call()
        return json_response(diagnose(snapshot))

    async def exists(self, call_id: str, owner: str) -> bool:
        """Whether a call lives."""
        snapshot = await self._seen(call_id, owner)
        return snapshot is not None and snapshot.state not in ("closing", "closed")

    async def _seen(self, call_id: str, owner: str) -> CallSnapshot | None:
        """What this owner may see of a call."""
        snapshot = await self.ask(self._router.snapshot(known_id(call_id)))
        return snapshot if snapshot is not None and snapshot.owner == owner else None

    async def ask(self, answer: Awaitable[T]) -> T:
        """What the router says, or Unavailable when it says nothing in time."""
        try:
            async with asyncio.timeout(self.config.router_seconds):
                return await answer
        except TimeoutError:
            raise Unavailable("no_reply", "the transceiver did not reply in time") from None


class CallRoutes:
    """The HTTP face of `CallService` under `/v1/realtime/calls`."""

    def __init__(self, service: CallService) -> None:
        self._service = service

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the routes."""
        one = CALLS + "/{call_id}"
        router.add_post(CALLS, self.create)
        router.add_post(one + "/hangup", self.hangup)
        router.add_delete(one, self.hangup)
        router.add_get(one + "/diagnosis", self.diagnosis)
        for path, methods in (
            (CALLS, "POST, OPTIONS"),
            (one, "DELETE, OPTIONS"),
            (one + "/hangup", "POST, OPTIONS"),
            (one + "/diagnosis", "GET, OPTIONS"),
        ):
            router.add_options(path, self._preflight(methods))

    async def create(self, request: web.Request) -> web.Response:
        """`POST /v1/realtime/calls`."""
        with self._service.admitted(request, "realtime") as context:
            wanted = await read_call_request(request, self._service.config.request_seconds)
            created = await self._service.place(wanted, context)
        return answer_response(created, f"{CALLS}/{created.call_id}")

    async def hangup(self, request: web.Request) -> web.Response:
        """`POST /v1/realtime/calls/{id}/hangup`, and DELETE as our extension."""
        owner = self._service.tokens.require(request)
        await self._service.end(request.match_info["call_id"], owner)
        return web.Response(status=200)

    async def diagnosis(self, request: web.Request) -> web.Response:
        """`GET /v1/realtime/calls/{id}/diagnosis`: what the server knows, for the page."""
        owner = self._service.tokens.require(request)
        return await self._service.explain(request.match_info["call_id"], owner)

    def _preflight(self, methods: str) -> Handler:
        async def options(request: web.Request) -> web.Response:
            return self._service.cors.preflight(request, methods)

        return options


def answer_response(created: Created, location: str, headers: dict[str, str] | None = None) -> web.Response:
    """201 with the answer. The path has no slash or query behind (DESIGN 5)."""
    return web.Response(
        status=201,
        body=created.answer_sdp.encode("utf-8"),
        headers={
            "Content-Type": "application/sdp",
            "Location": location,
            "Cache-Control": "no-store",
            **(headers or {}),
        },
    )


def known_id(call_id: str) -> str:
    """The id, if it is written like one; else nobody need be asked."""
    if callid.route(call_id) is None:
        raise no_such_call()
    return call_id


def no_such_call() -> HttpError:
    """The same words for an id that never was, one that ended, and one that is malformed."""
    return HttpError(404, "call_not_found", "there is no such call", param="call_id")
