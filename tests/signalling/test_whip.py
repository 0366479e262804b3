"""`/whip`: RFC 9725 from offer to DELETE."""

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.sdp.offers import audio_offer, sample
from tests.signalling.local_router import LocalRouter
from tests.signalling.test_calls import error_of, with_app
from transceiverd import callid
from transceiverd.signalling.trickle import MEDIA_TYPE
from transceiverd.signalling.whip import entity_tag

Client = TestClient[web.Request, web.Application]
SDP = {"Content-Type": "application/sdp"}
FRAGMENT = (
    "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n"
    "a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n"
    "a=candidate:3471623853 1 udp 2122194687 printer.local 61765 typ host\r\na=end-of-candidates\r\n"
)


def test_whip_publishes_and_ends(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        response = await client.post("/whip", data=sample("libdatachannel_whip"), headers=SDP)
        assert response.status == 201
        assert response.headers["Content-Type"] == "application/sdp"
        location = response.headers["Location"]
        call_id = location.removeprefix("/whip/")
        assert callid.route(call_id) is not None
        assert response.headers["ETag"] == entity_tag(call_id)
        assert not response.headers["ETag"].startswith("W/"), "a strong entity tag"
        answer = await response.text()
        assert "a=recvonly" in answer
        assert "m=video 0 " in answer
        assert (await client.delete(location, headers={"If-Match": '"other"'})).status == 200
        assert await error_of(await client.delete(location)) == (404, "call_not_found")

    with_app(router, scenario)
    assert router.contexts[0].dialect == "whip"


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Content-Type": "text/plain"}, audio_offer(), 415, "unsupported_media_type"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, audio_offer(), 415, "unsupported_media_type"),
        (SDP, "", 400, "missing_field"),
        (SDP, "v=0\r\n", 400, "no_media"),
        (SDP, audio_offer("a=setup:holdconn", without="a=setup"), 422, "setup_refused"),
    ],
)
def test_whip_refuses(router: LocalRouter, headers: dict[str, str], body: str, status: int, code: str) -> None:
    async def scenario(client: Client) -> None:
        assert await error_of(await client.post("/whip", data=body.encode(), headers=headers)) == (status, code)

    with_app(router, scenario)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_whip_reserves_other_methods(router: LocalRouter, method: str) -> None:
    async def scenario(client: Client) -> None:
        assert await error_of(await client.request(method, "/whip")) == (405, "method_not_allowed")

    with_app(router, scenario)


def test_whip_options(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        response = await client.options("/whip")
        assert response.status == 200
        assert response.headers["Accept-Post"] == "application/sdp"
        session = await client.options("/whip/anything")
        assert session.headers["Accept-Patch"] == MEDIA_TYPE
        assert session.headers["Allow"] == "PATCH, DELETE, OPTIONS"

    with_app(router, scenario)


# If-Match, media type, body -> status, code
PATCHES = [
    ("own", MEDIA_TYPE, FRAGMENT, 204, ""),
    ("own", MEDIA_TYPE + "; charset=utf-8", "a=end-of-candidates", 204, ""),
    ('"x", own', MEDIA_TYPE, FRAGMENT, 204, ""),
    (None, MEDIA_TYPE, FRAGMENT, 428, "if_match_required"),
    ('"x"', MEDIA_TYPE, FRAGMENT, 412, "wrong_etag"),
    ("W/own", MEDIA_TYPE, FRAGMENT, 412, "wrong_etag"),
    ("*", MEDIA_TYPE, "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n", 422, "ice_restart_unsupported"),
    ("own", "application/sdp", FRAGMENT, 415, "unsupported_media_type"),
    ("own", MEDIA_TYPE, "", 400, "malformed_fragment"),
    ("own", MEDIA_TYPE, "hello", 400, "malformed_fragment"),
    ("own", MEDIA_TYPE, "a=x\r\n" * 5000, 400, "malformed_fragment"),
]


@pytest.mark.parametrize(("match", "kind", "body", "status", "code"), PATCHES)
def test_whip_patch(router: LocalRouter, match: str | None, kind: str, body: str, status: int, code: str) -> None:
    async def scenario(client: Client) -> None:
        created = await client.post("/whip", data=audio_offer(), headers=SDP)
        headers = {"Content-Type": kind}
        if match is not None:
            headers["If-Match"] = match.replace("own", created.headers["ETag"])
        response = await client.patch(created.headers["Location"], data=body.encode(), headers=headers)
        assert response.status == status
        assert "ETag" not in response.headers
        if status == 204:
            assert await response.read() == b""
        else:
            assert (await error_of(response))[1] == code
        assert len(router.calls) == 1, "whatever a PATCH says, the call goes on"

    with_app(router, scenario)


def test_whip_patch_of_no_call(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        headers = {"Content-Type": MEDIA_TYPE, "If-Match": "*"}
        response = await client.patch("/whip/" + callid.mint(0, 0), data=FRAGMENT, headers=headers)
        assert await error_of(response) == (404, "call_not_found")

    with_app(router, scenario)
