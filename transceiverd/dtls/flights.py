"""Our own flights: numbering, sealing and packing of records, and when to send them again (RFC 6347 section 4.2.4).

Owned by a handshake. A flight is kept as plaintext records; every transmission gives each of them a record sequence
number of its own, because a peer throws away a number that it has seen: in epoch 0 we count ourselves (also in place of
OpenSSL, whose own numbers would collide with our repetitions), epoch 1 is sealed again by our record layer.
"""

from collections.abc import Iterable

import msgspec

from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.records import HANDSHAKE, Record, RecordLayer12
from transceiverd.engine import MILLISECOND

# A flight is sent again because the peer repeated its own at most this often: a flight comes as several records,
# possibly several datagrams, and duplicates of the network must not be multiplied.
RESEND_INTERVAL = 25 * MILLISECOND


class PlainRecord(msgspec.Struct, frozen=True, gc=False):
    """A record before it gets its number."""

    content_type: int
    version: int
    epoch: int
    body: bytes


class Flights:
    """The current flight and its schedule."""

    __slots__ = (
        "_config", "_datagrams", "_epoch0_sequence", "_flight", "_interval", "_mtu", "_sent_at",
        "deadline", "layer", "resends", "sent",
    )  # fmt: skip

    def __init__(self, config: DtlsConfig, mtu: int, datagrams: list[bytes]) -> None:
        self.layer: RecordLayer12 | None = None  # set when the keys are there
        self.deadline: int | None = None  # of the next retransmission
        self.resends = 0
        self.sent = 0  # datagrams
        self._config = config
        self._mtu = mtu
        self._datagrams = datagrams  # the engine's queue
        self._epoch0_sequence = 0
        self._flight: list[PlainRecord] = []
        self._interval = 0
        self._sent_at = 0

    def send(self, flight: list[PlainRecord], first_interval: int, now: int) -> None:
        """A new flight: the peer has answered the one before, which is forgotten."""
        self._flight = flight
        self._interval = first_interval
        self._transmit(now)

    def send_once(self, record: PlainRecord) -> None:
        """A record that is no part of a flight: an alert."""
        self._queue([self._protect(record)])

    def forget(self) -> None:
        """Send nothing again."""
        self._flight = []
        self.deadline = None

    def final_message(self) -> bytes:
        """The Finished in the current flight, in plain."""
        return next(record.body for record in self._flight if record.epoch and record.content_type == HANDSHAKE)

    def handle_timeout(self, now: int) -> None:
        """Send the flight again when that is due. However late the call: once."""
        if self.deadline is not None and now >= self.deadline:
            self._interval = min(self._interval * 2, self._config.retransmit_max_ms * MILLISECOND)
            self._resend(now)

    def peer_repeated(self, now: int) -> None:
        """The peer sent its last flight again: it has not got ours."""
        if self._flight and now - self._sent_at >= RESEND_INTERVAL:
            self._resend(now)

    def _resend(self, now: int) -> None:
        if self.resends == self._config.resends_max:
            self.deadline = None  # the handshake's time-out ends it
            return
        self.resends += 1
        self._transmit(now)

    def _transmit(self, now: int) -> None:
        self._queue([self._protect(record) for record in self._flight])
        self._sent_at = now
        self.deadline = now + self._interval

    def _protect(self, record: PlainRecord) -> bytes:
        if record.epoch:
            assert self.layer is not None
            return self.layer.seal(record.content_type, record.body)
        sequence = self._epoch0_sequence
        self._epoch0_sequence += 1
        return Record(record.content_type, record.version, 0, sequence, record.body).serialize()

    def _queue(self, records: list[bytes]) -> None:
        datagrams = pack_records(records, self._mtu)
        self.sent += len(datagrams)
        self._datagrams.extend(datagrams)


def pack_records(records: Iterable[bytes], mtu: int) -> list[bytes]:
    """As few datagrams as possible, in order, none longer than `mtu`, no record cut."""
    datagrams: list[bytes] = []
    for record in records:
        if datagrams and len(datagrams[-1]) + len(record) <= mtu:
            datagrams[-1] += record
        else:
            datagrams.append(record)
    return datagrams
