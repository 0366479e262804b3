"""The lite agent's time: never checked, consent, silence, addresses that fall out of use, and a restored agent."""

from tests.ice.helpers import HERE, NOW, address, answers, check, events, message
from tests.peers import ice_server
from transceiverd.engine import SECOND, Closed
from transceiverd.ice.agent import (
    AddressDropped,
    ConsentExpired,
    ConsentRegained,
    NeverChecked,
)


def test_agent_never_checked_ends_after_15_seconds() -> None:
    agent = ice_server(now=NOW)
    agent.handle_timeout(NOW + 15 * SECOND - 1)
    assert events(agent) == []
    agent.handle_timeout(NOW + 15 * SECOND)
    assert events(agent) == [NeverChecked(NOW), Closed("never-checked")]
    assert agent.next_timeout() is None
    agent.receive_datagram(check(), HERE, NOW + 15 * SECOND)
    assert answers(agent) == []
    assert agent.drops == {"check-after-close": 1}


def test_agent_tells_since_when_it_is_checked() -> None:
    # The session's ten seconds for DTLS count from here.
    agent = ice_server(now=NOW)
    assert agent.checked_since is None
    agent.receive_datagram(check(1), HERE, NOW + SECOND)
    agent.receive_datagram(check(2), HERE, NOW + 2 * SECOND)
    assert agent.checked_since == NOW + SECOND
    assert agent.last_check == NOW + 2 * SECOND


def test_agent_without_checks_for_30_seconds_stops_sending_then_closes() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), HERE, NOW)
    events(agent)
    assert agent.next_timeout() == (NOW + 30 * SECOND, "consent-expiry")
    assert agent.send_target(NOW + 30 * SECOND - 1) == HERE
    assert agent.send_target(NOW + 30 * SECOND) is None  # even before the timer says so
    agent.handle_timeout(NOW + 30 * SECOND)
    assert events(agent) == [ConsentExpired(NOW)]
    assert agent.next_timeout() == (NOW + 60 * SECOND, "silence-end")
    agent.handle_timeout(NOW + 60 * SECOND)
    assert events(agent) == [Closed("consent-expired")]


def test_agent_valid_check_within_the_silence_brings_the_call_back() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), HERE, NOW)
    agent.handle_timeout(NOW + 30 * SECOND)
    answers(agent), events(agent)
    agent.receive_datagram(message(2).serialize(b"another password"), HERE, NOW + 40 * SECOND)
    assert events(agent) == []
    answers(agent)
    agent.receive_datagram(check(3), HERE, NOW + 59 * SECOND)
    assert events(agent) == [ConsentRegained(HERE)]
    assert answers(agent)[0].publish
    assert agent.send_target(NOW + 59 * SECOND) == HERE
    assert agent.next_timeout() == (NOW + 89 * SECOND, "consent-expiry")


def test_agent_late_timer_handles_all_that_is_due() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1), HERE, NOW)
    events(agent)
    agent.handle_timeout(NOW + 3600 * SECOND)
    assert events(agent) == [ConsentExpired(NOW), Closed("consent-expired")]


def test_agent_ignores_time_that_goes_back() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1), HERE, NOW + 20 * SECOND)
    agent.receive_datagram(check(2), HERE, NOW)
    agent.handle_timeout(NOW)
    assert agent.last_check == NOW + 20 * SECOND


def test_agent_address_unchecked_for_30_seconds_is_dropped_while_another_lives() -> None:
    agent = ice_server(now=NOW)
    agent.receive_datagram(check(1, nominate=True), address(1), NOW)
    agent.receive_datagram(check(2), address(2), NOW + 10 * SECOND)
    events(agent)
    assert agent.next_timeout() == (NOW + 30 * SECOND, "address-expiry")
    agent.handle_timeout(NOW + 30 * SECOND)
    assert events(agent) == [AddressDropped(address(1), "expired")]
    assert agent.state == "live"
    assert agent.send_target(NOW + 30 * SECOND) == address(2)


def test_agent_goes_on_from_what_a_record_kept() -> None:
    first = ice_server(now=NOW)
    first.receive_datagram(check(1, nominate=True), address(1), NOW)
    first.receive_datagram(check(2), address(2), NOW + SECOND)
    first.addresses.mark_proven(address(1), "dtls")
    second = ice_server(now=NOW + 5 * SECOND)
    assert first.last_check is not None
    assert first.checked_since is not None
    second.restore(first.last_check, first.checked_since, established=True, addresses=enumerate(first.addresses))
    assert second.send_target(NOW + 5 * SECOND) == address(1)
    assert second.next_timeout() == first.next_timeout()
    assert second.checked_since == NOW
    second.receive_datagram(check(3), address(3), NOW + 6 * SECOND)
    assert sorted(a.id for a in second.addresses) == [1, 2, 3]
