"""Histograms keep percentiles within a sixty-fourth."""

from hypothesis import given, settings
from hypothesis import strategies as st

from transceiverd.load.histogram import BUCKETS, Histogram, bucket_middle, bucket_of

TIMES = st.integers(0, 1 << 40)


@given(TIMES)
def test_histogram_bucket_stands_for_its_values_within_a_sixty_fourth(value: int) -> None:
    assert abs(bucket_middle(bucket_of(value)) - value) <= value / 64


@given(st.lists(TIMES, min_size=2, max_size=2).map(sorted))
def test_histogram_buckets_are_in_the_order_of_their_values(values: list[int]) -> None:
    assert bucket_of(values[0]) <= bucket_of(values[1]) < BUCKETS


@settings(max_examples=25)
@given(st.lists(st.integers(0, 1 << 36), min_size=1, max_size=200), st.sampled_from([50.0, 90.0, 99.0, 99.9]))
def test_histogram_percentile_is_that_of_the_sorted_list(values: list[int], percent: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    place = max(-(-len(values) * percent // 100), 1)  # the first that covers so many
    exact = sorted(values)[int(place) - 1]
    assert abs(histogram.percentile(percent) - exact) <= exact / 32 + 1


def test_histogram_since_is_what_came_after() -> None:
    early, late = Histogram(), Histogram()
    for value in (10, 20):
        early.record(value)
        late.record(value)
    late.record(5_000_000)
    recent = late.since(early)
    assert recent.total == 1
    assert abs(recent.percentile(50) - 5_000_000) < 5_000_000 / 32
    assert (early + recent).total == 3


def test_histogram_of_nothing_says_zero_and_one_beyond_the_last_bucket_is_counted() -> None:
    assert Histogram().summary()["p99.9"] == 0
    histogram = Histogram()
    histogram.record(1 << 60)
    histogram.record(-5)
    assert histogram.total == 2
    assert histogram.highest == 1 << 60
