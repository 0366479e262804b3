"""Cross-origin requests as the browser SDKs make them."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.sdp.offers import audio_offer
from tests.signalling.local_router import LocalRouter
from tests.signalling.test_calls import CALLS, SDP, with_app
from transceiverd.signalling.app import SERVICE
from transceiverd.signalling.config import SignallingSection

Client = TestClient[web.Request, web.Application]
ORIGIN = {"Origin": "https://app.example"}
PROTECTED = SignallingSection(auth="tokens", tokens=["a-token-of-the-tests"])
TOKEN = {"Authorization": "Bearer a-token-of-the-tests"}


def test_cors_sdk_preflight(router: LocalRouter) -> None:
    """What `@openai/agents-realtime` asks before its POST."""

    async def scenario(client: Client) -> None:
        asked = "authorization,content-type,x-openai-agents-sdk,openai-beta,x-stainless-lang,cookie,x-evil"
        headers = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asked}
        response = await client.options(CALLS, headers=headers)
        assert response.status == 200
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
        allowed = {name.strip().lower() for name in response.headers["Access-Control-Allow-Headers"].split(",")}
        assert {"authorization", "content-type", "x-openai-agents-sdk", "openai-beta", "x-stainless-lang"} <= allowed
        assert not {"cookie", "x-evil"} & allowed
        assert "Access-Control-Allow-Credentials" not in response.headers

    with_app(router, scenario, PROTECTED)


@pytest.mark.parametrize(
    "path", [CALLS, CALLS + "/rtc_x", CALLS + "/rtc_x/hangup", CALLS + "/rtc_x/diagnosis", "/whip", "/whip/rtc_x"]
)
def test_cors_preflight_needs_no_token(router: LocalRouter, path: str) -> None:
    async def scenario(client: Client) -> None:
        headers = {**ORIGIN, "Access-Control-Request-Method": "POST"}
        assert (await client.options(path, headers=headers)).status == 200

    with_app(router, scenario, PROTECTED)


def test_cors_exposes_location_and_errors(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        for body, status in ((audio_offer(), 201), ("hello", 400)):
            response = await client.post(CALLS, data=body, headers={**SDP, **ORIGIN, **TOKEN})
            assert response.status == status
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            exposed = response.headers["Access-Control-Expose-Headers"]
            assert {"Location", "ETag", "Retry-After"} == {name.strip() for name in exposed.split(",")}
        assert "Access-Control-Allow-Origin" not in (await client.get("/healthz")).headers

    with_app(router, scenario, PROTECTED)


def test_cors_configured_origins(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        mine = await client.get(CALLS, headers=ORIGIN)
        assert mine.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]
        assert mine.headers["Vary"] == "Origin"
        other = await client.get(CALLS, headers={"Origin": "https://other.example"})
        assert "Access-Control-Allow-Origin" not in other.headers
        assert other.headers["Vary"] == "Origin"

    with_app(router, scenario, SignallingSection(cors_origins=[ORIGIN["Origin"]]))


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:8000", "http://[::1]"])
def test_cors_without_tokens_this_machine_may(router: LocalRouter, origin: str) -> None:
    async def scenario(client: Client) -> None:
        response = await client.post(CALLS, data=audio_offer(), headers={**SDP, "Origin": origin})
        assert response.status == 201
        assert response.headers["Access-Control-Allow-Origin"] == origin
        assert response.headers["Vary"] == "Origin"

    with_app(router, scenario)


@pytest.mark.parametrize("origin", ["https://app.example", "null", "http://localhost.app.example", "http://[", "x"])
def test_cors_without_tokens_a_stranger_may_not(router: LocalRouter, origin: str) -> None:
    """Not even by a form's POST, which a browser sends without asking first."""

    async def scenario(client: Client) -> None:
        for path in (CALLS, "/whip"):
            asked = await client.options(path, headers={"Origin": origin, "Access-Control-Request-Method": "POST"})
            assert "Access-Control-Allow-Origin" not in asked.headers
            response = await client.post(path, data=audio_offer(), headers={**SDP, "Origin": origin})
            assert response.status == 403
            assert (await response.json())["error"]["code"] == "origin_not_allowed"
            assert "Access-Control-Allow-Origin" not in response.headers

    app = with_app(router, scenario)
    assert app[SERVICE].counters["refused_origin_not_allowed"] == 2


def test_cors_our_own_page_may_whatever_is_listed(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        own = {"Host": "voice.example", "Origin": "https://voice.example"}
        assert (await client.post(CALLS, data=audio_offer(), headers={**SDP, **own})).status == 201

    with_app(router, scenario, SignallingSection(cors_origins=["https://app.example"], hosts=["voice.example"]))
