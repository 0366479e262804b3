"""What waits for a transceiver's control thread: who is served in a turn, who waits, what is dropped."""

from collections import Counter
from typing import NamedTuple

from transceiverd.inbox import CHECKS_PER_TURN, QUEUE_MAX, RECORDS_PER_TURN, Inbox
from transceiverd.lanes import DTLS, STUN


class _Record(NamedTuple):
    """The two fields that count here."""

    type: int
    slot: int


OLD = range(1000, 2000)  # slots of calls whose handshake is done


def _inbox(per_turn: int = 16, per_handshake: int = 32, per_call: int = 64) -> Inbox:
    return Inbox(lambda slot: slot in OLD, per_turn, per_handshake, per_call)


def _put(inbox: Inbox, kind: int, slot: int, times: int = 1) -> int:
    return sum(inbox.put(_Record(kind, slot)) for _ in range(times))  # type: ignore[arg-type]


def test_inbox_turn_gives_openssl_a_bounded_number_of_datagrams() -> None:
    inbox = _inbox()
    for slot in range(50):
        assert _put(inbox, DTLS, slot, 2) == 2
    work = list(inbox.turn())
    assert [record.slot for record in work] == [slot for slot in range(8) for _ in range(2)], "oldest first"
    assert inbox.handshakes_put_off == 1
    while inbox:
        work = list(inbox.turn())
        assert 0 < len(work) <= 16
    assert inbox.handshakes_put_off == 6, "the last turn put nothing off"


def test_inbox_handshakes_do_not_wait_for_bulk_data_nor_checks_for_either() -> None:
    inbox = _inbox()
    for slot in OLD[:40]:
        _put(inbox, DTLS, slot, 64)
    for slot in range(5):
        _put(inbox, DTLS, slot)
    _put(inbox, STUN, 7, 3)
    turn = list(inbox.turn())
    assert [record.type for record in turn[:3]] == [STUN] * 3
    assert [record.slot for record in turn[3:8]] == list(range(5))
    assert len(turn) == 8 + RECORDS_PER_TURN


def test_inbox_flood_of_one_call_is_its_own_loss() -> None:
    inbox = _inbox()
    assert _put(inbox, DTLS, 1, 10_000) == 32
    assert _put(inbox, DTLS, OLD[0], 10_000) == 64
    assert _put(inbox, DTLS, 2, 3) == 3
    assert _put(inbox, DTLS, OLD[1], 3) == 3
    served = Counter(record.slot for _ in range(10) for record in inbox.turn())
    assert served == {1: 32, OLD[0]: 64, 2: 3, OLD[1]: 3}
    assert _put(inbox, DTLS, 1, 100) == 32, "there is room again"


def test_inbox_is_bounded_as_a_whole() -> None:
    inbox = _inbox(per_handshake=4)
    taken = sum(_put(inbox, DTLS, slot, 8) for slot in range(QUEUE_MAX))
    assert taken == 2 * QUEUE_MAX, "of each kind"
    for _ in range(QUEUE_MAX):
        assert not inbox.full
        _put(inbox, STUN, 1)
    assert inbox.full
    assert len(list(inbox.turn())) == CHECKS_PER_TURN + 16 + RECORDS_PER_TURN
    assert not inbox.full
