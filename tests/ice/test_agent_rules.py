"""The lite agent's rules, one test each: what it answers, what it ignores, and what changes by it."""

from collections.abc import Callable

import pytest

from tests.ice.helpers import HERE, KEY, NOW, address, answers, assert_untouched, check, events, message
from tests.ice.test_stun_vectors import REQUEST
from tests.peers import CLIENT, CLIENT_UFRAG, SERVER, SERVER_UFRAG, flow, ice_server
from transceiverd.engine import MILLISECOND, SECOND
from transceiverd.ice import stun
from transceiverd.ice.agent import AddressChecked, AddressNominated

# ---------------------------------------------------------------------- what is answered, and how


@pytest.mark.parametrize("client", [CLIENT, ("2001:db8::7", 50000)])
@pytest.mark.parametrize("sha256", [False, True])
def test_agent_valid_check_is_answered_with_the_senders_address(client: tuple[str, int], sha256: bool) -> None:
    agent = ice_server(now=NOW)
    source = flow(client, SERVER if ":" not in client[0] else ("2001:db8::1", 3478))
    agent.receive_datagram(check(5, sha256=sha256), source, NOW)
    (answer,) = answers(agent)
    assert answer.destination == source
    assert answer.publish
    success = stun.parse(answer.data)
    assert success.message_class == stun.SUCCESS
    assert success.transaction_id == (5).to_bytes(12, "big")
    assert success.xor_mapped_address == (source[:16], 50000)
    assert success.fingerprint
    assert success.verify(KEY)
    # The same kind of integrity as the request, and only that one.
    assert (success.integrity is None) == sha256
    assert (success.integrity_sha256 is None) != sha256
    assert events(agent) == [AddressChecked(source)]


def test_agent_retransmitted_request_gets_the_same_answer() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(), HERE, NOW)
    agent.receive_datagram(check(), HERE, NOW + SECOND)
    first, second = answers(agent)
    assert first == second
    assert events(agent) == [AddressChecked(HERE)]


def test_agent_unknown_remote_ufrag_is_not_compared() -> None:
    agent = ice_server(now=NOW, remote_ufrag=None)
    agent.receive_datagram(check(), HERE, NOW)
    assert len(answers(agent)) == 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "stun-short"),
        (REQUEST, "check-not-ours"),
        (message(username=None).serialize(KEY), "check-not-ours"),
        (message(username=SERVER_UFRAG).serialize(KEY), "check-not-ours"),
        (message(username=SERVER_UFRAG + ":").serialize(KEY), "check-not-ours"),
        # The worker routes by the routing fields; the nonce and tag behind them must be this call's too.
        (message(username=f"{SERVER_UFRAG[:-1]}R:{CLIENT_UFRAG}").serialize(KEY), "check-not-ours"),
        (message(username=f"{SERVER_UFRAG}R:{CLIENT_UFRAG}").serialize(KEY), "check-not-ours"),
    ],
)
def test_agent_strangers_meet_silence(data: bytes, reason: str) -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(data, HERE, NOW)
    assert answers(agent) == []
    assert agent.drops == {reason: 1}
    assert_untouched(agent)


def test_agent_fingerprint_must_be_there_and_right() -> None:
    agent = ice_server(now=NOW)
    bare = message()
    bare.fingerprint = False
    agent.receive_datagram(bare.serialize(KEY), HERE, NOW)
    good = check()
    agent.receive_datagram(good[:-1] + bytes((good[-1] ^ 1,)), HERE, NOW)
    assert answers(agent) == []
    assert agent.drops == {"check-no-fingerprint": 1, "stun-fingerprint": 1}
    assert_untouched(agent)


@pytest.mark.parametrize("kind", [stun.INDICATION, stun.SUCCESS, stun.ERROR])
def test_agent_answers_requests_only(kind: int) -> None:
    agent = ice_server(now=NOW)
    other = message()
    other.message_class = kind
    agent.receive_datagram(other.serialize(KEY), HERE, NOW)
    assert answers(agent) == []
    assert_untouched(agent)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (message().serialize(b"another password"), 401),
        (message().serialize(b"another password", True), 401),
        (message().serialize(), 400),
        (message(username=f"{SERVER_UFRAG}:other").serialize(KEY), 401),
    ],
)
def test_agent_failed_integrity_gets_one_small_error_and_changes_nothing(data: bytes, code: int) -> None:
    agent = ice_server(now=NOW)
    for _ in range(50):
        agent.receive_datagram(data, HERE, NOW + 100 * MILLISECOND)
    (answer,) = answers(agent)
    assert len(answer.data) == 36
    assert len(answer.data) <= len(data)
    assert not answer.publish
    error = stun.parse(answer.data)
    assert (error.error_code, error.error_reason, error.has_integrity(), error.fingerprint) == (code, b"", False, True)
    assert sum(agent.drops.values()) == 50
    assert_untouched(agent)


def test_agent_errors_to_the_unauthenticated_are_rate_limited_per_call() -> None:
    agent = ice_server(now=NOW, error_interval_ms=1_000)
    forged = message().serialize(b"another password")
    sent = []
    for n in range(300):  # from many addresses, 10 ms apart
        agent.receive_datagram(forged, address(n), NOW + n * 10 * MILLISECOND)
        sent += answers(agent)
    assert len(sent) == 3
    # And a legitimate check is answered in the middle of it.
    agent.receive_datagram(check(), HERE, NOW + 3 * SECOND)
    assert len(answers(agent)) == 1


def test_agent_unknown_required_attribute_gets_420() -> None:
    agent = ice_server(now=NOW)
    request = message()
    request.others = ((0x0013, b"TURN data"), (0xC057, b"ignored"), (0x7FFE, b""))
    data = request.serialize(KEY)
    agent.receive_datagram(data, HERE, NOW)
    (answer,) = answers(agent)
    error = stun.parse(answer.data)
    assert error.error_code == 420
    assert error.others == ((stun.UNKNOWN_ATTRIBUTES, b"\x00\x13\x7f\xfe"),)
    assert error.verify(KEY)
    assert len(answer.data) <= len(data)
    assert not answer.publish
    assert_untouched(agent)


def test_agent_unknown_optional_attributes_are_ignored() -> None:
    agent = ice_server(now=NOW)
    request = message()
    request.others = ((0xC057, b"\0\1\0\0"), (0xC070, b""), (0xC071, bytes(16)))
    agent.receive_datagram(request.serialize(KEY), HERE, NOW)
    assert stun.parse(answers(agent)[0].data).message_class == stun.SUCCESS


def test_agent_controlled_peer_gets_487() -> None:
    agent = ice_server(now=NOW)
    request = message()
    request.controlling, request.controlled = None, 1
    request.use_candidate = True
    agent.receive_datagram(request.serialize(KEY), HERE, NOW)
    (answer,) = answers(agent)
    error = stun.parse(answer.data)
    assert error.error_code == 487
    assert error.verify(KEY)
    assert not answer.publish
    assert_untouched(agent)


def flips(data: bytes, stop: int) -> list[bytes]:
    """`data` with each single bit before `stop` turned over."""
    return [
        data[: bit // 8] + bytes((data[bit // 8] ^ (1 << bit % 8),)) + data[bit // 8 + 1 :] for bit in range(stop * 8)
    ]


@pytest.mark.parametrize(
    "repair", [lambda data: data, lambda data: stun.seal_fingerprint(data[:-8])], ids=["as is", "fingerprint repaired"]
)
@pytest.mark.parametrize("sha256", [False, True])
def test_agent_bit_flipped_checks_never_succeed(repair: Callable[[bytes], bytes], sha256: bool) -> None:
    request = message()
    request.use_candidate = True
    request.others = ((0xC057, b"\0\1\0\0"),)
    good = request.serialize(KEY, sha256)
    for flipped in flips(good, len(good) - 8):
        if repair(flipped) == good:
            continue  # the flip was in the header's length, which the repair puts right
        agent = ice_server(now=NOW)
        agent.receive_datagram(repair(flipped), HERE, NOW)
        for answer in answers(agent):
            assert stun.parse(answer.data).message_class == stun.ERROR
            assert len(answer.data) == 36
        assert_untouched(agent)


def test_agent_flipped_checks_do_not_disturb_the_call_they_aim_at() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), HERE, NOW)
    agent.addresses.mark_proven(HERE, "dtls")
    answers(agent), events(agent)
    before = [(a.key, a.nominated, a.checked_ns, a.bytes_received) for a in agent.addresses]
    for flipped in flips(check(2, nominate=True), len(check(2))):
        agent.receive_datagram(flipped, address(1), NOW + SECOND)
    assert [(a.key, a.nominated, a.checked_ns, a.bytes_received) for a in agent.addresses] == before
    assert events(agent) == []
    assert agent.last_check == NOW


def test_agent_copy_of_a_check_from_another_address_takes_nothing() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), HERE, NOW)
    answers(agent), events(agent)
    agent.receive_datagram(check(1, nominate=True), address(1), NOW)
    assert answers(agent) == []
    assert events(agent) == []
    assert agent.drops == {"check-replayed": 1}
    assert agent.send_target(NOW) == HERE


# ---------------------------------------------------------------------- nomination and where to send


def test_agent_during_the_handshake_sends_to_the_address_checked_last() -> None:
    agent = ice_server(now=NOW)
    assert agent.send_target(NOW) is None
    agent.receive_datagram(check(1), address(1), NOW)
    assert agent.send_target(NOW) == address(1)
    agent.receive_datagram(check(2), address(2), NOW + 1)
    assert agent.send_target(NOW + 1) == address(2)
    agent.receive_datagram(check(3), address(1), NOW + 2)
    assert agent.send_target(NOW + 2) == address(1)


def test_agent_during_the_handshake_the_nominated_address_goes_first() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), address(1), NOW)
    agent.receive_datagram(check(2), address(2), NOW + 1)
    assert agent.send_target(NOW + 1) == address(1)
    assert events(agent) == [AddressChecked(address(1)), AddressNominated(address(1)), AddressChecked(address(2))]


def test_agent_later_nomination_of_equal_or_higher_priority_wins() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True, priority=10), address(1), NOW)
    agent.receive_datagram(check(2, nominate=True, priority=10), address(2), NOW)
    assert agent.send_target(NOW) == address(2)
    agent.receive_datagram(check(3, nominate=True, priority=9), address(3), NOW)
    assert agent.send_target(NOW) == address(2)
    agent.receive_datagram(check(4, nominate=True, priority=11), address(4), NOW)
    assert agent.send_target(NOW) == address(4)
    nominated = [event for event in events(agent) if isinstance(event, AddressNominated)]
    assert nominated == [AddressNominated(address(n)) for n in (1, 2, 4)]


def test_agent_lower_nomination_wins_once_the_old_address_is_quiet() -> None:
    # A phone leaves Wi-Fi: its mobile network has the lower priority, and nothing is checked over Wi-Fi any more.
    agent = ice_server(now=NOW, nomination_quiet_ms=2_000)
    agent.receive_datagram(check(1, nominate=True, priority=10), address(1), NOW)
    agent.receive_datagram(check(2, nominate=True, priority=5), address(2), NOW + 2 * SECOND - 1)
    assert agent.send_target(NOW + 2 * SECOND) == address(1)
    agent.receive_datagram(check(3, nominate=True, priority=5), address(2), NOW + 2 * SECOND)
    assert agent.send_target(NOW + 2 * SECOND) == address(2)


def test_agent_lower_nomination_wins_although_the_old_address_is_still_checked() -> None:
    # Only the way *to* the client broke on its first path: a browser moves to the second one, and goes on checking the
    # first, without USE-CANDIDATE, in the hope that it heals. Its audio must not wait for it to give that up.
    agent = ice_server(now=NOW, nomination_quiet_ms=2_000)
    agent.receive_datagram(check(1, nominate=True, priority=10), address(1), NOW)
    for n, later in enumerate(range(500, 2_500, 500), start=2):
        agent.receive_datagram(check(n), address(1), NOW + later * MILLISECOND)
    agent.receive_datagram(check(9, nominate=True, priority=5), address(2), NOW + 2 * SECOND)
    assert agent.send_target(NOW + 2 * SECOND) == address(2)


def test_agent_after_the_handshake_sends_to_proven_addresses_only() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), address(1), NOW)
    agent.receive_datagram(check(2), address(2), NOW)
    agent.handshake_completed()
    assert agent.send_target(NOW) is None
    agent.addresses.mark_proven(address(2), "dtls")
    assert agent.send_target(NOW) == address(2)
    agent.addresses.mark_proven(address(1), "srtp")
    assert agent.send_target(NOW) == address(1)


def test_agent_a_check_alone_does_not_turn_the_audio() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), address(1), NOW)
    agent.addresses.mark_proven(address(1), "dtls")
    agent.handshake_completed()
    agent.receive_datagram(check(2, nominate=True), address(2), NOW + SECOND)
    assert agent.send_target(NOW + SECOND) == address(1)
    agent.addresses.mark_proven(address(2), "srtp")
    assert agent.send_target(NOW + SECOND) == address(2)


def test_agent_hears_every_checked_address_and_no_other() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), address(1), NOW)
    agent.receive_datagram(check(2), address(2), NOW)
    assert agent.may_hear(address(1))
    assert agent.may_hear(address(2))
    assert not agent.may_hear(address(3))
    agent.close("hangup")
    assert not agent.may_hear(address(1))
