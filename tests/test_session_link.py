"""A whole call in simulated time, over a link that loses, reorders and doubles, in both DTLS roles (DESIGN 2.12)."""

import pytest

from tests import bottle as bottles
from tests.bottle import Bottle, Client
from tests.link import Endpoint, Link
from transceiverd.calls import Call
from transceiverd.dtls.context import DtlsContext
from transceiverd.dtls.engine import Role
from transceiverd.engine import Closed
from transceiverd.session import Session, State
from transceiverd.snapshot import connected_line

ROLES = {"active": Role.SERVER, "passive": Role.CLIENT}


def _join(setup: str, seed: int, **link: object) -> tuple[Bottle, Client, Call, Link]:
    bottle = Bottle()
    created, call = bottle.create(setup)
    client = Client(created, ROLES[setup], seed=seed)
    wire = Link(
        Endpoint(client, client.receive, "client"),
        Endpoint(bottle, lambda data, source, now: bottle.receive(data, source, now, call), "server"),
        seed=seed,
        **link,  # type: ignore[arg-type]
    )
    return bottle, client, call, wire


@pytest.mark.parametrize("setup", ROLES)
def test_session_audio_comes_back_in_order_on_a_good_link(setup: str) -> None:
    _, client, call, wire = _join(setup, 1)
    client.talking = True
    assert wire.run(lambda: len(client.heard) >= 100, 10)
    numbers = [int(packet[12:].split()[1]) for packet in client.heard]
    assert numbers == [(numbers[0] + n) % 65536 for n in range(100)]  # across the wrap of the sequence number
    assert call.session.state is State.CONNECTED
    assert client.wrong == 0
    assert wire.run(lambda: len(client.reports) >= 2, 20)


def test_session_log_line_names_an_address_that_is_not_nominated_yet() -> None:
    """Most calls of Chromium were logged as `connected from []:0`."""
    _, client, call, wire = _join("active", 1)
    assert wire.run(lambda: client.done, 10)
    call.session.nominated_key = b""
    assert " connected from 198.51.100.7:50000: " in connected_line(call)


@pytest.mark.parametrize("setup", ROLES)
@pytest.mark.parametrize("seed", range(20))
def test_session_connects_and_echoes_over_a_bad_link(setup: str, seed: int) -> None:
    bottle, client, call, wire = _join(setup, seed, loss=0.2, duplicates=0.1, delay_ms=(5, 60))
    client.talking = True
    assert wire.run(lambda: len(client.heard) >= 200, 30), (call.session.state, client.done, bottle.ended)
    payloads = [packet[12:] for packet in client.heard]
    assert len(payloads) == len(set(payloads))  # nothing was echoed twice
    assert call.session.state is State.CONNECTED


@pytest.mark.parametrize("setup", ROLES)
def test_session_rebuilt_from_its_record_again_and_again_goes_on_and_repeats_no_index(setup: str) -> None:
    from transceiverd.dtls.engine import DtlsEngine

    bottle, client, call, wire = _join(setup, 3, loss=0.05, delay_ms=(5, 40))
    client.talking = True
    for round_ in range(10):
        assert wire.run(lambda n=round_: len(client.heard) >= 40 * (n + 1), 30)
        bottle.port.rebuild(call.owner.slot)
        call.session.dtls = DtlsEngine.rebuild(call.record.dtls)
    assert wire.run(lambda: len(client.reports) >= 3, 60)
    indexes = [(packet[:12], packet[-4:]) if packet[1] & 0x7F >= 64 else packet[:12] for packet in bottle.sent]
    assert len(indexes) == len(set(indexes))
    bottle.calls.close(call, "hangup", wire.now)
    bottle.turn()
    assert wire.run(lambda: bool(client.closed), 5)
    assert client.closed == "close notify"


class _WithoutMedia(Client):
    """Has none of our SRTP profiles."""

    def _dtls_events(self) -> None:
        while (event := self.dtls.poll_event()) is not None:
            if isinstance(event, Closed):
                self.closed = event.reason


def test_session_audio_call_without_a_common_srtp_profile_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was kept, mute, for as long as its client sent checks."""
    context = DtlsContext(bottles.CLIENT_CONTEXT.certificate)
    context._context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_32")
    monkeypatch.setattr(bottles, "CLIENT_CONTEXT", context)
    bottle = Bottle()
    created, call = bottle.create()
    client = _WithoutMedia(created, Role.SERVER)
    wire = Link(
        Endpoint(client, client.receive, "client"),
        Endpoint(bottle, lambda data, source, now: bottle.receive(data, source, now, call), "server"),
    )
    assert wire.run(lambda: bool(client.closed), 5)
    assert client.closed == "close notify"
    assert [each["closed_reason"] for each in bottle.ended] == ["no common srtp profile"]
    assert bottle.sessions.used() == []


def test_session_close_frees_the_slot_only_when_media_has_let_go() -> None:
    bottle, client, call, wire = _join("active", 1)
    client.talking = True
    assert wire.run(lambda: len(client.heard) >= 10, 10)
    bottle.calls.close(call, "hangup", wire.now)
    assert call.owner.slot in bottle.sessions.used()
    bottle.turn()
    assert bottle.sessions.used() == []
    assert not bottle.flows
    assert bottle.ended[0]["closed_reason"] == "hangup"


def test_session_that_is_never_checked_ends_and_a_silent_one_comes_back() -> None:
    bottle = Bottle()
    bottle.create()
    bottle.handle_timeout(bottle.now + 16 * 10**9)
    assert bottle.ended[0]["closed_reason"] == "never-checked"

    bottle, client, call, wire = _join("active", 1)
    client.talking = True
    assert wire.run(lambda: len(client.heard) >= 10, 10)
    wire.up = False
    wire.run(lambda: call.session.state is State.SILENT, 40)
    assert call.session.state is State.SILENT
    assert not bottle.flows
    wire.up = True
    heard = len(client.heard)
    client.agent._consent_due = wire.now  # the client looks again
    assert wire.run(lambda: len(client.heard) > heard + 10, 25), call.session.state
    assert call.session.state is State.CONNECTED


def test_session_fault_of_ours_in_one_call_ends_that_call_and_frees_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    bottle, client, _, wire = _join("active", 1)
    client.talking = True
    assert wire.run(lambda: len(client.heard) >= 10, 10)
    _, other = bottle.create()

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Session, "receive_dtls", broken)
    client.dtls.send(b"anything", wire.now)
    assert wire.run(lambda: bool(bottle.ended), 30)
    assert bottle.ended[0]["closed_reason"] == "internal-fault"
    assert bottle.calls.drops["internal-fault"] == 1
    assert bottle.sessions.used() == [other.owner.slot]
    assert not bottle.flows
