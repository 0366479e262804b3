# cython: language_level=3, annotation_typing=False
"""The retransmission time-out: smoothed round-trip time, its variation, back-off (RFC 9260 6.3)."""

CLOCK_GRANULARITY = 1_000_000  # ns; G of RFC 9260 6.3.1


class RetransmissionTimeout:
    """All in nanoseconds. `value` is the RTO now; `round_trip` is 0 until the first measurement."""

    __slots__ = ("initial", "maximum", "minimum", "round_trip", "value", "variation")

    def __init__(self, initial: int, minimum: int, maximum: int) -> None:
        self.value = initial
        self.initial = initial
        self.minimum = minimum
        self.maximum = maximum
        self.round_trip = 0
        self.variation = 0

    def measure(self, rtt: int) -> None:
        """A round-trip time of something that was sent only once (Karn's rule is the caller's)."""
        if rtt < 0:
            return  # time went back
        if self.round_trip == 0:
            self.round_trip = max(rtt, 1)
            self.variation = rtt // 2
        else:
            self.variation += (abs(self.round_trip - rtt) - self.variation) // 4
            self.round_trip += (rtt - self.round_trip) // 8
        self.recover()

    def recover(self) -> None:
        """Back to what was measured: after a measurement, or when new data is acknowledged after a back-off.

        The second is what TCPs do; RFC 9260 6.3.1 would wait for a measurement, which on a lossy path may not come for
        many round trips, each a stall of the longest RTO.
        """
        if not self.round_trip:
            self.value = self.initial
            return
        wanted = self.round_trip + max(CLOCK_GRANULARITY, 4 * self.variation)
        self.value = min(max(wanted, self.minimum), self.maximum)

    def back_off(self) -> None:
        """A timer ran out: twice as long next time (RFC 9260 6.3.3 E2)."""
        self.value = min(self.value * 2, self.maximum)
