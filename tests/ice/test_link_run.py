"""A client and a lite agent over a bad link, in simulated time; and the link itself."""

import pytest

from tests.link import Endpoint, Link, turned
from tests.peers import CLIENT, SERVER, flow, ice_client, ice_server
from transceiverd.engine import SECOND, Timeout
from transceiverd.ice.agent import AddressNominated, Closed, ConsentExpired, ConsentRegained
from transceiverd.ice.controlling import PairNominated, PairValidated, RoleSwitched

# Four paths to a server that advertises two addresses.
OTHER_SERVER = ("2001:db8::1", 3478)
OTHER_CLIENT = ("2001:db8::7", 50001)
PAIRS = ((SERVER, CLIENT), (SERVER, ("198.51.100.7", 50002)), (OTHER_SERVER, OTHER_CLIENT))


def nominated(link: Link) -> bool:
    """Both ends agree that ICE is done."""
    return link.left.saw(PairNominated) and link.right.saw(AddressNominated)


@pytest.mark.parametrize("aggressive", [False, True])
def test_link_run_always_ends_nominated(aggressive: bool) -> None:
    for seed in range(60):
        client = ice_client(seed=seed, pairs=PAIRS, aggressive=aggressive)
        link = Link(client, ice_server(), seed=seed, loss=0.3, duplicates=0.2, delay_ms=(5, 300))
        assert link.run(until=lambda link=link: nominated(link), seconds=60), (seed, link.left.events)
        link.loss = 0
        link.run(seconds=12)  # a consent check has passed by then
        target = link.right.engine.send_target(link.now)
        assert target is not None
        assert turned(target) == client.send_target(link.now)
        assert not link.left.saw(Closed)
        assert not link.right.saw(Closed)


def test_link_run_takes_two_round_trips_at_best() -> None:
    link = Link(ice_client(), ice_server(), delay_ms=(20, 20))
    assert link.run(until=lambda: nominated(link))
    assert link.now - SECOND == 80_000_000
    assert len(link.left.sent) == 2
    assert len(link.right.sent) == 2


def test_link_run_mapped_address_is_what_the_server_saw() -> None:
    link = Link(ice_client(pairs=((OTHER_SERVER, OTHER_CLIENT),)), ice_server())
    assert link.run(until=lambda: nominated(link))
    (validated,) = [event for event in link.left.events if isinstance(event, PairValidated)]
    assert validated.mapped == (flow(OTHER_CLIENT)[:16], OTHER_CLIENT[1])


def test_link_run_wrong_role_is_settled_by_487() -> None:
    link = Link(ice_client(controlling=False), ice_server(), loss=0.2, seed=3)
    assert link.run(until=lambda: nominated(link))
    assert [event for event in link.left.events if isinstance(event, RoleSwitched)] == [RoleSwitched(True)]
    assert link.right.engine.drops["check-role-conflict"] >= 1


def test_link_run_wrong_password_never_connects() -> None:
    link = Link(ice_client(password="not the password of that call"), ice_server())
    assert not link.run(until=lambda: nominated(link), seconds=40)
    assert Closed("ice-failed") in link.left.events
    assert Closed("never-checked") in link.right.events
    assert all(len(datagram.data) == 36 for _, datagram in link.right.sent)


def test_link_run_consent_keeps_a_quiet_call_for_an_hour() -> None:
    link = Link(ice_client(), ice_server(), loss=0.05, seed=5)
    link.run(seconds=3600)
    assert not link.left.saw(Closed)
    assert not link.right.saw(ConsentExpired)
    assert link.right.engine.state == "live"
    assert len(link.left.sent) < 3600 / 4 + 20


def test_link_run_consent_comes_back_after_a_break() -> None:
    client = ice_client(consent_expiry_ms=120_000)
    link = Link(client, ice_server())
    assert link.run(until=lambda: nominated(link))
    link.up = False
    assert link.run(until=lambda: link.right.saw(ConsentExpired))
    assert link.right.engine.send_target(link.now) is None
    link.up = True
    assert link.run(until=lambda: link.right.saw(ConsentRegained), seconds=10)
    assert link.right.engine.send_target(link.now) is not None


def test_link_run_both_ends_give_up_when_the_link_is_cut() -> None:
    link = Link(ice_client(), ice_server())
    assert link.run(until=lambda: nominated(link))
    link.up = False
    link.run(seconds=70)
    assert Closed("consent-expired") in link.left.events
    assert Closed("consent-expired") in link.right.events
    assert link.left.engine.next_timeout() is None
    assert link.right.engine.next_timeout() is None


def test_link_run_damaged_packets_change_nothing() -> None:
    link = Link(ice_client(), ice_server(), seed=2)

    def damage(data: bytes) -> bytes:
        at = link.random.randrange(len(data))
        return data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :] if link.random.random() < 0.5 else data

    link.tamper = damage
    assert link.run(until=lambda: nominated(link))
    assert sum(link.right.engine.drops.values()) + sum(link.left.engine.drops.values()) > 0


def test_link_same_seed_gives_the_same_run() -> None:
    def story(seed: int) -> list[object]:
        link = Link(ice_client(pairs=PAIRS), ice_server(), seed=seed, loss=0.3, duplicates=0.3, delay_ms=(1, 200))
        link.run(seconds=30)
        return [link.left.sent, link.right.sent, link.left.received, link.right.received]

    assert story(4) == story(4)
    assert story(4) != story(5)


class Echo:
    """The smallest engine of plain bytes: says each packet back, and one of its own each second."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.due = SECOND

    def receive_datagram(self, data: bytes, now: int) -> None:
        """Say it back."""
        if len(data) < 4:
            self.out.append(data + b".")

    def handle_timeout(self, now: int) -> None:
        """Say something."""
        self.due = now + SECOND
        self.out.append(b"")

    def next_timeout(self) -> Timeout | None:
        """In a second."""
        return Timeout(self.due, "speak")

    def poll_datagram(self) -> bytes | None:
        """What it says."""
        return self.out.pop(0) if self.out else None


def test_link_carries_engines_of_plain_bytes() -> None:
    link = Link(Echo(), Endpoint(Echo(), name="far"), delay_ms=(1, 1))
    link.run(seconds=2.5)
    assert [data for _, data in link.left.received].count(b"") == 3
    assert max(len(data) for _, data in link.right.received) == 4


def test_link_says_who_lets_time_stand_still() -> None:
    class Stuck(Echo):
        def handle_timeout(self, now: int) -> None:
            pass

    with pytest.raises(AssertionError, match=r"time stands still.*speak"):
        Link(Stuck(), Echo()).run(seconds=1)
