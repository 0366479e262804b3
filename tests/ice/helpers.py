"""Checks as a client would send them to the lite agent of `tests.peers`, and what comes back."""

from tests.peers import CLIENT_UFRAG, SERVER_PASSWORD, SERVER_UFRAG, flow
from transceiverd.engine import SECOND, Datagram
from transceiverd.ice import stun
from transceiverd.ice.agent import DROP_REASONS, LiteAgent

KEY = SERVER_PASSWORD.encode()
HERE = flow()
NOW = SECOND


def message(identity: int = 1, *, username: str | None = f"{SERVER_UFRAG}:{CLIENT_UFRAG}") -> stun.Message:
    """A check without USE-CANDIDATE; change it, then serialize it."""
    check = stun.Message(stun.REQUEST, identity.to_bytes(12, "big"))
    check.username = None if username is None else username.encode()
    check.priority = 1000
    check.controlling = 77
    check.fingerprint = True
    return check


def check(identity: int = 1, *, nominate: bool = False, priority: int = 1000, sha256: bool = False) -> bytes:
    """A valid check."""
    request = message(identity)
    request.use_candidate = nominate
    request.priority = priority
    return request.serialize(KEY, sha256)


def address(n: int) -> bytes:
    """The n-th address that a client may come from."""
    return flow(("198.51.100.7", 40000 + n))


def answers(agent: LiteAgent) -> list[Datagram]:
    """All that it has to send."""
    return list(iter(agent.poll_datagram, None))


def events(agent: LiteAgent) -> list[object]:
    """All that it has to report."""
    return list(iter(agent.poll_event, None))


def assert_untouched(agent: LiteAgent) -> None:
    """No state came of it."""
    assert events(agent) == []
    assert agent.state == "waiting"
    assert list(agent.addresses) == []
    assert agent.next_timeout() == (NOW + 15 * SECOND, "never-checked")
    assert set(agent.drops) <= set(DROP_REASONS)
