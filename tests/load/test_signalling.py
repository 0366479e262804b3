"""Placing calls over HTTP: 201, refusals with their reason, and the server's wish to be called later."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from transceiverd.load.signalling import CallRefused, Dialer

Story = Callable[[Dialer], Awaitable[None]]


def serve(handlers: list[web.Response | Exception], story: Story, path: str = "") -> list[web.Request]:
    """Run the story against a server that answers with these, one a request; gives the requests."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        return handlers[len(seen) - 1]  # type: ignore[return-value]

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", answer)
        async with TestServer(app) as server, Dialer(str(server.make_url(path)), "secret", 5) as dialer:
            await story(dialer)

    asyncio.run(run())
    return seen


def created(location: str = "/v1/realtime/calls/rtc_1") -> web.Response:
    return web.Response(status=201, text="v=0", headers={"Location": location})


@pytest.mark.parametrize(
    ("path", "posted", "location"),
    [
        ("", "/v1/realtime/calls", "/v1/realtime/calls/rtc_1"),
        ("/", "/v1/realtime/calls", "/v1/realtime/calls/rtc_1"),
        ("/whip", "/whip", "/whip/rtc_1"),
        ("/janus/whip/endpoint/abc", "/janus/whip/endpoint/abc", "resource/1"),
    ],
)
def test_signalling_posts_the_offer_and_ends_where_the_location_says(path: str, posted: str, location: str) -> None:
    async def story(dialer: Dialer) -> None:
        placed = await dialer.place("offer")
        assert placed.sdp == "v=0"
        await dialer.end(placed.location)

    post, delete = serve([created(location), web.Response()], story, path)
    assert (post.method, post.path, post.headers["Content-Type"]) == ("POST", posted, "application/sdp")
    assert post.headers["Authorization"] == "Bearer secret"
    assert delete.method == "DELETE"
    assert delete.path.endswith(location)


def test_signalling_comes_again_when_the_server_says_so() -> None:
    async def story(dialer: Dialer) -> None:
        assert (await dialer.place("offer")).attempts == 3
        assert dialer.paced == 2

    later = [web.Response(status=status, headers={"Retry-After": "0"}) for status in (429, 503)]
    assert len(serve([*later, created()], story)) == 3


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (web.json_response({"error": {"code": "no_audio", "message": "x"}}, status=400), "http 400 no_audio"),
        (web.Response(status=503), "http 503"),
        (web.Response(status=429, headers={"Retry-After": "20"}), "http: paced for too long"),
        (web.Response(status=500, text='{"code":"<b>not ours"}'), "http 500"),
    ],
)
def test_signalling_refusal_has_a_short_reason(response: web.Response, reason: str) -> None:
    async def story(dialer: Dialer) -> None:
        with pytest.raises(CallRefused) as refused:
            await dialer.place("offer")
        assert str(refused.value) == reason

    serve([response], story)


def test_signalling_nobody_there_is_a_refusal() -> None:
    async def story() -> None:
        async with Dialer("http://127.0.0.1:1", "", 2) as dialer:
            with pytest.raises(CallRefused, match="http: ClientConnectorError"):
                await dialer.place("offer")

    asyncio.run(story())
