"""The addresses of one call and what each has earned (DESIGN 2.4; FACTS 1, STUN).

An address is a packed flow key: where the client is and which of our addresses it wrote to. It is *checked* when a
Binding request from it passed, may be *nominated*, and is *proven* when a fresh DTLS or SRTP packet under the call's
keys came from it. Owned by the lite agent; the session marks proven addresses and asks where to send. Every change is
mirrored into an `AddressSink`, in the product the call's record in shared memory.

Eviction. A call has four places (`RINGLINE_ADDRESSES`). When a fifth address passes a check, one that is neither
nominated nor proven gives way: first those from which nothing but checks was heard, and of these the one whose last
check is oldest. So a client that probes ten pairs at once always gets its newest probe answered, the pair on which it
has started DTLS is the last to go, and whoever holds only a recorded check can displace no address that the call
lives on. If all four are nominated or proven the newcomer gets nothing, not even an answer: the peer then sees that
pair fail and uses another. A place is free again when its address was not checked for the consent time.

Nomination. The later nomination of higher or equal priority wins (RFC 8445 8.1.1 as FACTS 1 puts it). That rule is for
a burst of checks which all nominate; a client that changes networks nominates a *lower* one later, and it is right:
so the rule ends when the nominated address was not nominated again for `nomination_quiet_ms`. Checks without
USE-CANDIDATE do not prolong it: a browser goes on checking the path that it left, whose way to it may be broken.
And a client may send from its new address seconds before it nominates it, or, behind a NAT, without knowing of it: an
established call's datagrams follow the records that authenticate (`transceiverd/media/addresses.pyx` has the same).

Not here: transaction state, timers, flows.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from transceiverd.engine import MILLISECOND
from transceiverd.ice.stun import TRANSACTION_ID_SIZE

ADDRESSES_MAX = 4  # places in the session record, RINGLINE_ADDRESSES in shm/layout.h
AMPLIFICATION = 3  # bytes to an unproven address for each byte from it (DESIGN 2.4; RFC 9000 8.1 has the same)
LEFT_AFTER = 250 * MILLISECOND  # as in media/addresses.pyx, whose reason for the value holds here too
# Transaction ids remembered an address, 12 bytes each. A checking browser sends at most some 20 checks a second, so
# this covers the moments in which a recorded check could still pass for news.
RECENT_CHECKS = 16

CHECKED = 1  # RINGLINE_ADDRESS_CHECKED
PROVEN = 2  # RINGLINE_ADDRESS_PROVEN


class Address:
    """One place of the book; the fields of `struct session_address`, and what only control needs."""

    __slots__ = (
        "asked_ns",
        "authentic_ns",
        "bytes_received",
        "bytes_sent",
        "checked_ns",
        "dtls_proven",
        "heard",
        "id",
        "key",
        "nominated",
        "priority",
        "proven",
        "recent",
        "srtp_proven",
    )

    def __init__(self, key: bytes, identity: int, now: int) -> None:
        self.key = key
        self.id = identity  # never used again within the call
        self.checked_ns = now
        self.asked_ns = now  # a check last nominated it
        self.priority = 0  # of that check
        self.authentic_ns = 0  # a DTLS record under the call's keys came from here, or it was nominated anew
        self.nominated = False
        self.proven = False  # a packet under the call's keys came from here: by one of these two
        self.dtls_proven = False
        self.srtp_proven = False
        self.heard = False  # something other than a check came from it
        self.bytes_received = 0  # counted until it is proven
        self.bytes_sent = 0
        self.recent = b""  # transaction ids of its last checks, newest first


class AddressSink(Protocol):
    """Where the book is mirrored to. Called after each change of a place."""

    def update(self, index: int, address: Address | None) -> None:
        """Place `index` now holds `address`, or nothing. The object stays the book's: copy from it."""


class Admission(NamedTuple):
    """The place given to a checked address; what had to go for it."""

    address: Address | None
    evicted: Address | None
    new: bool


class AddressBook:
    """At most `ADDRESSES_MAX` addresses. Look-ups are linear: four comparisons beat a hash."""

    __slots__ = ("_consent", "_next_id", "_nomination_quiet", "_places", "_sink", "places_max")

    def __init__(self, consent: int, nomination_quiet: int, sink: AddressSink | None = None) -> None:
        """`consent`, `nomination_quiet`: how long one check makes an address usable, and nominated for sure, ns."""
        self._consent = consent
        self._nomination_quiet = nomination_quiet
        self._sink = sink
        self._places: list[Address | None] = [None] * ADDRESSES_MAX
        self.places_max = ADDRESSES_MAX  # may be set lower before the first check
        self._next_id = 1

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Address]:
        return (address for address in self._places if address is not None)

    @property
    def places(self) -> list[Address | None]:
        """The places themselves, for who answers consent checks in our place."""
        return self._places

    def restore(self, index: int, address: Address) -> None:
        """Put back an address read from a session record; the sink is not told."""
        self._places[index] = address
        self._next_id = max(self._next_id, address.id + 1)

    def find(self, key: bytes) -> Address | None:
        """The address with this key."""
        for address in self._places:
            if address is not None and address.key == key:
                return address
        return None

    def state(self, key: bytes) -> int:
        """CHECKED, PROVEN, or 0: what a publish record says of this address."""
        address = self.find(key)
        if address is None:
            return 0
        return PROVEN if address.proven else CHECKED

    def replayed(self, key: bytes, transaction_id: bytes) -> bool:
        """Whether a check with this transaction id came from another address lately.

        A client never sends one transaction from two addresses, so the second is somebody else's copy.
        """
        for address in self._places:
            if address is not None and transaction_id in address.recent and address.key != key:
                return True
        return False

    def check(self, key: bytes, transaction_id: bytes, size: int, now: int) -> Admission:
        """Book a valid check of `size` bytes from `key`, making room if the rules give any."""
        address = self.find(key)
        evicted = None
        new = address is None
        if address is None:
            index, evicted = self._room()
            if index is None:
                return Admission(None, None, new=False)
            address = Address(key, self._next_id, now)
            self._next_id += 1
            self._places[index] = address
        address.checked_ns = max(address.checked_ns, now)
        if transaction_id not in address.recent:
            address.recent = (transaction_id + address.recent)[: RECENT_CHECKS * TRANSACTION_ID_SIZE]
        if not address.proven:
            address.bytes_received += size
        self._changed(address)
        return Admission(address, evicted, new)

    def nominate(self, address: Address, priority: int, now: int) -> bool:
        """The peer asks for this address; returns whether the nominated address is another one now."""
        old = self.nominated()
        if old is not None and old is not address:
            fresh = now - old.asked_ns < self._nomination_quiet
            if fresh and priority < old.priority:
                return False
            old.nominated = False
            self._changed(old)
        address.nominated = True
        address.asked_ns = now
        address.priority = priority
        if old is not address:
            address.authentic_ns = now
            self._changed(address)
        return old is not address

    def nominated(self) -> Address | None:
        """The nominated address."""
        for address in self._places:
            if address is not None and address.nominated:
                return address
        return None

    def mark_proven(self, key: bytes, by: Literal["dtls", "srtp"], now: int = 0) -> bool:
        """A fresh packet under the call's keys came from `key`; returns whether that proved it for the first time.

        `now`: of a DTLS record, which each is told of.
        """
        address = self.find(key)
        if address is None:
            return False
        address.authentic_ns = max(address.authentic_ns, now)
        first = not address.proven
        if not (address.dtls_proven if by == "dtls" else address.srtp_proven):
            address.proven = True
            if by == "dtls":
                address.dtls_proven = True
            else:
                address.srtp_proven = True
            self._changed(address)
        return first

    def account_received(self, key: bytes, size: int) -> bool:
        """A datagram other than a check came from `key`: it is heard, and may be sent three times as much. False when
        the address is not known."""
        address = self.find(key)
        if address is None:
            return False
        address.heard = True
        if not address.proven:
            address.bytes_received += size
            self._changed(address)
        return True

    def may_send(self, key: bytes, size: int) -> bool:
        """Whether `size` more bytes to `key` stay within what it earned."""
        address = self.find(key)
        if address is None:
            return False
        return address.proven or address.bytes_sent + size <= AMPLIFICATION * address.bytes_received

    def account_sent(self, key: bytes, size: int) -> None:
        """Book bytes that go to `key`; of interest only until it is proven."""
        address = self.find(key)
        if address is not None and not address.proven:
            address.bytes_sent += size
            self._changed(address)

    def send_target(self, now: int, established: bool) -> bytes | None:
        """Where to send (FACTS 1): before the handshake is done the nominated address, else the one checked last;
        after it only proven addresses, the nominated one first unless the client has left it, else the one checked
        last. Never one whose last check is older than the consent time.
        """
        usable = [
            address
            for address in self
            if now - address.checked_ns < self._consent and (address.proven or not established)
        ]
        if not usable:
            return None
        nominated = next((address for address in usable if address.nominated), None)
        if nominated is None:
            return max(usable, key=lambda address: address.checked_ns).key
        heard = max(usable, key=lambda address: address.authentic_ns)
        return (heard if heard.authentic_ns >= nominated.authentic_ns + LEFT_AFTER else nominated).key

    def expiry(self) -> int | None:
        """When the next address falls out of use, ns. The one checked last never does: the call's consent covers it."""
        oldest, others = None, False
        for address in self._places:
            if address is not None:
                others = oldest is not None
                oldest = address.checked_ns if oldest is None else min(oldest, address.checked_ns)
        return oldest + self._consent if oldest is not None and others else None

    def expire(self, now: int) -> list[Address]:
        """Take out the addresses that were not checked for the consent time, except the one checked last."""
        gone = []
        while (due := self.expiry()) is not None and due <= now:
            index = min(
                (index for index, address in enumerate(self._places) if address is not None),
                key=lambda index: self._places[index].checked_ns,  # type: ignore[union-attr]
            )
            gone.append(self._places[index])
            self._clear(index)
        return [address for address in gone if address is not None]

    def _room(self) -> tuple[int | None, Address | None]:
        for index, address in enumerate(self._places[: self.places_max]):
            if address is None:
                return index, None
        victims = [address for address in self if not address.nominated and not address.proven]
        if not victims:
            return None, None
        victim = min(victims, key=lambda address: (address.heard, address.checked_ns, address.id))
        index = self._places.index(victim)
        self._clear(index)
        return index, victim

    def _clear(self, index: int) -> None:
        self._places[index] = None
        if self._sink is not None:
            self._sink.update(index, None)

    def _changed(self, address: Address) -> None:
        if self._sink is not None:
            self._sink.update(self._places.index(address), address)
