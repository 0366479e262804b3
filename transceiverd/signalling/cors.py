"""Cross-origin requests (Fetch Standard, CORS protocol): what browser SDKs need, and nothing else.

A page of another origin may place, watch and end calls; it may send `Authorization`, `Content-Type`, `If-Match` and the
headers that call SDKs put in (`X-OpenAI-Agents-SDK`, `OpenAI-*`, `X-Stainless-*`), and read `Location`, `ETag` and
`Retry-After`. Cookies are never used, so where tokens protect the server `*` as origin gives nothing away: who has no
token gets nothing. Where none do, any page that the user of this machine opens could call the agent here: then only
pages of this machine may, and those that the configuration names. A browser sends some requests without asking first
(a form's POST), so a request that changes something and comes from a page which may not make it is refused.
"""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from aiohttp import web

from transceiverd.signalling.errors import HttpError
from transceiverd.signalling.exposure import is_loopback
from transceiverd.signalling.hosts import host_name

REQUEST_HEADERS = ("Authorization", "Content-Type", "If-Match", "X-OpenAI-Agents-SDK")
SDK_HEADERS = re.compile(r"(?:openai|x-openai|x-stainless)-[a-z0-9-]{1,48}", re.ASCII)
SDK_HEADERS_MAX = 32  # x-stainless-* alone are eight
EXPOSED = "Location, ETag, Retry-After"
SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
MAX_AGE_SECONDS = 7200  # the longest that Chromium keeps a preflight


class CrossOrigin:
    """The rules for one application."""

    def __init__(self, origins: Iterable[str] = (), *, tokens: bool = False) -> None:
        """`origins`: none means any where `tokens` are asked for, else those of this machine."""
        self._origins = frozenset(origins)
        self._any = "*" in self._origins or (tokens and not self._origins)

    def allowed_origin(self, origin: str | None) -> str | None:
        """The value of Access-Control-Allow-Origin; None: no such header."""
        if origin is None:
            return None
        if self._any:
            return "*"
        ours = origin in self._origins or (not self._origins and is_loopback(_host(origin)))
        return origin if ours else None

    def require(self, request: web.BaseRequest, hosts: Sequence[str]) -> None:
        """Raise HttpError 403 for a request that a page may not make. `hosts`: as whose page it would be our own."""
        origin = request.headers.get("Origin")
        if origin is None or request.method in SAFE_METHODS or self.allowed_origin(origin) is not None:
            return
        if _host(origin) in [host_name(host) for host in hosts]:
            return
        raise HttpError(
            403,
            "origin_not_allowed",
            "pages of this origin may not place calls here; `cors_origins` in [signalling] lists those that may",
            param="Origin",
        )

    def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Put the headers onto a response, an error too: a page could not read why it failed otherwise."""
        if not self._any:
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


def _host(origin: str) -> str:
    """Of an Origin header; empty where it has none (`null`: a file, a sandbox)."""
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def allowed_headers(request: web.Request) -> list[str]:
    """The fixed headers, and those asked for that are an SDK's."""
    asked = request.headers.get("Access-Control-Request-Headers", "").split(",")
    names = [name.strip().lower() for name in asked]
    sdk = [name for name in names if SDK_HEADERS.fullmatch(name) and name != "x-openai-agents-sdk"]
    return [*REQUEST_HEADERS, *dict.fromkeys(sdk[:SDK_HEADERS_MAX])]
