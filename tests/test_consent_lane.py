"""Checks answered in the lane: two transceivers get the same packets, one of them without that way; nobody can tell."""

import os
import random
from typing import Any

import pytest

from relayd.ufrag import UfragKeys
from tests.bottle import CLIENT_UFRAG, INCARNATION, Bottle, Client
from tests.link import Endpoint, Link
from tests.peers import flow
from transceiverd.call import Call
from transceiverd.calls import STALE
from transceiverd.dtls.engine import Role
from transceiverd.engine import MILLISECOND
from transceiverd.ice import stun
from transceiverd.lanes import SEND, STUN
from transceiverd.session import State

ADDRESSES = [flow(("198.51.100.7", 40000 + n)) for n in range(6)] + [flow(("2001:db8::7", 9), ("2001:db8::1", 3478))]
STEPS = 450  # 20 ms each at most: the time-out for DTLS, which is left out here, must not come


class World:
    """A transceiver with one call."""

    def __init__(self, *, lane: bool) -> None:
        self.bottle = Bottle()
        self.created, self.call = self.bottle.create()
        if not lane:
            self.call.subject = None

    def check(self, plan: dict[str, Any]) -> bytes:
        """The planned check, for this world's ufrag."""
        request = stun.Message(plan["class"], plan["transaction"])
        request.username = f"{self.created.ufrag}:{plan['peer']}".encode()
        request.priority, request.use_candidate = plan["priority"], plan["nominate"]
        request.controlled, request.others = plan["controlled"], plan["others"]
        request.fingerprint = plan["fingerprint"]
        return request.serialize(plan["key"].encode(), plan["sha256"])

    def feed(self, plans: list[dict[str, Any]], now: int) -> list[tuple[object, ...]]:
        """One batch; what the relay worker is told, DTLS left out (its bytes are random)."""
        owner, bottle = self.call.owner, self.bottle
        for plan in plans:
            bottle.handshakes.write(STUN, plan["source"], self.check(plan), slot=owner.slot,
                                    generation=owner.generation, incarnation=INCARNATION)  # fmt: skip
        bottle.handshakes.publish()
        for record in bottle.lanes.read(256, now):
            bottle.calls.receive(record, now)
        bottle.calls.expire(now)
        bottle.lanes.flush()
        told = [
            (record.type, record.key, record.payload, record.address_state, record.flags, record.worker)
            for record in bottle.control_out.read(1000)
            if record.type != SEND
        ]
        bottle.control_out.release()
        return told

    def state(self) -> tuple[object, ...]:
        """All that a check can change."""
        agent = self.call.session.agent
        book = [
            None if a is None else tuple(getattr(a, name) for name in type(a).__slots__) for a in agent.addresses.places
        ]
        consent = agent.consent
        return (
            book, consent.state, consent.since, consent.last_check, consent.checked_since, agent.next_timeout(),
            dict(agent.drops), self.call.worker, self.call.record.last_check_ns, self.call.record.addresses.read(),
            self.call.session.state, self.call.session.nominated_key,
        )  # fmt: skip


def plan_of(chance: random.Random, key: str) -> dict[str, Any]:
    """Mostly what an established call's client sends; now and then anything else that a client, or somebody, may."""
    usual = chance.random() < 0.7
    extra = chance.choice(((0xC057, b"\0\1\0\n"), (stun.SOFTWARE, b"x"))) if usual else (0x0031, b"")
    return {
        "source": chance.choice(ADDRESSES[:3] if usual else ADDRESSES),
        "transaction": chance.randrange(1, 400).to_bytes(12, "big"),
        "class": stun.REQUEST if usual or chance.random() < 0.9 else stun.INDICATION,
        "peer": CLIENT_UFRAG if usual or chance.random() < 0.9 else "else",
        "priority": chance.choice((100, 200, 200, None)),
        "nominate": chance.random() < 0.4,
        "controlled": None if usual or chance.random() < 0.9 else 5,
        "others": () if chance.random() < 0.5 else (extra,),
        "fingerprint": usual or chance.random() < 0.9,
        "key": key if usual or chance.random() < 0.8 else "wrong",
        "sha256": not usual and chance.random() < 0.3,
    }


@pytest.mark.parametrize("seed", range(8))
def test_consent_lane_answers_and_books_as_the_agent_does(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every record and every word of state after each of some 5,000 checks in batches, over all seeds."""
    keys, chance = UfragKeys.generate(), random.Random(seed)
    monkeypatch.setattr(UfragKeys, "generate", lambda: keys)
    monkeypatch.setattr(os, "urandom", bytes)
    native, agent = World(lane=True), World(lane=False)
    now = native.bottle.now
    for _ in range(STEPS):
        now += chance.randrange(20 * MILLISECOND)
        plans = [plan_of(chance, native.created.password) for _ in range(chance.choice((1, 1, 1, 2, 4)))]
        assert native.feed(plans, now) == agent.feed(plans, now)
        if chance.random() < 0.1:
            proven = chance.choice(ADDRESSES[:4])
            for world in (native, agent):
                owner = world.call.owner
                world.bottle.calls.srtp_proven(owner.slot, owner.generation, proven, now)
        assert native.state() == agent.state()
    assert native.bottle.lanes.records == agent.bottle.lanes.records
    assert agent.bottle.lanes.answered == 0
    assert native.bottle.lanes.answered > 100


def _joined() -> tuple[Bottle, Client, Call, Link]:
    bottle = Bottle()
    created, call = bottle.create()
    client = Client(created, Role.SERVER)
    wire = Link(
        Endpoint(client, client.receive, "client"),
        Endpoint(bottle, lambda data, source, now: bottle.receive(data, source, now, call), "server"),
    )
    return bottle, client, call, wire


def test_consent_lane_keeps_an_established_call_and_its_silence_still_ends_it() -> None:
    """Nothing but checks for five minutes: answered in the lane, heard by the client, and the timers go by them."""
    bottle, client, call, wire = _joined()
    assert wire.run(lambda: call.session.state is State.CONNECTED, 10)
    wire.run(seconds=1)  # the client's first packet under the keys proves its address
    client.talking = True
    wire.run(seconds=1)
    client.talking = False
    begun, records = bottle.lanes.answered, bottle.lanes.records
    wire.run(seconds=300)
    assert call.session.state is State.CONNECTED
    assert bottle.lanes.answered - begun == bottle.lanes.records - records > 50
    wire.up = False
    wire.run(seconds=20)
    assert call.session.state is State.CONNECTED
    wire.run(seconds=11)
    assert call.session.state is State.SILENT
    wire.run(seconds=31)
    assert bottle.ended[0]["closed_reason"] == "consent-expired"
    wire.up = True
    wire.run(seconds=10)
    assert bottle.ended[1:] == []


def test_consent_lane_leaves_a_call_alone_that_ends_or_is_another() -> None:
    """A slot given out again; a call that is closing; a ring without room for the answer."""
    bottle, client, call, wire = _joined()
    client.talking = True
    assert wire.run(lambda: len(client.heard) > 5, 10)
    key = next(iter(call.session.agent.addresses)).key
    request = stun.Message(stun.REQUEST, bytes(12))
    request.username, password = call.session.agent.credentials or (b"", b"")
    request.fingerprint = True
    data, owner = request.serialize(password), call.owner

    def answered(generation: int) -> tuple[int, int]:
        before = bottle.lanes.answered
        bottle.handshakes.write(STUN, key, data, slot=owner.slot, generation=generation, incarnation=INCARNATION)
        bottle.handshakes.publish()
        for record in bottle.lanes.read(256, wire.now):
            bottle.calls.receive(record, wire.now)
        bottle.lanes.flush()
        sent = sum(1 for record in bottle.control_out.read(1000) if record.payload)
        bottle.control_out.release()
        return bottle.lanes.answered - before, sent

    assert answered(owner.generation) == (1, 1)
    assert answered(owner.generation + 1 & 0xFFFF) == (0, 0)
    assert bottle.calls.drops[STALE] == 1
    bottle.calls.close(call, "hangup", wire.now)
    bottle.lanes.flush()
    bottle.control_out.read(1000)
    bottle.control_out.release()
    assert answered(owner.generation) == (0, 0)
    assert client.wrong == 0


def test_consent_lane_answers_again_after_a_fault_of_its_own() -> None:
    """What it could not do is the agent's, once: the count of checks that wait for the agent still comes out even."""
    bottle, client, call, wire = _joined()
    client.talking = True
    assert wire.run(lambda: len(client.heard) > 5, 10)
    client.talking = False
    live, call.session.agent.consent.last_check = call.session.agent.consent.last_check, None  # compared with a time
    bottle.handshakes.write(STUN, next(iter(call.session.agent.addresses)).key, b"", slot=call.owner.slot,
                            generation=call.owner.generation, incarnation=INCARNATION)  # fmt: skip
    bottle.handshakes.publish()
    for record in bottle.lanes.read(256, wire.now):
        bottle.calls.receive(record, wire.now)
    call.session.agent.consent.last_check = live
    before = bottle.lanes.answered
    wire.run(seconds=20)
    assert call.session.state is State.CONNECTED
    assert bottle.lanes.answered > before


def test_consent_lane_answers_again_for_a_call_rebuilt_while_its_checks_waited() -> None:
    """The story: a rebuilt call began to count at 0, its old checks made that less, and no lane answered it again."""
    bottle, client, call, wire = _joined()
    client.talking = True
    assert wire.run(lambda: len(client.heard) > 5, 10)
    news = stun.Message(stun.REQUEST, b"from another")
    news.username, password = call.session.agent.credentials or (b"", b"")
    news.priority, news.fingerprint = 100, True
    bottle.handshakes.write(STUN, ADDRESSES[5], news.serialize(password), slot=call.owner.slot,
                            generation=call.owner.generation, incarnation=INCARNATION)  # fmt: skip
    bottle.handshakes.publish()
    waiting = list(bottle.lanes.read(256, wire.now))
    rebuilt = bottle.calls.restore(call.owner.slot, wire.now)
    for record in waiting:
        bottle.calls.receive(record, wire.now)
    assert rebuilt.subject is not None
    assert rebuilt.subject.waiting == 0
    before = bottle.lanes.answered
    wire.run(seconds=20)
    assert bottle.lanes.answered > before
