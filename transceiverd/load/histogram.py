"""Histograms of times, and what is read from them: percentiles within 1.6 %.

The packet path counts into the same buckets natively (`stream.pxd`, `histogram_record`); this is their meaning for
Python. Up to 127 every value has a bucket; above, each power of two has 64 of them, up to 2^41 ns (36 minutes).
Left out: means, which hide what percentiles are for.
"""

from collections.abc import Sequence

SUB_BUCKET_BITS = 6  # 64 buckets an octave: an error of at most 1/64
BUCKETS = 2304  # the last octave begins at 2^40 ns
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


def bucket_of(value: int) -> int:
    """The bucket that counts `value`."""
    octave = max(value.bit_length() - 1 - SUB_BUCKET_BITS, 0)
    return min((octave << SUB_BUCKET_BITS) + (value >> octave), BUCKETS - 1)


def bucket_middle(bucket: int) -> int:
    """A value in the middle of a bucket."""
    if bucket < 2 << SUB_BUCKET_BITS:
        return bucket
    octave = (bucket >> SUB_BUCKET_BITS) - 1
    lowest = (bucket - (octave << SUB_BUCKET_BITS)) << octave
    return lowest + (1 << octave) // 2


class Histogram:
    """How often which time came, in nanoseconds."""

    __slots__ = ("counts", "highest", "total")

    def __init__(self, counts: Sequence[int] = (), highest: int = 0) -> None:
        self.counts = list(counts) or [0] * BUCKETS
        self.total = sum(self.counts)
        self.highest = highest

    def record(self, value: int) -> None:
        """Count one time; a negative one counts as none."""
        value = max(value, 0)
        self.counts[bucket_of(value)] += 1
        self.total += 1
        self.highest = max(self.highest, value)

    def percentile(self, percent: float) -> int:
        """The time that so many percent did not exceed; 0 when there is none."""
        wanted = percent / 100 * self.total
        seen = 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return min(bucket_middle(bucket), self.highest)
        return self.highest

    def since(self, before: "Histogram") -> "Histogram":
        """What came after `before` was read. The highest is that of the highest bucket used."""
        counts = [ours - theirs for ours, theirs in zip(self.counts, before.counts, strict=True)]
        top = max((bucket for bucket, count in enumerate(counts) if count), default=0)
        return Histogram(counts, min(bucket_middle(top), self.highest))

    def __add__(self, other: "Histogram") -> "Histogram":
        """Both together."""
        counts = [ours + theirs for ours, theirs in zip(self.counts, other.counts, strict=True)]
        return Histogram(counts, max(self.highest, other.highest))

    def summary(self) -> dict[str, float]:
        """Percentiles and the highest, in milliseconds."""
        values = {f"p{percent:g}": self.percentile(percent) / 1e6 for percent in PERCENTILES}
        return {"count": self.total, **values, "max": self.highest / 1e6}
