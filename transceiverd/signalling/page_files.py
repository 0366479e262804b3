"""The call page's files: read once from the package `transceiverd.signalling.page`, served from memory at `/`.

A closed list: what is not a file of the package with a known ending does not exist. The content security policy lets
the page load its own files and nothing else, no inline script or style included.
"""

import hashlib
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from aiohttp import web

PACKAGE = "transceiverd.signalling"
FOLDER = "page"
INDEX = "index.html"
DEPTH_MAX = 3
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " object-src 'none'",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class PageFile(NamedTuple):
    """One file in memory."""

    content: bytes
    media_type: str
    entity_tag: str


class PageFiles:
    """The files by path below `/`; `/` is the index."""

    def __init__(self, folder: Traversable | None = None) -> None:
        folder = folder if folder is not None else resources.files(PACKAGE) / FOLDER
        self._files = dict(_read(folder, "", DEPTH_MAX))

    def register(self, router: web.UrlDispatcher) -> None:
        """One route for each file: nothing is looked up on disk, and no path can lead out."""
        for name in self._files:
            router.add_get("/" if name == INDEX else f"/{name}", self._serve)

    async def _serve(self, request: web.Request) -> web.Response:
        file = self._files[request.path.removeprefix("/") or INDEX]
        headers = {"ETag": file.entity_tag, "Content-Type": file.media_type, **SECURITY_HEADERS}
        if file.entity_tag in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.content, headers=headers)


def _read(folder: Traversable, prefix: str, depth: int) -> Iterator[tuple[str, PageFile]]:
    if not folder.is_dir() or depth == 0:
        return
    for entry in folder.iterdir():
        suffix = f".{entry.name.rpartition('.')[2]}"
        if entry.is_dir():
            yield from _read(entry, f"{prefix}{entry.name}/", depth - 1)
        elif suffix in MEDIA_TYPES and not entry.name.startswith("."):
            content = entry.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
            yield f"{prefix}{entry.name}", PageFile(content, MEDIA_TYPES[suffix], tag)
