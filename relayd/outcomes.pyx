# cython: language_level=3
"""What a relay worker counts, and which of it must add up (DESIGN 2.9).

The places are an enum in outcomes.pxd, for the packet path; this module gives the names, for the supervisor that makes
the segment, for status and metrics. Three rules hold at every end of a batch, and after a worker's death as soon as its
successor has taken over:

    received    = the sum of OUTCOME_NAMES       what the kernel dropped (kernel_dropped_*) was never received
    out_records = the sum of OUT_OUTCOME_NAMES
    lost_bound  is how many packets more may have been taken from the kernel and never counted as received

Only the worker writes its counters. Left out: the segment itself (shm/counters.pyx).
"""

COUNTER_NAMES = tuple(place.name.lower() for place in counter_place if place != COUNTERS)


def _names_between(first, last):
    """The names from `first` to `last`, both included."""
    return COUNTER_NAMES[first : last + 1]


OUTCOME_NAMES = _names_between(FORWARDED_STUN, LOST_IN_RESTART)
OUT_OUTCOME_NAMES = _names_between(OUT_SENT_CONTROL, OUT_IN_DOUBT_IN_RESTART)
