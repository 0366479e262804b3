"""The call page over HTTP: a closed list of files under a strict policy."""

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.signalling.conftest import serve
from tests.signalling.local_router import LocalRouter
from transceiverd.signalling.app import build_public_app
from transceiverd.signalling.config import SignallingSection
from transceiverd.signalling.page_files import PageFiles

Client = TestClient[web.Request, web.Application]


@pytest.fixture
def app(tmp_path: Path, router: LocalRouter) -> web.Application:
    """An application with a page of four files."""
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "app.js").write_text("export {}")
    (tmp_path / "notes.txt").write_text("not to be served")
    (tmp_path / ".hidden.js").write_text("not to be served")
    (tmp_path / "icons").mkdir()
    (tmp_path / "icons" / "a.svg").write_text("<svg/>")
    config = SignallingSection(auth="tokens", tokens=["a-token-of-the-tests"])
    return build_public_app(config, router, page=PageFiles(tmp_path))


def test_page_needs_no_token_and_has_a_strict_policy(app: web.Application) -> None:
    async def scenario(client: Client) -> None:
        for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/icons/a.svg", "image/svg+xml")):
            response = await client.get(path)
            assert response.status == 200
            assert response.content_type == kind
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'self';")
            assert "unsafe" not in policy
            assert "http" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"

    serve(app, scenario)


@pytest.mark.parametrize(
    "path",
    ["/notes.txt", "/.hidden.js", "/icons", "/icons/", "/index.html/", "/app.js/..", "/%2e%2e/app.py", "/app.py", "//"],
)
def test_page_serves_nothing_else(app: web.Application, path: str) -> None:
    async def scenario(client: Client) -> None:
        response = await client.get(path)
        assert response.status == 404 or response.url.path in ("/", "/app.js")

    serve(app, scenario)


def test_page_is_not_sent_twice(app: web.Application) -> None:
    async def scenario(client: Client) -> None:
        tag = (await client.get("/")).headers["ETag"]
        assert (await client.get("/", headers={"If-None-Match": tag})).status == 304
        assert (await client.get("/", headers={"If-None-Match": '"other"'})).status == 200

    serve(app, scenario)


def test_page_may_be_absent(tmp_path: Path, router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        assert (await client.get("/")).status == 404
        assert (await client.get("/healthz")).status == 200

    serve(build_public_app(SignallingSection(), router, page=PageFiles(tmp_path / "missing")), scenario)
