"""The client's agent: role conflicts, full peers, nomination, and answers that it must not believe."""

import pytest

from tests.link import Link
from tests.peers import (
    CLIENT,
    CLIENT_PASSWORD,
    CLIENT_UFRAG,
    HOST_PRIORITY,
    SERVER,
    SERVER_PASSWORD,
    SERVER_UFRAG,
    flow,
    ice_client,
    seeded_bytes,
)
from transceiverd.engine import MILLISECOND, SECOND, Datagram
from transceiverd.ice import checks, stun
from transceiverd.ice.controlling import (
    ControllingAgent,
    ControllingConfig,
    PairNominated,
    PairValidated,
    RoleSwitched,
)
from transceiverd.ice.pairs import PAIRS_MAX

KEY = SERVER_PASSWORD.encode()
PATH = flow(SERVER, CLIENT)
SLOW = flow(("192.0.2.11", 3478), CLIENT)
NOW = SECOND


def full_peer(*, controlling: bool, seed: int = 9) -> ControllingAgent:
    """A full agent in the server's place, as Pion or Janus would be."""
    peer = ControllingAgent(
        SERVER_UFRAG,
        SERVER_PASSWORD,
        CLIENT_UFRAG,
        CLIENT_PASSWORD,
        ControllingConfig(),
        now=NOW,
        controlling=controlling,
        random_bytes=seeded_bytes(seed),
    )
    peer.add_pair(flow(CLIENT, SERVER), HOST_PRIORITY)
    return peer


def sent(agent: ControllingAgent) -> list[Datagram]:
    """All that it has to send."""
    return list(iter(agent.poll_datagram, None))


def events(agent: ControllingAgent) -> list[object]:
    """All that it has to report."""
    return list(iter(agent.poll_event, None))


def first_check(agent: ControllingAgent, now: int = NOW) -> stun.Message:
    """Start it and read its first request."""
    agent.handle_timeout(now)
    (datagram,) = sent(agent)
    return stun.parse(datagram.data)


def success(request: stun.Message, key: bytes = KEY) -> bytes:
    """The right answer."""
    return checks.success(request.transaction_id, flow(), key, False)


def test_controlling_check_has_all_that_rfc_8445_asks_for() -> None:
    request = first_check(ice_client())
    assert request.message_class == stun.REQUEST
    assert request.username == f"{SERVER_UFRAG}:{CLIENT_UFRAG}".encode()
    assert request.priority == (110 << 24) | (65535 << 8) | 255
    assert request.controlling is not None
    assert not request.use_candidate
    assert request.fingerprint
    assert request.verify(KEY)


def test_controlling_aggressive_check_nominates_at_once() -> None:
    client = ice_client(aggressive=True)
    request = first_check(client)
    assert request.use_candidate
    client.receive_datagram(success(request), PATH, NOW)
    assert PairNominated(PATH) in events(client)


def test_controlling_retransmits_the_same_bytes_with_growing_intervals() -> None:
    client = ice_client()
    times, data = [], set()
    now = NOW
    while (timeout := client.next_timeout()) is not None and now < NOW + 6 * SECOND:
        now = max(now, timeout.deadline)
        client.handle_timeout(now)
        for datagram in sent(client):
            times.append((now - NOW) // MILLISECOND)
            data.add(datagram.data)
    assert times == [0, 500, 1500, 3100, 4700, 6300]
    assert len(data) == 1


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_controlling_two_full_agents_in_one_role_agree(controlling: bool, seed: int) -> None:
    client, peer = ice_client(seed=seed, controlling=controlling), full_peer(controlling=controlling)
    link = Link(client, peer, seed=seed, loss=0.2)
    assert link.run(until=lambda: link.left.saw(PairNominated) and link.right.saw(PairNominated))
    assert client.controlling != peer.controlling
    assert link.left.saw(RoleSwitched) or link.right.saw(RoleSwitched)


def test_controlling_answers_checks_of_a_full_peer() -> None:
    link = Link(ice_client(), full_peer(controlling=False), loss=0.2, seed=1)
    assert link.run(until=lambda: link.left.saw(PairNominated) and link.right.saw(PairNominated))
    assert not link.left.saw(RoleSwitched)


def test_controlling_new_tie_breaker_after_487() -> None:
    client = ice_client()
    request = first_check(client)
    conflict = checks.signed_error(487, request, KEY)
    client.receive_datagram(conflict, PATH, NOW)
    assert events(client) == [RoleSwitched(False)]
    again = first_check(client, NOW + SECOND)
    assert again.controlling is None
    assert again.controlled not in (None, request.controlling)
    assert again.transaction_id != request.transaction_id


@pytest.mark.parametrize(
    ("forge", "drop"),
    [
        (lambda request: success(request, b"another password"), "answer-bad-integrity"),
        (lambda request: checks.bare_error(401, request.transaction_id), "answer-bad-integrity"),
        (lambda request: checks.success(bytes(12), flow(), KEY, False), "answer-unknown-transaction"),
        (lambda request: stun.seal_fingerprint(stun.header(stun.INDICATION, bytes(12))), "indication"),
        (lambda request: b"\0", "stun-short"),
    ],
)
def test_controlling_forged_answers_change_nothing(forge, drop: str) -> None:  # type: ignore[no-untyped-def]
    client = ice_client()
    request = first_check(client)
    client.receive_datagram(forge(request), PATH, NOW)
    assert client.drops == {drop: 1}
    assert events(client) == []
    client.receive_datagram(success(request), PATH, NOW)
    assert len(events(client)) == 1


def test_controlling_answer_over_another_path_fails_the_pair() -> None:
    client = ice_client()
    request = first_check(client)
    client.receive_datagram(success(request), SLOW, NOW)
    assert client.drops == {"answer-wrong-address": 1}
    assert client.send_target(NOW) is None


def test_controlling_waits_a_moment_for_a_better_pair_then_nominates() -> None:
    client = ice_client(pairs=((("192.0.2.11", 3478), CLIENT), (SERVER, CLIENT)), nomination_wait_ms=100)
    first_check(client)
    second = first_check(client, NOW + 50 * MILLISECOND)
    client.receive_datagram(success(second), PATH, NOW + 60 * MILLISECOND)
    assert sent(client) == []  # the better one may still come
    assert client.next_timeout() == (NOW + 160 * MILLISECOND, "nomination")
    nomination = first_check(client, NOW + 160 * MILLISECOND)
    assert nomination.use_candidate
    assert client.send_target(NOW) == PATH  # good for DTLS before it is nominated
    client.receive_datagram(success(nomination), PATH, NOW + 170 * MILLISECOND)
    assert isinstance(events(client)[-1], PairNominated)


def test_controlling_best_pair_is_nominated_at_once() -> None:
    client = ice_client(pairs=((SERVER, CLIENT), (("192.0.2.11", 3478), CLIENT)))
    request = first_check(client)
    client.receive_datagram(success(request), PATH, NOW + MILLISECOND)
    (nomination,) = sent(client)
    assert stun.parse(nomination.data).use_candidate
    assert nomination.destination == PATH


def test_controlling_consent_checks_are_jittered_and_single() -> None:
    client = ice_client(aggressive=True)
    request = first_check(client)
    client.receive_datagram(success(request), PATH, NOW)
    now, times = NOW, []
    for _ in range(5):
        timeout = client.next_timeout()
        assert timeout is not None
        assert timeout.reason == "consent-check"
        now = timeout.deadline
        client.handle_timeout(now)
        (check,) = sent(client)
        times.append(now)
        client.receive_datagram(success(stun.parse(check.data)), PATH, now)
    gaps = [after - before for before, after in zip([NOW, *times], times, strict=False)]
    assert all(4 * SECOND <= gap <= 6 * SECOND for gap in gaps)
    assert len(set(gaps)) > 1


def test_controlling_pairs_are_limited() -> None:
    client = ice_client(pairs=())
    accepted = sum(client.add_pair(flow(SERVER, ("10.0.0.1", port)), HOST_PRIORITY) for port in range(1, 200))
    assert accepted == PAIRS_MAX
    assert not client.add_pair(flow(SERVER, ("10.0.0.1", 1)), HOST_PRIORITY)


def test_controlling_peer_reflexive_pair_is_checked_back() -> None:
    client = ice_client(pairs=())
    check = stun.Message(stun.REQUEST, bytes(12))
    check.username = f"{CLIENT_UFRAG}:{SERVER_UFRAG}".encode()
    check.priority, check.controlled, check.fingerprint = HOST_PRIORITY, 1, True
    client.receive_datagram(check.serialize(CLIENT_PASSWORD.encode()), PATH, NOW)
    client.handle_timeout(NOW)
    answer, back = (stun.parse(datagram.data) for datagram in sent(client))
    assert answer.message_class == stun.SUCCESS
    assert back.message_class == stun.REQUEST
    client.receive_datagram(success(back), PATH, NOW)
    assert any(isinstance(event, PairValidated) for event in events(client))


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("larger", [True, False])
def test_controlling_larger_tie_breaker_becomes_controlling(controlling: bool, larger: bool) -> None:
    client = ice_client(controlling=controlling)
    own = first_check(client)
    ours = own.controlling if controlling else own.controlled
    assert ours is not None
    check = stun.Message(stun.REQUEST, bytes(12))
    check.username = f"{CLIENT_UFRAG}:{SERVER_UFRAG}".encode()
    check.priority, check.fingerprint = HOST_PRIORITY, True
    theirs = ours - 1 if larger else ours + 1
    check.controlling, check.controlled = (theirs, None) if controlling else (None, theirs)
    client.receive_datagram(check.serialize(CLIENT_PASSWORD.encode()), PATH, NOW)
    answer = stun.parse(sent(client)[0].data)
    # RFC 8445 7.3.1.1: whoever need not change tells the other to, and nobody does both.
    assert client.controlling == larger
    assert answer.error_code == (487 if larger == controlling else None)
    assert events(client) == ([] if larger == controlling else [RoleSwitched(larger)])
