"""For any offer: what it names is never contacted and never looked up (FACTS 1: a lite agent contacts no candidate).

A whole transceiver in simulated time (tests/bottle.py) gets the call. Nothing leaves it before a check with the right
integrity came, and then everything goes to where that came from, whatever candidates say. The interpreter's audit hook
sees every look-up, connection and datagram that Python code could make on the way, and there is none. What leaves
real daemons is looked at on the wire, by tests/system/test_outbound_wire.py.
"""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import attempt, examples
from fuzz.strategies.candidates import offers
from fuzz.strategies.sdp import edited
from tests.bottle import Bottle
from tests.peers import flow
from transceiverd.engine import SECOND
from transceiverd.ice import stun
from transceiverd.sdp.errors import SdpError
from transceiverd.sdp.negotiate import NegotiationConfig, negotiate
from transceiverd.sdp.parse import parse_offer

CALLER = flow(("198.51.100.7", 50_000))
SILENT_SECONDS = 16  # longer than a call that nobody checks lives
CHECKED_SECONDS = 3
OUTWARD = (
    "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo", "socket.connect",
    "socket.sendto", "socket.sendmsg", "socket.bind", "urllib.Request", "subprocess.Popen", "os.system",
)  # fmt: skip


watched: list[list[str]] = []
"""The list that is written to now, if any."""


@cache
def watch() -> None:
    """Once and for ever: a hook cannot be taken out again."""

    def hook(event: str, _arguments: object) -> None:
        if watched and event in OUTWARD:
            watched[-1].append(event)

    sys.addaudithook(hook)


@contextmanager
def nothing_outward() -> Iterator[None]:
    """Until the end of the block no name is looked up and nobody is talked to."""
    watch()
    seen: list[str] = []
    watched.append(seen)
    try:
        yield
    finally:
        watched.pop()
    assert not seen


def check(ufrag: str, password: str, remote_ufrag: str) -> bytes:
    """A Binding request as the caller would send it."""
    message = stun.Message(stun.REQUEST, os.urandom(12))
    message.username = f"{ufrag}:{remote_ufrag}".encode()
    message.priority = 1
    message.controlling = 1
    message.use_candidate = True
    message.fingerprint = True
    return message.serialize(password.encode())


def left_until(bottle: Bottle, seconds: float) -> set[bytes]:
    """Where datagrams go to."""
    end, found = bottle.now + int(seconds * SECOND), set()
    while True:
        while (datagram := bottle.poll_datagram()) is not None:
            found.add(datagram.destination)
        due = bottle.calls.deadlines.next()
        if due is None or due > end:
            bottle.handle_timeout(end)
            return found
        bottle.handle_timeout(max(due, bottle.now))


def answered(body: bytes, *, checked: bool) -> bool:
    """The invariant; whether the offer was one at all."""
    with nothing_outward():
        offer = attempt(SdpError, parse_offer, body)
        found = offer if isinstance(offer, SdpError) else attempt(
            SdpError, negotiate, offer, NegotiationConfig(data_channels=True)
        )  # fmt: skip
        if isinstance(found, SdpError):
            return False
        bottle = Bottle(slots=1)
        created = bottle.calls.create(found, bottle.now)
        if not checked:
            assert left_until(bottle, SILENT_SECONDS) == set(), "something leaves that nobody asked for"
            assert not list(bottle.calls), "the call has ended"
            return True
        bottle.receive(check(created.ufrag, created.password, found.remote_ufrag), CALLER, bottle.now + SECOND)
        assert left_until(bottle, CHECKED_SECONDS) == {CALLER}, "it answers who asked, and nobody else"
        return True


@examples(60)
@given(body=offers(), checked=st.booleans())
def test_outbound_offers_full_of_candidates_reach_nobody(body: bytes, checked: bool) -> None:
    assert answered(body, checked=checked), "the offer is a good one"


@examples(40)
@given(body=edited(), checked=st.booleans())
def test_outbound_any_offer_reaches_nobody(body: bytes, checked: bool) -> None:
    answered(body, checked=checked)


def test_outbound_watch_sees_what_it_looks_for() -> None:
    with pytest.raises(AssertionError), nothing_outward():
        socket.getaddrinfo("127.0.0.1", 9)
    with pytest.raises(AssertionError), nothing_outward(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", ("127.0.0.1", 9))
