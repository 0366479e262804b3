"""WHIP: `POST /whip` and what hangs on it (RFC 9725).

The offer goes the same way as one to the call API. PATCH: trickled candidates are taken and not used (204), since a
lite agent needs none; an ICE restart is not supported yet (422, RFC 9725 4.3.1). The entity tag names the ICE session:
with no restart there is one for each call, made from its id, so that no process need remember it.
"""

import hashlib

from aiohttp import web

from transceiverd.signalling.body import CallRequest, read_body, read_sdp, unsupported_type
from transceiverd.signalling.calls import CallService, answer_response, no_such_call
from transceiverd.signalling.errors import HttpError
from transceiverd.signalling.trickle import MEDIA_TYPE, parse_fragment

WHIP = "/whip"
ENTITY_TAG_CHARACTERS = 16


class WhipRoutes:
    """The HTTP face of `CallService` under `/whip`."""

    def __init__(self, service: CallService) -> None:
        self._service = service

    def register(self, router: web.UrlDispatcher) -> None:
        """Add the routes. Other methods get 405, which RFC 9725 4.1 reserves."""
        session = WHIP + "/{call_id}"
        router.add_post(WHIP, self.create)
        router.add_options(WHIP, self.endpoint_options)
        router.add_patch(session, self.patch)
        router.add_delete(session, self.delete)
        router.add_options(session, self.session_options)

    async def create(self, request: web.Request) -> web.Response:
        """An offer for an answer: 201, Location, ETag."""
        with self._service.admitted(request, "whip") as context:
            sdp = await read_sdp(request, self._service.config.request_seconds)
            created = await self._service.place(CallRequest(sdp), context)
        headers = {"ETag": entity_tag(created.call_id), "Accept-Patch": MEDIA_TYPE}
        return answer_response(created, f"{WHIP}/{created.call_id}", headers)

    async def delete(self, request: web.Request) -> web.Response:
        """The end of the call. An entity tag is ignored here (RFC 9725 4.3.1)."""
        owner = self._service.tokens.require(request)
        await self._service.end(request.match_info["call_id"], owner)
        return web.Response(status=200)

    async def patch(self, request: web.Request) -> web.Response:
        """Trickled candidates: 204. An ICE restart: 422."""
        owner = self._service.tokens.require(request)
        call_id = request.match_info["call_id"]
        if not await self._service.exists(call_id, owner):
            raise no_such_call()
        if request.content_type != MEDIA_TYPE:
            raise unsupported_type(MEDIA_TYPE)
        matches = request.headers.get("If-Match")
        if matches is None:
            raise HttpError(428, "if_match_required", "a PATCH needs If-Match with the ETag of the 201 answer")
        fragment = parse_fragment(await read_body(request, self._service.config.request_seconds))
        if matches.strip() == "*":
            raise restart_unsupported()
        if entity_tag(call_id) not in {tag.strip() for tag in matches.split(",")}:
            raise HttpError(412, "wrong_etag", "If-Match does not name this call's ICE session")
        self._service.counters["trickled_candidates"] += fragment.candidates
        return web.Response(status=204)

    async def endpoint_options(self, request: web.Request) -> web.Response:
        """CORS, and the media type that POST wants (RFC 9725 4.1)."""
        response = self._service.cors.preflight(request, "POST, OPTIONS")
        response.headers["Accept-Post"] = "application/sdp"
        return response

    async def session_options(self, request: web.Request) -> web.Response:
        """CORS for one call."""
        response = self._service.cors.preflight(request, "PATCH, DELETE, OPTIONS")
        response.headers["Accept-Patch"] = MEDIA_TYPE
        return response


def entity_tag(call_id: str) -> str:
    """A strong entity tag of the call's only ICE session (RFC 9110 8.8.3)."""
    digest = hashlib.sha256(b"ringline-whip-etag-1 " + call_id.encode("utf-8", "replace")).hexdigest()
    return f'"{digest[:ENTITY_TAG_CHARACTERS]}"'


def restart_unsupported() -> HttpError:
    """The half of PATCH that is not supported (RFC 9725 4.3.1)."""
    return HttpError(422, "ice_restart_unsupported", "this server does not restart ICE yet; the call goes on")
