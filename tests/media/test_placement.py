"""transceiverd/media/placement.pyx: which CPU the media thread goes to."""

from transceiverd.media.placement import choose

LOOK = 100_000_000
ASLEEP = LOOK * 9 // 10


def test_placement_goes_to_the_cpu_of_the_only_worker_with_packets() -> None:
    assert choose(0, [(1, 0), (4, 100)], ASLEEP, LOOK) == 4
    assert choose(0, [(4, 97), (2, 3)], ASLEEP, LOOK) == 4


def test_placement_counts_workers_on_one_cpu_together() -> None:
    assert choose(0, [(3, 50), (3, 50)], ASLEEP, LOOK) == 3


def test_placement_is_anywhere_while_packets_come_from_two_cpus() -> None:
    assert choose(0, [(1, 60), (2, 60)], ASLEEP, LOOK) == 0
    assert choose(1, [(1, 90), (2, 10)], ASLEEP, LOOK) == 0


def test_placement_does_not_follow_a_worker_that_is_not_pinned() -> None:
    assert choose(0, [(0, 100)], ASLEEP, LOOK) == 0
    assert choose(2, [(0, 100)], ASLEEP, LOOK) == 0


def test_placement_silence_changes_nothing() -> None:
    assert choose(0, [(1, 4), (2, 0)], ASLEEP, LOOK) == 0
    assert choose(2, [(1, 4), (2, 0)], ASLEEP, LOOK) == 2
    assert choose(2, [], ASLEEP, LOOK) == 2


def test_placement_leaves_before_both_are_too_much_for_one_cpu() -> None:
    busy, busier = LOOK * 60 // 100, LOOK * 50 // 100  # asleep
    assert choose(0, [(1, 1000)], busy, LOOK) == 0
    assert choose(1, [(1, 1000)], busy, LOOK) == 1
    assert choose(1, [(1, 1000)], busier, LOOK) == 0
