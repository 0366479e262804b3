"""Cross-origin requests (Fetch Standard, CORS protocol): what browser SDKs need, and nothing else.

A page of another origin may place, watch and end calls; it may send `Authorization`, `Content-Type`, `If-Match` and the
headers that call SDKs put in (`X-OpenAI-Agents-SDK`, `OpenAI-*`, `X-Stainless-*`), and read `Location`, `ETag` and
`Retry-After`. Cookies are never used, so `*` as origin gives nothing away: who has no token gets nothing.
"""

import re
from collections.abc import Iterable

from aiohttp import web

REQUEST_HEADERS = ("Authorization", "Content-Type", "If-Match", "X-OpenAI-Agents-SDK")
SDK_HEADERS = re.compile(r"(?:openai|x-openai|x-stainless)-[a-z0-9-]{1,48}", re.ASCII)
SDK_HEADERS_MAX = 32  # x-stainless-* alone are eight
EXPOSED = "Location, ETag, Retry-After"
MAX_AGE_SECONDS = 7200  # the longest that Chromium keeps a preflight


class CrossOrigin:
    """The rules for one application."""

    def __init__(self, origins: Iterable[str] = ("*",)) -> None:
        self._origins = frozenset(origins)

    def allowed_origin(self, origin: str | None) -> str | None:
        """The value of Access-Control-Allow-Origin; None: no such header."""
        if origin is None:
            return None
        if "*" in self._origins:
            return "*"
        return origin if origin in self._origins else None

    def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the headers onto a response, an error too: a page could not read why it failed otherwise."""
        if "*" not in self._origins:
            response.headers.add("Vary", "Origin")
        origin = self.allowed_origin(request.headers.get("Origin"))
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED

    def preflight(self, request: web.Request, methods: str) -> web.Response:
        """The answer to OPTIONS on a resource with these methods."""
        headers = {"Allow": methods}
        if "Access-Control-Request-Method" in request.headers:
            headers |= {
                "Access-Control-Allow-Methods": methods,
                "Access-Control-Allow-Headers": ", ".join(allowed_headers(request)),
                "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
                "Vary": "Access-Control-Request-Headers",
            }
        return web.Response(status=200, headers=headers)


def allowed_headers(request: web.Request) -> list[str]:
    """The fixed headers, and those asked for that are an SDK's."""
    asked = request.headers.get("Access-Control-Request-Headers", "").split(",")
    names = [name.strip().lower() for name in asked]
    sdk = [name for name in names if SDK_HEADERS.fullmatch(name) and name != "x-openai-agents-sdk"]
    return [*REQUEST_HEADERS, *dict.fromkeys(sdk[:SDK_HEADERS_MAX])]
