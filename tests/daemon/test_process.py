"""Where children run."""

import pytest

from shm.daemon.process import place_workers


@pytest.mark.parametrize(
    ("asked", "wanted", "usable", "placed"),
    [
        (0, (), (0, 1, 5), [0, 1, 5]),
        (2, (), (0, 1, 5), [0, 1]),
        (4, (), (0, 1), [0, 1, 0, 1]),
        (0, (5, 1), (0, 1, 5), [5, 1]),
        (0, (7,), (0, 1), []),
    ],
)
def test_process_places_workers(
    asked: int, wanted: tuple[int, ...], usable: tuple[int, ...], placed: list[int]
) -> None:
    assert place_workers(asked, wanted, usable) == placed
