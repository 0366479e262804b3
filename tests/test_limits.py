"""Limits of the whole server, as callers meet them: real daemons, real HTTP, a storm of redials."""

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.daemons import Server, wait_for
from tests.sdp.offers import audio_offer
from tests.udp_caller import UdpCaller
from transceiverd.load.signalling import Dialer

MINE, OTHER = "the-first-token-of-them", "the-second-token-of-them"
LIMITS = f"""
[signalling]
PORT
auth = "tokens"
tokens = ["{MINE}", "{OTHER}"]
unlimited = []
calls_max = 5
calls_per_address_max = 4
calls_per_token_max = 3
proxies = ["127.0.0.0/8"]
"""


def _ask(
    server: Server, method: str, path: str, token: str = "", client: str = ""
) -> tuple[int, dict[str, str], bytes]:
    headers = {"Content-Type": "application/sdp"}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"X-Forwarded-For": client} if client else {}
    body = audio_offer().encode() if method == "POST" and path.endswith("calls") else None
    request = urllib.request.Request(server.url + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as reply:
            return reply.status, dict(reply.headers), reply.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def _place(server: Server, token: str = "", client: str = "") -> str:
    """The location of a call, or the code of its refusal, which says when to come again."""
    status, headers, body = _ask(server, "POST", "/v1/realtime/calls", token, client)
    if status == 201:
        return headers["Location"]
    assert status == 429, body
    assert int(headers["Retry-After"]) >= 1
    return str(json.loads(body)["error"]["code"])


def _metric(server: Server, start: str) -> float:
    lines = server.operator("/metrics").splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    limited = Server(transceivers=2)
    text = limited.config.read_text()
    limited.config.write_text(
        text.replace(f"[signalling]\nport = {limited.http_port}\n",
                     LIMITS.replace("PORT", f"port = {limited.http_port}"))
    )  # fmt: skip
    try:
        limited.start("relayd")
        limited.start("transceiverd")
        limited.await_ready()
        yield limited
    finally:
        limited.close()


def _end_all(server: Server, *locations: str) -> None:
    for location in locations:
        for token in (MINE, OTHER):
            _ask(server, "POST", f"{location}/hangup", token)
    wait_for(lambda: not server.sessions(), "all calls are over")


def test_limits_of_calls_hold_for_token_address_and_machine_and_over_a_death_of_signalling(server: Server) -> None:
    calls = [_place(server, MINE, f"203.0.113.{n}") for n in range(3)]
    assert all(call.startswith("/") for call in calls)
    assert _place(server, MINE, "203.0.113.9") == "too_many_calls_for_token"
    calls += [_place(server, OTHER, "203.0.113.0")]
    calls += [_place(server, OTHER, "203.0.113.0")]
    assert _place(server, OTHER, "203.0.113.77") == "too_many_calls", "five on this machine"
    assert _metric(server, 'ringline_signalling_calls_total{outcome="refused_too_many_calls"}') == 1
    old = server.pids("transceiverd")["signalling"]
    os.kill(old, signal.SIGKILL)
    wait_for(lambda: server.pids("transceiverd").get("signalling") not in (None, old), "signalling is replaced")
    wait_for(server.ready, "it serves")
    wait_for(lambda: _place(server, OTHER, "203.0.113.77") == "too_many_calls", "it has asked for the calls")
    status, _, _ = _ask(server, "DELETE", calls[0], OTHER)
    assert status == 404, "the call of another token"
    assert _ask(server, "DELETE", calls[0], MINE)[0] == 200
    again = ""

    def placed() -> bool:
        nonlocal again
        again = _place(server, OTHER, "203.0.113.0")
        return again.startswith("/")

    wait_for(placed, "its place is free")
    _end_all(server, *calls, again)


def test_limits_of_one_address_count_a_whole_ipv6_site(server: Server) -> None:
    calls = [_place(server, MINE, f"2001:db8:1:1::{n}") for n in range(3)]
    calls += [_place(server, OTHER, "2001:db8:1:1:ffff::1")]
    assert _place(server, OTHER, "2001:db8:1:1:eeee::1") == "too_many_calls_from_address"
    calls += [_place(server, OTHER, "2001:db8:1:2::1")]
    assert calls[-1].startswith("/")
    _end_all(server, *calls)


def test_limits_of_half_open_handshakes_hold_until_one_is_done() -> None:
    limited = Server()
    limited.config.write_text(limited.config.read_text().replace("slots = 1024\n", "slots = 1024\nhalf_open_max = 2\n"))
    try:
        limited.start("relayd")
        limited.start("transceiverd")
        limited.await_ready()
        with UdpCaller(limited.calls_url, seed=1) as first, UdpCaller(limited.calls_url, seed=2):
            assert _place(limited) == "too_many_handshakes"
            first.connect()
            assert _place(limited).startswith("/")
            assert _place(limited) == "too_many_handshakes"
            wait_for(lambda: _metric(limited, "ringline_transceiver_events_total") > 0, "metrics")
            wait_for(
                lambda: any(
                    "too_many_handshakes" in line and line.endswith(" 2.0")
                    for line in limited.operator("/metrics").splitlines()
                ),
                "both are counted",
            )
    finally:
        limited.close()


@pytest.mark.system
def test_limits_storm_of_a_thousand_redials_is_answered_within_ten_seconds() -> None:
    """All come in one moment, as after an outage; who is told to come later obeys."""

    async def storm(url: str) -> tuple[int, int, float]:
        async with Dialer(url, "", 10.0) as dialer:
            started = time.monotonic()
            placed = await asyncio.gather(*(dialer.place(audio_offer()) for _ in range(1000)), return_exceptions=True)
            failed = [each for each in placed if isinstance(each, BaseException)]
            assert not failed, failed[:3]
            return len(placed), dialer.paced, time.monotonic() - started

    limited = Server(transceivers=2, workers=1)
    limited.config.write_text(
        limited.config.read_text().replace("slots = 1024\n", "slots = 1024\nhalf_open_max = 1024\n")
    )
    try:
        limited.start("relayd")
        limited.start("transceiverd")
        limited.await_ready()
        placed, paced, seconds = asyncio.run(storm(limited.calls_url))
        print(f"1,000 redials answered in {seconds:.1f} s, {paced} times told to come later")
        assert placed == 1000
        assert paced > 0
        assert seconds < 10
        assert _metric(limited, 'ringline_signalling_calls_total{outcome="refused_too_many_setups"}') == paced
        assert len(limited.sessions()) == 1000
    finally:
        limited.close()
