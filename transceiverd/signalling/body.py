"""The body of a call request: read within bounds of size and time, taken apart by its media type.

FACTS 2: `application/sdp`, or `multipart/form-data` with `sdp` and an optional `session` of JSON.
"""

import asyncio
from typing import NamedTuple

import msgspec
from aiohttp import web

from transceiverd.signalling.errors import HttpError
from transceiverd.signalling.multipart import parse_form


class CallRequest(NamedTuple):
    """What a client posted."""

    sdp: bytes
    session: bytes = b""


async def read_body(request: web.Request, seconds: float) -> bytes:
    """The whole body. The application's `client_max_size` bounds it; HttpError 408 when it takes too long."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise HttpError(415, "unsupported_encoding", "a compressed body is not accepted", param="Content-Encoding")
    if request.content.is_eof():  # it came with the header: there is nothing to wait for
        return await request.read()
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise HttpError(408, "request_timeout", f"the body did not come within {seconds:g} s") from None


async def read_call_request(request: web.Request, seconds: float) -> CallRequest:
    """The offer and the session of a request to `/v1/realtime/calls`."""
    kind = request.content_type
    if kind not in ("application/sdp", "multipart/form-data"):
        raise unsupported_type("application/sdp or multipart/form-data")
    body = await read_body(request, seconds)
    if kind == "application/sdp":
        return CallRequest(_not_empty(body))
    fields = parse_form(body, request.headers.get("Content-Type", ""))
    if "sdp" not in fields:
        raise HttpError(400, "missing_field", "the form has no field sdp", param="sdp")
    return CallRequest(_not_empty(fields["sdp"]), _session(fields.get("session", b"")))


async def read_sdp(request: web.Request, seconds: float) -> bytes:
    """The offer of a request that carries nothing else (WHIP)."""
    if request.content_type != "application/sdp":
        raise unsupported_type("application/sdp")
    return _not_empty(await read_body(request, seconds))


def unsupported_type(wanted: str) -> HttpError:
    """415 that names what would do (RFC 9110 15.5.16)."""
    return HttpError(415, "unsupported_media_type", f"the body must be {wanted}", param="Content-Type")


def _not_empty(sdp: bytes) -> bytes:
    if not sdp.strip():
        raise HttpError(400, "missing_field", "the offer is empty", param="sdp")
    return sdp


def _session(raw: bytes) -> bytes:
    """A JSON object, or nothing. It is passed on as it is: only its wrapping is judged here."""
    if not raw.strip():
        return b""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HttpError(400, "malformed_session", "the field session is not a JSON object", param="session")
    return raw
