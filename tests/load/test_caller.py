"""A caller calls the whole transceiver in simulated time, over good and bad links, and ends as it should."""

import pytest

from shm.flowkey import FlowKey
from tests.bottle import CLIENT_CONTEXT, CONTEXT, Bottle, fingerprints, negotiation
from tests.link import Endpoint, Link
from tests.peers import CLIENT, HOST_PRIORITY, SERVER, flow
from transceiverd.calls import Call
from transceiverd.dtls.engine import Role
from transceiverd.engine import Datagram, Drops, Timeout
from transceiverd.ice.controlling import ControllingConfig
from transceiverd.load.caller import Caller, State
from transceiverd.load.offer import OPUS, Answer, Credentials

PATH = flow(SERVER, CLIENT)


class Addressed:
    """A caller whose datagrams carry the address that a link wants."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def receive(self, data: bytes, _source: bytes | None, now: int) -> None:
        self.caller.receive_datagram(data, now)

    def handle_timeout(self, now: int) -> None:
        self.caller.handle_timeout(now)

    def next_timeout(self) -> Timeout | None:
        return self.caller.next_timeout()

    def poll_datagram(self) -> Datagram | None:
        data = self.caller.poll_datagram()
        return None if data is None else Datagram(data, PATH)


def join(setup: str = "active", **link: object) -> tuple[Bottle, Caller, Call, Link]:
    bottle = Bottle()
    credentials = Credentials.fresh()
    wanted = negotiation(setup)
    wanted = type(wanted)(**{**{n: getattr(wanted, n) for n in wanted.__struct_fields__},
                             "remote_ufrag": credentials.ufrag, "remote_password": credentials.password})  # fmt: skip
    created = bottle.calls.create(wanted, bottle.now)
    call = bottle.calls.find(created.call_id)
    assert call is not None
    role = Role.SERVER if setup == "active" else Role.CLIENT
    answer = Answer(created.ufrag, created.password, fingerprints(CONTEXT), role, OPUS, "192.0.2.1", 1, HOST_PRIORITY)
    caller = Caller(credentials, answer, FlowKey.unpack(PATH), CLIENT_CONTEXT, ControllingConfig(), Drops(), bottle.now)
    client = Addressed(caller)
    wire = Link(
        Endpoint(client, client.receive),
        Endpoint(bottle, lambda data, source, now: bottle.receive(data, source, now, call)),
        **link,  # type: ignore[arg-type]
    )
    return bottle, caller, call, wire


@pytest.mark.parametrize("setup", ["active", "passive"])
@pytest.mark.parametrize("link", [{}, {"loss": 0.2, "duplicates": 0.1, "delay_ms": (5, 60), "seed": 4}])
def test_caller_is_established_with_the_keys_of_the_server(setup: str, link: dict[str, object]) -> None:
    _, caller, call, wire = join(setup, **link)
    assert wire.run(lambda: caller.state is State.ESTABLISHED and call.record.srtp.profile, 20)
    assert caller.secured is not None
    assert caller.secured.local_key == call.record.srtp.remote_key
    assert caller.secured.remote_key == call.record.srtp.local_key
    assert 0 < caller.checked_at <= caller.secured_at


def test_caller_keeps_consent_alive_for_minutes() -> None:
    _, caller, call, wire = join()
    assert not wire.run(lambda: caller.state is State.ENDED or call.closing, 120)
    assert caller.nominated_at


def test_caller_hears_the_server_hang_up_and_is_heard_hanging_up() -> None:
    bottle, caller, call, wire = join()
    assert wire.run(lambda: caller.state is State.ESTABLISHED and call.record.connected_ns, 5)
    bottle.calls.close(call, "hangup", wire.now)
    bottle.turn()
    assert wire.run(lambda: caller.state is State.ENDED, 5)
    assert caller.reason == "close notify"

    bottle, caller, call, wire = join()
    assert wire.run(lambda: caller.state is State.ESTABLISHED and call.record.connected_ns, 5)
    caller.close(wire.now)
    assert wire.run(lambda: call.closing, 5)
    assert bottle.ended[0]["closed_reason"] == "close notify"


def test_caller_gives_up_on_a_server_that_says_nothing() -> None:
    _, caller, _, wire = join()
    wire.up = False
    assert wire.run(lambda: caller.state is State.ENDED, 60)
    assert caller.reason
