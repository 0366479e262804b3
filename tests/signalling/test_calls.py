"""`/v1/realtime/calls`: placing, ending and explaining calls, and every way a request can be wrong."""

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.sdp.offers import NAMES, audio_offer, sample
from tests.signalling.conftest import Scenario, serve
from tests.signalling.local_router import LocalRouter
from transceiverd import callid
from transceiverd.sdp.parse import parse_offer
from transceiverd.signalling.app import SERVICE, build_public_app
from transceiverd.signalling.config import SignallingSection
from transceiverd.signalling.router import CallSnapshot, LimitReached, Readiness, Unavailable

Client = TestClient[web.Request, web.Application]
SDP = {"Content-Type": "application/sdp"}
CALLS = "/v1/realtime/calls"
TOKEN = "a-token-of-the-tests"


def with_app(router: LocalRouter, scenario: Scenario, config: SignallingSection | None = None) -> web.Application:
    """Run against the public application."""
    app = build_public_app(config or SignallingSection(), router)
    serve(app, scenario)
    return app


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and code; the shape of DESIGN 5 is checked on the way."""
    body = await response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"type", "code", "message", "param"}
    assert body["error"]["message"].isprintable()
    return response.status, body["error"]["code"]


@pytest.mark.parametrize("name", NAMES)
def test_calls_answers_every_client(router: LocalRouter, name: str) -> None:
    async def scenario(client: Client) -> None:
        response = await client.post(CALLS, data=sample(name), headers=SDP)
        assert response.status == 201
        assert response.headers["Content-Type"] == "application/sdp"
        location = response.headers["Location"]
        assert location.startswith(CALLS + "/rtc_")
        call_id = location.removeprefix(CALLS + "/")
        assert callid.route(call_id) is not None
        assert call_id in router.calls
        parse_offer(await response.read())
        assert (await client.post(f"{location}/hangup")).status == 200
        assert await error_of(await client.post(f"{location}/hangup")) == (404, "call_not_found")

    with_app(router, scenario)
    assert router.contexts[0].dialect == "realtime"
    assert router.contexts[0].client_address == "127.0.0.1"


def test_calls_content_type_parameters_and_query_are_fine(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        headers = {"Content-Type": "Application/SDP; charset=utf-8"}
        response = await client.post(CALLS + "?model=gpt-realtime", data=audio_offer(), headers=headers)
        assert response.status == 201
        assert "?" not in response.headers["Location"]

    with_app(router, scenario)


def test_calls_delete_ends_a_call(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        location = (await client.post(CALLS, data=audio_offer(), headers=SDP)).headers["Location"]
        assert (await client.delete(location)).status == 200
        assert await error_of(await client.delete(location)) == (404, "call_not_found")

    app = with_app(router, scenario)
    assert app[SERVICE].counters["created"] == app[SERVICE].counters["hung_up"] == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("", 400, "missing_field"),
        (" \r\n", 400, "missing_field"),
        ("hello", 400, "not_sdp"),
        (b"\x00\xff" * 50, 400, "not_utf8"),
        (audio_offer("a=mid:"), 400, "malformed_attribute"),
        (audio_offer(*["a=x:" + "y" * 4000] * 17), 400, "sdp_too_large"),
        (audio_offer(without="a=rtcp-mux"), 422, "rtcp_mux_required"),
        (audio_offer(without="a=fingerprint"), 422, "missing_fingerprint"),
        ("x" * 200_000, 413, "body_too_large"),
    ],
)
def test_calls_bad_offers(router: LocalRouter, body: str | bytes, status: int, code: str) -> None:
    async def scenario(client: Client) -> None:
        assert await error_of(await client.post(CALLS, data=body, headers=SDP)) == (status, code)

    with_app(router, scenario)
    assert not router.calls


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        ({}, 415, "unsupported_media_type"),
        ({**SDP, "Content-Encoding": "gzip"}, 415, "unsupported_encoding"),
        ({"Content-Type": "multipart/form-data"}, 400, "malformed_multipart"),
    ],
)
def test_calls_wrong_headers(router: LocalRouter, headers: dict[str, str], status: int, code: str) -> None:
    async def scenario(client: Client) -> None:
        response = await client.post(
            CALLS, data=audio_offer().encode(), headers=headers, skip_auto_headers=["Content-Type"]
        )
        assert await error_of(response) == (status, code)

    with_app(router, scenario)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", CALLS, 405),
        ("PUT", CALLS, 405),
        ("POST", CALLS + "/", 404),
        ("POST", "/v1/realtime/call", 404),
        ("POST", CALLS + "/rtc_x/hangup", 404),
        ("GET", CALLS + "/rtc_x/hangup", 405),
        ("DELETE", CALLS + "/" + "x" * 100, 404),
        ("DELETE", CALLS + "/..%2f..%2fetc", 404),
        ("GET", CALLS + "/rtc_AAAAAAAAAAAAAAAAAAAAAAAAAA/diagnosis", 404),
        ("GET", "/v1/sessions", 404),
        ("GET", "/metrics", 404),
        ("TRACE", "/healthz", 405),
    ],
)
def test_calls_methods_and_paths_are_strict(router: LocalRouter, method: str, path: str, status: int) -> None:
    async def scenario(client: Client) -> None:
        response = await client.request(method, path)
        assert (await error_of(response))[0] == status
        if status == 405:
            assert response.headers["Allow"]

    with_app(router, scenario)


def test_calls_router_failures(router: LocalRouter) -> None:
    failures = [
        (Unavailable("no_transceiver", "no transceiver is attached to the relay", 2), 503, "no_transceiver", "2"),
        (LimitReached("too_many_calls", "this server is full", 7), 429, "too_many_calls", "7"),
    ]

    async def scenario(client: Client) -> None:
        for failure, status, code, retry in failures:
            router.failure = failure
            response = await client.post(CALLS, data=audio_offer(), headers=SDP)
            assert await error_of(response) == (status, code)
            assert response.headers["Retry-After"] == retry

    with_app(router, scenario)


def test_calls_router_that_says_nothing(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        router.silent = True
        response = await client.post(CALLS, data=audio_offer(), headers=SDP)
        assert await error_of(response) == (503, "no_reply")
        assert response.headers["Retry-After"]

    with_app(router, scenario, SignallingSection(router_seconds=0.05))


def test_calls_bug_is_a_500_without_details(router: LocalRouter, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(client: Client) -> None:
        router.failure = KeyError("secret detail")
        response = await client.post(CALLS, data=audio_offer(), headers=SDP)
        assert "secret" not in await response.text()
        assert await error_of(response) == (500, "internal_error")

    with_app(router, scenario)
    assert "secret detail" in caplog.text


def form(*parts: tuple[str, str, str]) -> aiohttp.FormData:
    """Fields with their media types, as `fetch` and the SDKs send them."""
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value, kind in parts:
        data.add_field(name, value, content_type=kind)
    return data


def test_calls_multipart_with_session(router: LocalRouter) -> None:
    session = json.dumps({"type": "realtime", "model": "gpt-realtime"})

    async def scenario(client: Client) -> None:
        data = form(("sdp", audio_offer(), "application/sdp"), ("session", session, "application/json"))
        assert (await client.post(CALLS, data=data)).status == 201

    with_app(router, scenario)
    assert json.loads(router.contexts[0].session) == {"type": "realtime", "model": "gpt-realtime"}


def test_calls_multipart_without_session(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        assert (await client.post(CALLS, data=form(("sdp", audio_offer(), "text/plain")))).status == 201
        file = aiohttp.FormData()
        file.add_field("sdp", audio_offer(), filename="offer.sdp", content_type="application/sdp")
        assert (await client.post(CALLS, data=file)).status == 201

    with_app(router, scenario)
    assert [context.session for context in router.contexts] == [b"", b""]


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([("session", "{}", "application/json")], "missing_field"),
        ([("sdp", "", "application/sdp")], "missing_field"),
        ([("sdp", "hello", "application/sdp")], "not_sdp"),
        ([("sdp", audio_offer(), "application/sdp"), ("session", "[]", "application/json")], "malformed_session"),
        ([("sdp", audio_offer(), "application/sdp"), ("session", "{", "application/json")], "malformed_session"),
        ([("sdp", audio_offer(), "application/sdp"), ("session", "[" * 9999, "application/json")], "malformed_session"),
    ],
)
def test_calls_multipart_errors(router: LocalRouter, parts: list[tuple[str, str, str]], code: str) -> None:
    async def scenario(client: Client) -> None:
        assert await error_of(await client.post(CALLS, data=form(*parts))) == (400, code)

    with_app(router, scenario)
    assert not router.calls


def test_calls_bound_of_calls_in_work(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        router.silent = True
        first = asyncio.create_task(client.post(CALLS, data=audio_offer(), headers=SDP))
        await router.asked.wait()
        assert await error_of(await client.post(CALLS, data=audio_offer(), headers=SDP)) == (503, "too_many_pending")
        assert await error_of(await first) == (503, "no_reply")
        router.silent = False
        assert (await client.post(CALLS, data=audio_offer(), headers=SDP)).status == 201

    with_app(router, scenario, SignallingSection(calls_pending_max=1, router_seconds=0.5))


def test_calls_diagnosis(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        location = (await client.post(CALLS, data=audio_offer(), headers=SDP)).headers["Location"]
        call_id = location.rpartition("/")[2]
        router.calls[call_id] = CallSnapshot(
            call_id=call_id, state="new", age_ms=6000.0, answered_addresses=["192.0.2.2"], answered_port=3478
        )
        response = await client.get(f"{location}/diagnosis")
        body = await response.json()
        assert response.status == 200
        assert body["stuck_in"] == "ice"
        assert body["advice"][0]["code"] == "no_stun"
        assert body["answered"] == ["192.0.2.2:3478"]

    with_app(router, scenario)


# ------------------------------------------------------------------ who may call


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        (None, 401, "missing_token"),
        ("Basic abc", 401, "missing_token"),
        ("Bearer", 401, "missing_token"),
        ("Bearer ", 401, "missing_token"),
        ("Bearer wrong-token-of-the-tests", 401, "invalid_token"),
        ("Bearer é", 401, "invalid_token"),
        (f"Bearer {TOKEN}x", 401, "invalid_token"),
        (f"Bearer {TOKEN}", 201, ""),
        (f"bearer  {TOKEN} ", 201, ""),
        ("Bearer the-second-token-of-them", 201, ""),
    ],
)
def test_calls_bearer_tokens(router: LocalRouter, header: str | None, status: int, code: str) -> None:
    async def scenario(client: Client) -> None:
        headers = {**SDP, **({"Authorization": header} if header else {})}
        response = await client.post(CALLS, data=audio_offer(), headers=headers)
        assert response.status == status
        if status == 401:
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert (await error_of(response))[1] == code

    config = SignallingSection(auth="tokens", tokens=[TOKEN, "the-second-token-of-them"])
    with_app(router, scenario, config)


def test_calls_every_route_of_a_call_wants_the_token(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        headers = {**SDP, "Authorization": f"Bearer {TOKEN}"}
        location = (await client.post(CALLS, data=audio_offer(), headers=headers)).headers["Location"]
        whip = location.replace(CALLS, "/whip")
        for method, path in (
            ("POST", f"{location}/hangup"),
            ("DELETE", location),
            ("GET", f"{location}/diagnosis"),
            ("POST", "/whip"),
            ("PATCH", whip),
            ("DELETE", whip),
        ):
            assert (await error_of(await client.request(method, path)))[0] == 401
        for path in ("/healthz", "/readyz"):
            assert (await client.get(path)).status == 200
        assert len(router.calls) == 1

    with_app(router, scenario, SignallingSection(auth="tokens", tokens=[TOKEN]))


def test_calls_two_authorization_headers_are_none(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        headers = [("Content-Type", "application/sdp"), *[("Authorization", f"Bearer {TOKEN}")] * 2]
        assert (await error_of(await client.post(CALLS, data=audio_offer(), headers=headers)))[0] == 401

    with_app(router, scenario, SignallingSection(auth="tokens", tokens=[TOKEN]))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:8080", 200),
        ("[::1]:8080", 200),
        ("192.168.1.20", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1", 421),
        ("localhost:80a", 421),
        ("a b", 421),
        ("", 421),
    ],
)
def test_calls_host_rule_without_tokens(router: LocalRouter, host: str, status: int) -> None:
    """A page of another origin whose name resolves to 127.0.0.1 must not read this server as its own."""

    async def scenario(client: Client) -> None:
        response = await client.get("/healthz", headers={"Host": host})
        assert response.status == status

    with_app(router, scenario)


def test_calls_host_rule_with_tokens_or_names(router: LocalRouter) -> None:
    async def any_name(client: Client) -> None:
        assert (await client.get("/healthz", headers={"Host": "voice.example"})).status == 200

    async def named(client: Client) -> None:
        await any_name(client)
        assert (await client.get("/healthz", headers={"Host": "other.example"})).status == 421

    with_app(router, any_name, SignallingSection(auth="tokens", tokens=[TOKEN]))
    with_app(router, named, SignallingSection(hosts=["Voice.Example"]))


def test_calls_health(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        assert await (await client.get("/readyz")).json() == {"ready": True, "reasons": []}
        router.readiness = Readiness(False, ("no transceiver is attached to the relay",))
        response = await client.get("/readyz")
        assert response.status == 503
        assert response.headers["Retry-After"]
        assert (await response.json())["reasons"] == ["no transceiver is attached to the relay"]
        router.silent = True
        assert (await client.get("/readyz")).status == 503
        assert await (await client.get("/healthz")).json() == {"status": "ok"}

    with_app(router, scenario, SignallingSection(router_seconds=0.05))
