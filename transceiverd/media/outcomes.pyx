# cython: language_level=3
"""What a media thread counts, and what of it must add up (DESIGN 2.9).

The places are an enum in outcomes.pxd, for the packet path; this module gives the names, for whoever makes the segment,
for status and metrics. At every end of a batch

    received = the sum of OUTCOME_NAMES + (early_kept - early_released)

holds. A transceiver that dies takes its media thread along; what its rings had taken up is booked by its successor as
`lost` in the ring header (shm/ring.pxd). Left out: the segment itself (shm/counters.pyx).
"""

COUNTER_NAMES = tuple(place.name.lower() for place in counter_place if place != COUNTERS)
OUTCOME_NAMES = COUNTER_NAMES[OUTCOMES_FIRST : OUTCOMES_LAST + 1]
