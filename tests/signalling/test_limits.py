"""What one address, one token, one server may ask for over HTTP, and what whoever is over it is told."""

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.sdp.offers import audio_offer
from tests.signalling.conftest import serve
from tests.signalling.local_router import LocalRouter
from tests.signalling.test_calls import CALLS, SDP, TOKEN, error_of
from transceiverd.signalling.app import SERVICE, build_public_app
from transceiverd.signalling.auth import owner_of
from transceiverd.signalling.config import SignallingSection

Client = TestClient[web.Request, web.Application]
OTHER = "the-second-token-of-them"


def with_app(scenario: object, router: LocalRouter, **config: object) -> web.Application:
    """Run the scenario; the application afterwards, for its counters."""
    app = build_public_app(SignallingSection(**config), router)  # type: ignore[arg-type]
    serve(app, scenario)  # type: ignore[arg-type]
    return app


def test_limits_set_ups_of_one_address_are_paced_and_others_are_not(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        mine, theirs = {**SDP, "X-Forwarded-For": "203.0.113.1"}, {**SDP, "X-Forwarded-For": "203.0.113.2"}
        for expected in (201, 201, 429):
            response = await client.post(CALLS, data=audio_offer(), headers=mine)
            assert response.status == expected
        assert int(response.headers["Retry-After"]) >= 1
        assert (await error_of(response))[1] == "too_many_setups_from_address"
        assert (await client.post("/whip", data=audio_offer(), headers=mine)).status == 429
        assert (await client.post(CALLS, data=audio_offer(), headers=theirs)).status == 201

    app = with_app(scenario, router, proxies=["127.0.0.1"], setups_per_second_address=0.001, setups_burst_address=2)
    assert app[SERVICE].counters["refused_too_many_setups_from_address"] == 2
    assert [context.client_address for context in router.contexts] == ["203.0.113.1", "203.0.113.1", "203.0.113.2"]
    assert {context.counted for context in router.contexts} == {"203.0.113.1", "203.0.113.2"}


def test_limits_garbage_takes_nobodys_turn_and_its_own_address_pays(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        for expected in [400] * 5 + [429]:
            headers = {**SDP, "X-Forwarded-For": "203.0.113.1"}
            assert (await client.post(CALLS, data=b"garbage", headers=headers)).status == expected
        assert (await client.post(CALLS, data=audio_offer(), headers=SDP)).status == 201
        assert (await client.post(CALLS, data=audio_offer(), headers=SDP)).status == 429

    app = with_app(
        scenario, router, proxies=["127.0.0.1"], unlimited=["127.0.0.1"],
        setups_per_second=0.001, setups_burst=1, setups_per_second_address=0.001, setups_burst_address=5,
    )  # fmt: skip
    assert app[SERVICE].counters["refused_not_sdp"] == 5
    assert app[SERVICE].counters["refused_too_many_setups"] == 1


def test_limits_refusals_are_counted_by_code(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        await client.post(CALLS, data=b"x" * 10_000, headers=SDP)
        await client.post(CALLS, data=b"x", headers={"Content-Type": "text/plain"})
        await client.post(CALLS, data=audio_offer(), headers={**SDP, "Authorization": "Bearer wrong-wrong-wrong"})

    app = with_app(scenario, router, body_bytes_max=8192)
    assert app[SERVICE].counters["refused_body_too_large"] == 1
    assert app[SERVICE].counters["refused_unsupported_media_type"] == 1
    app = with_app(scenario, router, auth="tokens", tokens=[TOKEN])
    assert app[SERVICE].counters["refused_missing_token"] == 2
    assert app[SERVICE].counters["refused_invalid_token"] == 1


def test_limits_nobody_sees_or_ends_the_call_of_another_token(router: LocalRouter) -> None:
    """Two applications share a server. One learns a call id of the other's, from a log or a shared screen."""

    async def scenario(client: Client) -> None:
        mine, theirs = ({**SDP, "Authorization": f"Bearer {token}"} for token in (TOKEN, OTHER))
        location = (await client.post(CALLS, data=audio_offer(), headers=mine)).headers["Location"]
        whip = location.replace(CALLS, "/whip")
        requests = (
            ("POST", f"{location}/hangup"),
            ("DELETE", location),
            ("GET", f"{location}/diagnosis"),
            ("PATCH", whip),
            ("DELETE", whip),
        )
        for method, path in requests:
            response = await client.request(method, path, headers=theirs)
            absent = await client.request(method, path[:-30] + "A" * 4 + path[-26:], headers=theirs)
            assert response.status == 404, (method, path)
            assert (await error_of(response))[:2] == (await error_of(absent))[:2], "as if it were not there"
        assert len(router.calls) == 1
        assert (await client.get(f"{location}/diagnosis", headers=mine)).status == 200
        assert (await client.post(f"{location}/hangup", headers=mine)).status == 200
        assert not router.calls

    with_app(scenario, router, auth="tokens", tokens=[TOKEN, OTHER])
    assert router.contexts[0].owner == owner_of(TOKEN) != owner_of(OTHER)


def test_limits_pending_calls_are_counted_before_anything_is_waited_for(router: LocalRouter) -> None:
    """Forty requests in one moment and room for four: not one more gets in, whatever the order of the loop."""

    async def scenario(client: Client) -> None:
        router.silent = True
        responses = await asyncio.gather(*(client.post(CALLS, data=audio_offer(), headers=SDP) for _ in range(40)))
        codes = [(await error_of(response))[1] for response in responses]
        assert (codes.count("no_reply"), codes.count("too_many_pending")) == (4, 36)
        assert all("Retry-After" in response.headers for response in responses)

    with_app(scenario, router, calls_pending_max=4, router_seconds=0.3)


def test_limits_only_call_paths_speak_to_pages_of_other_origins(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        headers = {"Origin": "https://app.example"}
        for path in ("/", "/healthz", "/readyz", "/nothing"):
            assert "Access-Control-Allow-Origin" not in (await client.get(path, headers=headers)).headers, path
        assert "Access-Control-Allow-Origin" in (await client.post(CALLS, headers=headers)).headers

    with_app(scenario, router, cors_origins=["*"])
