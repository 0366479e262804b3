# cython: language_level=3, annotation_typing=False
"""The congestion window (RFC 9260 7.2), in bytes of chunks.

Called by `transmission.py` for what was acknowledged, what was found lost, and when T3 ran out. One destination only:
ICE chooses paths, not SCTP.
"""

SLOW_START_PACKETS = 2  # packets the window may grow by for one SACK; as TCP's L of RFC 3465, since SACKs are delayed


class CongestionWindow:
    """`size` is cwnd; `recovery_exit` the TSN whose acknowledgement ends fast recovery, -1 outside of it."""

    __slots__ = ("acknowledged", "initial", "mtu", "recovery_exit", "size", "threshold")

    def __init__(self, mtu: int, initial_packets: int) -> None:
        self.mtu = mtu
        self.initial = mtu * initial_packets
        self.size = self.initial
        self.threshold = 1 << 30  # ssthresh: no limit before the first loss
        self.acknowledged = 0  # partial_bytes_acked
        self.recovery_exit = -1

    def on_acknowledged(self, count: int, flight_before: int, cumulative: int) -> None:
        """The cumulative TSN moved to `cumulative` and `count` bytes were acknowledged (7.2.1, 7.2.2)."""
        if self.recovery_exit >= 0:
            if cumulative < self.recovery_exit:
                return
            self.recovery_exit = -1
        if flight_before + self.mtu < self.size:
            return  # the window is not what holds us back
        if self.size <= self.threshold:
            self.size += min(count, SLOW_START_PACKETS * self.mtu)
            return
        self.acknowledged += count
        if self.acknowledged >= self.size:
            self.acknowledged -= self.size
            self.size += self.mtu

    def on_loss(self, highest_outstanding: int) -> bool:
        """Fast retransmit (7.2.4); False if this loss belongs to a recovery that is under way."""
        if self.recovery_exit >= 0:
            return False
        self.threshold = max(self.size // 2, 4 * self.mtu)
        self.size = self.threshold
        self.acknowledged = 0
        self.recovery_exit = highest_outstanding
        return True

    def on_timeout(self) -> None:
        """T3-rtx ran out (7.2.3)."""
        self.threshold = max(self.size // 2, 4 * self.mtu)
        self.size = self.mtu
        self.acknowledged = 0
        self.recovery_exit = -1

    def on_idle(self) -> None:
        """Nothing was sent for an RTO: what the window knew of the path grows old (7.2.1)."""
        self.size = max(self.size // 2, min(self.size, self.initial))
