"""Errors as clients see them: `{"error": {"type", "code", "message", "param"}}` with the right status (DESIGN 5).

Handlers raise `HttpError`, the SDP package `SdpError`, the router `RouterError`; one middleware turns all of them into
JSON, and aiohttp's own (404, 405, 413, ...) as well. Anything else is our bug: it is logged with its traceback and
answered with 500. A request that the client broke never gets there.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from transceiverd.sdp.errors import MalformedSdp, SdpError
from transceiverd.signalling.router import RouterError

logger = logging.getLogger("signalling")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
}


class HttpError(Exception):
    """A refusal with everything the client shall learn of it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.headers = dict(headers or {})


def error_response(error: HttpError) -> web.Response:
    """The JSON of an error."""
    kind = TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    body = {"error": {"type": kind, "code": error.code, "message": error.message, "param": error.param}}
    return json_response(body, error.status, error.headers)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Any msgspec-encodable value as JSON that no cache keeps."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
    )


def as_http_error(error: Exception) -> HttpError | None:
    """The error a client shall see, or None for a bug of ours."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, SdpError):
        return HttpError(400 if isinstance(error, MalformedSdp) else 422, error.code, error.message, param=error.param)
    if isinstance(error, RouterError):
        retry = {"Retry-After": str(max(1, error.retry_after))}
        return HttpError(error.status, error.code, error.message, headers=retry)
    if isinstance(error, web.HTTPException):
        return _from_aiohttp(error)
    if isinstance(error, (web.RequestPayloadError, HttpProcessingError)):
        return HttpError(400, "malformed_body", "the body breaks off or is not well-formed HTTP")
    return None


def _from_aiohttp(error: web.HTTPException) -> HttpError:
    kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    code = CODES.get(error.status, "http_error")
    return HttpError(error.status, code, error.reason.lower(), headers=kept)


@web.middleware
async def errors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers whatever a handler raises."""
    try:
        return await handler(request)
    except ConnectionError:
        raise  # the client is gone; aiohttp closes the connection
    except Exception as error:  # the border: what is not known is logged, then answered with 500
        known = as_http_error(error)
        if known is None:
            logger.exception("a bug in the handler of %s", request.match_info.route.resource)
            known = HttpError(500, "internal_error", "an error inside the server; it is logged there")
        return error_response(known)
