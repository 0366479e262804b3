"""Who may send handshake datagrams to an address in dispute, while nobody has proven it (DESIGN 2.4)."""

from shm.flow_types import FlowOutcome
from shm.flows import CONTENDER_LIFETIME_NS
from shm.layout import ADDRESS_PROVEN
from tests.shm.test_flows_rules import KEY, NEW, NOW, OLD, PUBLISH, SECOND, new_table, publish


def test_flows_only_the_latest_check_handshakes_while_nobody_is_proven() -> None:
    """A page loaded again in the middle of a handshake: the old one's flights would mix with the new one's."""
    table = new_table()
    publish(table, OLD)
    assert table.handshakers(KEY, NOW) == (True, False)
    publish(table, NEW, now=NOW + SECOND)
    assert table.route(KEY, NOW + SECOND) == (True, True)
    assert table.handshakers(KEY, NOW + SECOND - 1) == (True, False), "the old page may still be there"
    assert table.handshakers(KEY, NOW + SECOND) == (False, True)
    assert publish(table, OLD, now=NOW + 2 * SECOND) is FlowOutcome.REFRESHED
    assert table.handshakers(KEY, NOW + 2 * SECOND) == (True, False)


def test_flows_spoofed_check_delays_a_handshake_only_until_the_owners_next_check() -> None:
    """Repeated however often: what counts of a contender is when it became one."""
    table = new_table()
    publish(table, OLD)
    publish(table, NEW, now=NOW + 1)
    publish(table, OLD, now=NOW + 2)
    for second in range(1, 10):
        assert publish(table, NEW, now=NOW + second * SECOND) is FlowOutcome.CONTENDING
        assert table.handshakers(KEY, NOW + second * SECOND) == (True, False)
    assert table.handshakers(KEY, NOW + 1 + CONTENDER_LIFETIME_NS) == (True, False)


def test_flows_spoofed_check_does_not_hold_up_a_handshake_whose_client_goes_on_checking() -> None:
    """An attacker's own call, his check under the victim's address: the victim's flights were held back until its next
    check. A client checks several times a second until DTLS is done."""
    table = new_table()
    publish(table, OLD)
    for tenth in range(1, 100):
        now = NOW + tenth * SECOND // 10
        publish(table, NEW, now=now)
        if tenth % 5 == 0:
            publish(table, OLD, now=now)
        assert table.handshakers(KEY, now) == (True, False), tenth


def test_flows_published_again_after_a_restart_counts_as_no_check() -> None:
    """relayd starts anew, and transceivers publish all flows: a call that its page has left looked as if it had just
    been checked, and held back the new page's handshake for up to 10 s."""
    table = new_table()
    assert publish(table, OLD, kind=PUBLISH) is FlowOutcome.APPLIED
    publish(table, NEW, now=NOW + 1)
    assert table.handshakers(KEY, NOW + 1) == (False, True)
    assert publish(table, OLD, now=NOW + 2, kind=PUBLISH) is FlowOutcome.REFRESHED
    assert table.handshakers(KEY, NOW + 2) == (False, True)
    publish(table, OLD, now=NOW + 3)
    assert table.handshakers(KEY, NOW + 3) == (True, False), "a check of its own is one"


def test_flows_proven_owner_and_its_contender_may_both_handshake() -> None:
    table = new_table()
    publish(table, OLD, ADDRESS_PROVEN)
    publish(table, NEW, now=NOW + SECOND)
    assert table.handshakers(KEY, NOW + SECOND) == (True, True)
    publish(table, OLD, now=NOW + 2 * SECOND)
    flow = table.lookup(KEY)
    assert flow is not None
    assert flow.owner.since_ns == NOW, "only a checked owner's time is refreshed"


def test_flows_owners_time_does_not_go_back() -> None:
    table = new_table()
    publish(table, OLD)
    publish(table, NEW, now=NOW + 1)
    publish(table, OLD, now=NOW + 2)
    publish(table, OLD, now=NOW - SECOND)
    assert table.handshakers(KEY, NOW + 2) == (True, False)
