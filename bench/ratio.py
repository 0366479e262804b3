"""Ratios of interleaved rounds: their geometric mean with its 95 % interval (Student's t on the logarithms)."""

import math
import statistics
from collections.abc import Sequence

# Two-sided 95 % quantiles of Student's t by degrees of freedom; the next lower one stands for those between.
T_QUANTILES = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
               12: 2.179, 14: 2.145, 19: 2.093, 29: 2.045}  # fmt: skip


def interval(ratios: Sequence[float]) -> str:
    """`mean (low-high)`; only the mean of a single one."""
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.mean(logs)
    if len(logs) < 2:
        return f"{math.exp(mean):.2f}"
    degrees = len(logs) - 1
    quantile = T_QUANTILES[max(known for known in T_QUANTILES if known <= degrees)]
    half = quantile * statistics.stdev(logs) / math.sqrt(len(logs))
    return f"{math.exp(mean):.2f} ({math.exp(mean - half):.2f}-{math.exp(mean + half):.2f})"


def against(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Round by round."""
    return interval([mine / other for mine, other in zip(ours, theirs, strict=True)])


def spread(values: Sequence[float], digits: int = 2) -> str:
    """`median (least-most)`."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"
