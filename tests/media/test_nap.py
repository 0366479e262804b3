"""shm/nap.pxd, as the media thread uses it: how long it naps."""

from transceiverd.media.engine import nap_lengths

BOUND = 1_000_000  # ns
MILLISECOND = 1_000_000


def steady(gap_ns: int, seconds: float = 0.1) -> list[tuple[int, int]]:
    """Turns of one packet each, at a steady rate."""
    return [(1, MILLISECOND + number * gap_ns) for number in range(int(seconds * 1e9 / gap_ns))]


def test_nap_none_at_a_rate_at_which_it_would_not_gather_four() -> None:
    assert set(nap_lengths(BOUND, steady(500_000))) == {0}  # 2,000 packets/s
    assert set(nap_lengths(BOUND, steady(260_000))[50:]) == {0}


def test_nap_lasts_as_long_as_four_packets_take() -> None:
    for gap in (40_000, 100_000, 240_000):
        for length in nap_lengths(BOUND, steady(gap))[200:]:
            assert abs(length - 4 * gap) < gap


def test_nap_never_lasts_longer_than_its_bound() -> None:
    for bound in (50_000, 250_000, BOUND):
        for gap in (1_000, 10_000, 60_000, 250_000, 400_000):
            assert max(nap_lengths(bound, steady(gap))) <= bound


def test_nap_never_where_the_bound_is_zero() -> None:
    assert set(nap_lengths(0, steady(20_000))) == {0}


def test_nap_ends_with_the_window_after_the_talk() -> None:
    talk = steady(100_000)
    end = talk[-1][1]
    assert nap_lengths(BOUND, talk)[-1] > 0
    assert nap_lengths(BOUND, [*talk, (1, end + 40 * MILLISECOND), (1, end + 80 * MILLISECOND)])[-1] == 0
