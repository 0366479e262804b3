"""How many calls there are: on this machine, for each client address, for each token (DESIGN 2.9).

Kept by the router, from whom it learns of every call's beginning and end; bounded by the calls themselves. A place is
reserved before the first await of a set-up, so two requests never see the same last place free; it becomes the call's
in the very moment its transceiver's reply is read, so an end that follows at once finds it.

The transceivers are the truth: after a signalling process's death its successor asks them for their calls, and
`restore`s what it hears.
"""

from collections import Counter
from typing import NamedTuple

from transceiverd import callid
from transceiverd.signalling.router import LimitReached

# Calls last minutes: asking sooner would only be asking more.
RETRY_SECONDS = 5


class CallLimits(NamedTuple):
    """0: no bound."""

    machine: int = 0
    address: int = 0
    token: int = 0


class Reservation:
    """One call's place, from before it is made until after it ended."""

    __slots__ = ("_ledger", "address", "call_id", "open", "owner")

    def __init__(self, ledger: "CallLedger", address: str, owner: str) -> None:
        self._ledger = ledger
        self.address = address
        self.owner = owner
        self.call_id = ""
        self.open = True

    def bind(self, call_id: str) -> None:
        """The call was made: the place is free when it ends."""
        self.call_id = call_id
        self._ledger.calls[call_id] = self

    def release(self) -> None:
        """The call was not made, or is over. Twice is harmless."""
        if self.open:
            self.open = False
            self._ledger.leave(self)


class CallLedger:
    """The books."""

    def __init__(self, limits: CallLimits) -> None:
        self.calls: dict[str, Reservation] = {}
        """Live calls by id."""
        self.limits = limits
        self._total = 0
        self._addresses: Counter[str] = Counter()
        self._owners: Counter[str] = Counter()

    def __len__(self) -> int:
        """Calls and reservations."""
        return self._total

    def reserve(self, address: str, owner: str) -> Reservation:
        """A place for one more call. Empty names are not counted by name. Raises LimitReached."""
        limits = self.limits
        if limits.machine and self._total >= limits.machine:
            raise LimitReached("too_many_calls", "this server has as many calls as it may", RETRY_SECONDS)
        if limits.address and address and self._addresses[address] >= limits.address:
            raise LimitReached(
                "too_many_calls_from_address", f"{limits.address} calls come from your address already", RETRY_SECONDS
            )
        if limits.token and owner and self._owners[owner] >= limits.token:
            raise LimitReached(
                "too_many_calls_for_token", f"{limits.token} calls use this token already", RETRY_SECONDS
            )
        return self._enter(address, owner)

    def restore(self, call_id: str, address: str, owner: str) -> None:
        """A call that lives already: counted, even beyond a bound."""
        if call_id not in self.calls:
            self._enter(address, owner).bind(call_id)

    def ended(self, call_id: str) -> None:
        """A call is over."""
        place = self.calls.pop(call_id, None)
        if place is not None:
            place.release()

    def transceiver_gone(self, transceiver: int) -> None:
        """All its calls are over."""
        for call_id in list(self.calls):
            route = callid.route(call_id)
            if route is not None and route.transceiver == transceiver:
                self.ended(call_id)

    def leave(self, place: Reservation) -> None:
        """Only for `Reservation`."""
        self._total -= 1
        for counter, name in ((self._addresses, place.address), (self._owners, place.owner)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]

    def _enter(self, address: str, owner: str) -> Reservation:
        self._total += 1
        self._addresses[address] += 1
        self._owners[owner] += 1
        return Reservation(self, address, owner)
