"""How many calls may be set up a second, on the whole and for each client address; who is over is told when to come.

Asked by `CallService` before any work is done for an offer. A token bucket; what makes it a pace and not a wall is
`Retry-After`: each refused caller gets the first second to come that is not yet promised to as many others as one
second serves, so that a thousand that redial at once come back spread out and not all together again.

Goals: constant work for each request, bounded memory whatever addresses come. Time is seconds of any monotonic clock.
"""

from collections import OrderedDict

from transceiverd.signalling.router import LimitReached

WAIT_SECONDS_MAX = 30  # no promise lies further ahead; by then nobody waits any more
# Addresses remembered, the ones asked for longest ago forgotten first. Who has more networks than these at hand gets
# past the bound for one address, not past the one for all.
ADDRESSES_MAX = 4096


class Pace:
    """One bucket."""

    __slots__ = ("_at", "_burst", "_level", "_promised", "_rate")

    def __init__(self, rate: float, burst: int) -> None:
        """`rate`: set-ups a second; `burst`: how many may come at once after a pause."""
        self._rate = rate
        self._burst = burst
        self._level = float(burst)
        self._at = 0.0
        self._promised: dict[int, int] = {}  # second -> callers told to come then

    def configure(self, rate: float, burst: int) -> None:
        """Other bounds from now on; what was promised stays promised."""
        self._rate = rate
        self._burst = burst
        self._level = min(self._level, burst)

    def take(self, now: float) -> int:
        """0: go on; else the seconds after which to ask again."""
        if self._refilled(now) >= 1:
            self._level -= 1
            return 0
        return self._promise(int(now))

    def untake(self) -> None:
        """What was taken was not used."""
        self._level = min(self._burst, self._level + 1)

    def _refilled(self, now: float) -> float:
        if now > self._at:
            self._level = min(self._burst, self._level + (now - self._at) * self._rate)
            self._at = now
        return self._level

    def _promise(self, second: int) -> int:
        for past in [at for at in self._promised if at <= second]:
            del self._promised[past]
        for wait in range(1, WAIT_SECONDS_MAX):
            if self._promised.get(second + wait, 0) < max(1, int(self._rate)):
                self._promised[second + wait] = self._promised.get(second + wait, 0) + 1
                return wait
        return WAIT_SECONDS_MAX


class SetupPaces:
    """Both bounds together."""

    def __init__(self, rate: float, burst: int, address_rate: float, address_burst: int) -> None:
        self._all = Pace(rate, burst)
        self._addresses = AddressPaces(address_rate, address_burst)

    def configure(self, rate: float, burst: int, address_rate: float, address_burst: int) -> None:
        """Other bounds from now on, for addresses that were seen too."""
        self._all.configure(rate, burst)
        self._addresses.configure(address_rate, address_burst)

    def admit(self, address: str, now: float) -> None:
        """Book one set-up. An empty address is not bounded by itself. Raises LimitReached."""
        if address and (wait := self._addresses.take(address, now)):
            raise LimitReached("too_many_setups_from_address", "calls from your address come too fast", wait)
        if wait := self._all.take(now):
            raise LimitReached("too_many_setups", "more calls are being set up than this server does at a time", wait)

    def refund(self) -> None:
        """It was no call: others need not wait for it. Its address stays charged."""
        self._all.untake()


class AddressPaces:
    """A bucket for each of the addresses seen last."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._paces: OrderedDict[str, Pace] = OrderedDict()

    def __len__(self) -> int:
        return len(self._paces)

    def configure(self, rate: float, burst: int) -> None:
        """For every address."""
        self._rate = rate
        self._burst = burst
        for pace in self._paces.values():
            pace.configure(rate, burst)

    def take(self, address: str, now: float) -> int:
        """As `Pace.take`."""
        pace = self._paces.pop(address, None) or Pace(self._rate, self._burst)
        self._paces[address] = pace
        if len(self._paces) > ADDRESSES_MAX:
            self._paces.popitem(last=False)
        return pace.take(now)
