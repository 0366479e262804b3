"""Packet indexes and replay windows against a plain model."""

from hypothesis import given
from hypothesis import strategies as st

from transceiverd.media.replay import ReplayWindow

WINDOW = 128


@given(
    st.integers(0, 0xFFFF),
    st.lists(st.one_of(st.integers(-200, 200), st.integers(-32700, 32700)), max_size=200),
)
def test_replay_window_is_a_set_of_the_last_128(first: int, steps: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for step in [0, *steps]:
        index = max(0, (max(seen) if seen else first) + step)
        too_old = bool(seen) and max(seen) - index >= WINDOW
        expected = 2 if too_old else int(index in seen)
        assert window.check(index) == expected
        if expected == 0:
            window.add(index)
            seen.add(index)


@given(st.integers(0, 1 << 20), st.integers(-32767, 32767))
def test_replay_index_is_the_one_closest_to_the_highest(highest: int, step: int) -> None:
    window = ReplayWindow()
    window.add(highest)
    index = highest + step
    if index >= 0:
        assert window.estimate(index & 0xFFFF) == index


def test_replay_first_packet_has_rollover_zero() -> None:
    assert ReplayWindow().estimate(65535) == 65535


def test_replay_there_is_no_rollover_below_zero() -> None:
    window = ReplayWindow()
    window.add(3)
    assert window.estimate(65535) == 65535
