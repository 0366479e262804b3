"""The operator's application: metrics, sessions, and who may see them."""

import asyncio
import re
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from tests.signalling.conftest import serve
from tests.signalling.local_router import LocalRouter
from transceiverd import callid
from transceiverd.signalling.config import OperatorSection
from transceiverd.signalling.guard import ConnectionGuard
from transceiverd.signalling.operator import build_operator_app, signalling_metrics
from transceiverd.signalling.router import CallSnapshot, Unavailable
from transceiverd.signalling.server import HttpServer, open_unix

Client = TestClient[web.Request, web.Application]
SAMPLE_LINE = re.compile(r'[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? [0-9.e+-]+')


def test_operator_metrics_text(router: LocalRouter) -> None:
    def own() -> list[object]:
        return signalling_metrics(Counter(created=3, refused_not_sdp=1), 2, Counter(accepted=9))  # type: ignore[return-value]

    async def scenario(client: Client) -> None:
        response = await client.get("/metrics")
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = (await response.text()).splitlines()
        assert 'ringline_relay_packets_total{outcome="stun",worker="0"} 5.0' in lines
        assert 'ringline_relay_packets_total{outcome="a\\"\\n",worker="1"} 7.0' in lines
        assert "ringline_calls 0.0" in lines
        assert 'ringline_signalling_calls_total{outcome="refused_not_sdp"} 1.0' in lines
        assert "# TYPE ringline_relay_packets_total counter" in lines
        assert all(line.startswith("#") or SAMPLE_LINE.fullmatch(line) for line in lines)

    serve(build_operator_app(OperatorSection(), router, own), scenario)  # type: ignore[arg-type]


def test_operator_sessions_come_page_by_page_and_say_when_they_are_not_all(router: LocalRouter) -> None:
    ids = [callid.mint(0, 1) for _ in range(3)]

    async def scenario(client: Client) -> None:
        assert await (await client.get("/v1/sessions")).json() == {"sessions": []}
        router.calls = {each: CallSnapshot(call_id=each, state="connected", age_ms=5.0) for each in ids}
        listed = await (await client.get("/v1/sessions")).json()
        assert [session["call_id"] for session in listed["sessions"]] == ids
        assert "incomplete" not in listed
        router.fails_after = 2
        listed = await (await client.get("/v1/sessions")).json()
        assert [session["call_id"] for session in listed["sessions"]] == ids[:2]
        assert listed["incomplete"] == "no_reply"

    serve(build_operator_app(OperatorSection(), router), scenario)


def test_operator_sessions(router: LocalRouter) -> None:
    call_id = callid.mint(0, 1)
    router.calls[call_id] = CallSnapshot(call_id=call_id, state="connected", age_ms=5.0)

    async def scenario(client: Client) -> None:
        listed = await (await client.get("/v1/sessions")).json()
        assert [session["call_id"] for session in listed["sessions"]] == [call_id]
        stats = await (await client.get(f"/v1/sessions/{call_id}/stats")).json()
        assert stats["session"]["state"] == "connected"
        assert stats["diagnosis"]["failed"] is False
        for unknown in ("rtc_x", callid.mint(0, 1)):
            assert (await client.get(f"/v1/sessions/{unknown}/stats")).status == 404
        assert (await client.post("/v1/sessions")).status == 405
        router.failure = Unavailable("no_reply", "nobody answers")
        assert (await client.get("/v1/sessions")).status == 503

    serve(build_operator_app(OperatorSection(), router), scenario)


@pytest.mark.parametrize(
    ("host", "status"), [("localhost:9478", 200), ("[::1]:9478", 200), ("evil.example:9478", 421), ("10.0.0.1", 421)]
)
def test_operator_host_rule(router: LocalRouter, host: str, status: int) -> None:
    async def scenario(client: Client) -> None:
        response = await client.get("/metrics", headers={"Host": host, "Origin": "http://evil.example"})
        assert response.status == status
        assert "Access-Control-Allow-Origin" not in response.headers

    serve(build_operator_app(OperatorSection(), router), scenario)


def test_operator_tokens_on_tcp(router: LocalRouter) -> None:
    async def scenario(client: Client) -> None:
        assert (await client.get("/metrics")).status == 401
        headers = {"Authorization": "Bearer a-token-of-the-tests", "Host": "monitor.example"}
        assert (await client.get("/metrics", headers=headers)).status == 200

    serve(build_operator_app(OperatorSection(tokens=["a-token-of-the-tests"]), router), scenario)


def test_operator_unix_socket_needs_neither(router: LocalRouter, tmp_path: Path) -> None:
    path = str(tmp_path / "operator.sock")

    async def run() -> None:
        app = build_operator_app(OperatorSection(tokens=["a-token-of-the-tests"]), router)
        server = HttpServer(app, ConnectionGuard(4, 5.0))
        await server.start()
        await server.listen(open_unix(path))
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(path)) as session,
                session.get("http://anything/metrics") as response,
            ):
                assert response.status == 200
        finally:
            await server.stop()

    asyncio.run(run())


def test_operator_unix_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "operator.sock"
    open_unix(str(path)).close()
    end = open_unix(str(path))
    assert path.stat().st_mode & 0o777 == 0o660
    end.close()
    path.unlink()
    path.write_text("not a socket")
    with pytest.raises(FileExistsError):
        open_unix(str(path))
    assert path.read_text() == "not a socket"
