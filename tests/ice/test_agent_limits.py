"""Bounds of a lite agent that all calls of a process share, and how many addresses one call may have."""

from tests.ice.helpers import address, answers, check, message
from tests.peers import CLIENT_UFRAG, SERVER_PASSWORD, SERVER_UFRAG, ice_server
from transceiverd.engine import MILLISECOND, SECOND, Drops
from transceiverd.ice.agent import LiteAgent
from transceiverd.ice.config import IceConfig
from transceiverd.ice.error_budget import ErrorBudget

NOW = 1_000 * SECOND


def test_agent_errors_of_all_calls_together_are_bounded_a_second() -> None:
    """Somebody knows the ufrags of two hundred calls, and asks each for its one error a second."""
    drops, budget = Drops(), ErrorBudget(100)
    config = IceConfig()
    agents = [
        LiteAgent(SERVER_UFRAG, SERVER_PASSWORD, CLIENT_UFRAG, config, now=NOW, drops=drops, errors=budget)
        for _ in range(200)
    ]
    forged = message().serialize(b"another password")
    for agent in agents:
        agent.receive_datagram(forged, address(1), NOW)
    assert sum(len(answers(agent)) for agent in agents) == 100
    assert drops["check-error-withheld"] == 100
    agents[0].receive_datagram(check(), address(2), NOW + MILLISECOND)
    assert len(answers(agents[0])) == 1, "true checks are answered whatever else is asked"
    for agent in agents:
        agent.receive_datagram(forged, address(1), NOW + SECOND)
    assert sum(len(answers(agent)) for agent in agents) == 100, "a new second"


def test_agent_addresses_of_a_call_are_bounded_as_configured_and_evictions_counted() -> None:
    agent = ice_server(now=NOW, addresses_max=2)
    for n in range(1, 6):
        agent.receive_datagram(check(n), address(n), NOW + n)
        assert len(answers(agent)) == 1, "the newest probe is always answered"
    assert [place.key for place in agent.addresses] in ([address(4), address(5)], [address(5), address(4)])
    assert agent.drops["check-evicted-address"] == 3
    for place in list(agent.addresses):
        agent.addresses.mark_proven(place.key, "dtls")
    agent.receive_datagram(check(9), address(9), NOW + 10)
    assert not answers(agent)
    assert agent.drops["check-no-room"] == 1
