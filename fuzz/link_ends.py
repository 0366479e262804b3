"""The two ends of the link machine's line (link_world.py): whole sessions that keep books of what they send.

Whatever becomes of a datagram on its way, no end seals two under one number, and no data comes that nobody sent.
"""

from fuzz.session_world import World
from tests.bottle import Client
from transceiverd.dtls.config import DtlsConfig
from transceiverd.dtls.engine import ApplicationDataReceived
from transceiverd.dtls.records import parse_records
from transceiverd.engine import Datagram
from transceiverd.ice.events import Closed, PairNominated

FIRST_SEQUENCE, WRAPS_SOON = 40_000, 65_500  # less than 2^15 apart, so that nobody takes one for the other's past


class Numbers:
    """What an end sealed or numbered: nothing leaves twice under one number (RFC 3711 9.1, RFC 5288; in epoch 0 the
    peer would throw the second away)."""

    def __init__(self) -> None:
        self._used: set[tuple[object, ...]] = set()

    def use(self, data: bytes) -> None:
        """A datagram leaves."""
        for number in self._of(data):
            assert number not in self._used, "one number twice"
            self._used.add(number)

    def _of(self, data: bytes) -> list[tuple[object, ...]]:
        if 20 <= data[0] < 64:
            return [(record.epoch, record.sequence) for record in parse_records(data)]
        if data[0] < 128:
            return []
        return [("rtcp", data[-4:])] if 192 <= data[1] <= 223 else [("rtp", data[2:4] + data[8:12])]


class LinkWorld(World):
    """The server end."""

    def __init__(self, dtls: DtlsConfig) -> None:
        super().__init__(slots=1, dtls=dtls)
        self.numbers = Numbers()

    def poll_datagram(self) -> Datagram | None:
        datagram = super().poll_datagram()
        if datagram is not None:
            self.numbers.use(datagram.data)
        return datagram


class LinkClient(Client):
    """The client end. `said`: its words, so far; `nominated`: it has a path; `failed`: its ICE agent gave up."""

    def __init__(self, *arguments: object, **more: object) -> None:
        self.said: set[bytes] = set()
        self.numbers = Numbers()
        self.nominated = self.failed = self._wraps = False
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self.sequence = FIRST_SEQUENCE

    def talk(self) -> bytes:
        """Its numbers wrap soon after the server was heard. Before, no server could follow: SRTP's receiver begins with
        rollover counter 0 whatever it missed, which is why senders begin below 2^15 (RFC 3711 3.3.1)."""
        if self.heard and self.sequence < WRAPS_SOON and not self._wraps:
            self.sequence, self._wraps = WRAPS_SOON, True
        self.said.add(b"voice %d" % self.sequence)
        return super().talk()

    def poll_datagram(self) -> Datagram | None:
        while (event := self.agent.poll_event()) is not None:
            self.nominated |= isinstance(event, PairNominated)
            self.failed |= isinstance(event, Closed)
        datagram = super().poll_datagram()
        if datagram is not None:
            self.numbers.use(datagram.data)
        return datagram

    def on_dtls(self, event: object) -> None:
        assert not isinstance(event, ApplicationDataReceived), "data that nobody sent"
