"""The ICE agent of one call: lite, controlled, sans-I/O (DESIGN 2.12).

It answers the peer's checks, keeps the call's addresses and its consent, and says where to send; it never sends a
check. Created and drained by the session, which feeds it STUN packets only and turns its events into flow publishes
and withdrawals. `source` is always a packed flow key (`shm/flowkey.py`): the client's address and ours.

Implements RFC 8445 as a lite agent (2.5, 7.3, 8.2), RFC 7675 from the answering side, RFC 8489 9.1.3; rules for
strangers, budgets and proven addresses from DESIGN 2.4. Leaves out: ICE restart (the session makes a new agent),
candidates (`transceiverd/sdp`), and the deadline for DTLS, which is the session's: it counts from `checked_since`.

What comes of a packet, first match wins:

    not parsable                              drop "stun-..."
    not a request, no FINGERPRINT, not our whole ufrag
                                              drop; such a sender is a stranger
    other peer's ufrag, wrong or no integrity drop, and one 401/400 in `error_interval_ms`; no state changes
    unknown comprehension-required attribute  420; no state changes
    ICE-CONTROLLED                            487; no state changes
    a copy of another address's check         drop
    no place for one more address             drop
    else                                      success, published; state changes
"""

from collections.abc import Iterable

from shm.errors import MalformedPacket
from transceiverd.engine import MILLISECOND, Datagram, Drops, Timeout
from transceiverd.ice import checks, stun
from transceiverd.ice.addresses import Address, AddressBook, AddressSink
from transceiverd.ice.config import IceConfig
from transceiverd.ice.consent import CLOSED, WAITING, Consent
from transceiverd.ice.error_budget import ErrorBudget
from transceiverd.ice.events import (
    AddressChecked,
    AddressDropped,
    AddressNominated,
    Closed,
    ConsentExpired,
    ConsentRegained,
    NeverChecked,
)

__all__ = [
    "DROP_REASONS",
    "AddressChecked",
    "AddressDropped",
    "AddressNominated",
    "Closed",
    "ConsentExpired",
    "ConsentRegained",
    "Event",
    "LiteAgent",
    "NeverChecked",
]

Event = AddressChecked | AddressNominated | AddressDropped | ConsentExpired | ConsentRegained | NeverChecked | Closed

UNKNOWN_ATTRIBUTE = "check-unknown-attribute"
ROLE_CONFLICT = "check-role-conflict"
REPLAYED = "check-replayed"
NO_ROOM = "check-no-room"
EVICTED = "check-evicted-address"  # beside the outcomes: an address had to go for a newer one
WITHHELD = "check-error-withheld"  # beside the outcomes: an error answer over the bound of all calls
AFTER_CLOSE = "check-after-close"

# Every label that a lite agent counts a drop under.
DROP_REASONS = (
    *stun.REASONS,
    checks.NOT_REQUEST,
    checks.NO_FINGERPRINT,
    checks.NOT_OURS,
    checks.WRONG_PEER,
    checks.NO_INTEGRITY,
    checks.BAD_INTEGRITY,
    UNKNOWN_ATTRIBUTE,
    ROLE_CONFLICT,
    REPLAYED,
    NO_ROOM,
    EVICTED,
    WITHHELD,
    AFTER_CLOSE,
)


class LiteAgent:
    """ICE for one call. Mutate, drain `poll_datagram` and `poll_event`, re-arm from `next_timeout`."""

    __slots__ = (
        "_config",
        "_consent",
        "_datagrams",
        "_error_due",
        "_errors",
        "_established",
        "_events",
        "_key",
        "_now",
        "_ours",
        "_theirs",
        "addresses",
        "drops",
    )

    def __init__(
        self,
        local_ufrag: str,
        local_password: str,
        remote_ufrag: str | None,
        config: IceConfig,
        *,
        now: int,
        sink: AddressSink | None = None,
        drops: Drops | None = None,
        errors: ErrorBudget | None = None,
    ) -> None:
        """`now` is the time of the answer. `drops` and `errors` may be shared by all calls of a process."""
        self._ours = local_ufrag.encode() + b":"
        self._theirs = None if remote_ufrag is None else remote_ufrag.encode()
        self._key = local_password.encode()
        self._config = config
        self._consent = Consent(config, now)
        self._now = now
        self._error_due = now
        self._established = False
        self._datagrams: list[Datagram] = []  # lists, not deques: an empty deque takes 600 bytes, and 10,000 calls idle
        self._events: list[Event] = []
        self.addresses = AddressBook(self._consent.interval, config.nomination_quiet_ms * MILLISECOND, sink)
        self.addresses.places_max = config.addresses_max
        self.drops = Drops() if drops is None else drops
        self._errors = ErrorBudget(config.errors_per_second) if errors is None else errors

    @property
    def local_ufrag(self) -> str:
        """Ours: it names the call's origin and key."""
        return self._ours[:-1].decode()

    @property
    def state(self) -> str:
        """waiting, live, silent or closed; see `consent.py`."""
        return self._consent.state

    @property
    def consent(self) -> Consent:
        """For who answers consent checks in our place (`transceiverd/consent_lane.pyx`)."""
        return self._consent

    @property
    def credentials(self) -> tuple[bytes, bytes] | None:
        """USERNAME of the peer's checks and the key of their integrity; None while the peer's ufrag is not known."""
        return None if self._theirs is None else (self._ours + self._theirs, self._key)

    @property
    def checked_since(self) -> int | None:
        """When the first check was accepted, ns."""
        return self._consent.checked_since

    @property
    def last_check(self) -> int | None:
        """When the last check was accepted, ns."""
        return self._consent.last_check

    def restore(
        self, last_check: int, checked_since: int, established: bool, addresses: Iterable[tuple[int, Address]]
    ) -> None:
        """Go on from a session record; only on a new agent. `addresses` with their places."""
        assert self._consent.state == WAITING
        self._consent.check(checked_since)
        self._consent.check(last_check)
        self._established = established
        for place, address in addresses:
            self.addresses.restore(place, address)

    def handshake_completed(self) -> None:
        """DTLS is done: from now on only proven addresses are sent to."""
        self._established = True

    def close(self, reason: str) -> None:
        """The call is over for a reason from outside (hang-up, close_notify); nothing is answered any more."""
        if self._consent.state != CLOSED:
            self._consent.close()
            self._events.append(Closed(reason))

    def receive_datagram(self, data: bytes, source: bytes, now: int) -> None:
        """One STUN packet from flow key `source`."""
        self._now = now = max(now, self._now)
        if self._consent.state == CLOSED:
            self.drops[AFTER_CLOSE] += 1
            return
        try:
            message = stun.parse(data)
        except MalformedPacket as error:
            self.drops.malformed(error)
            return
        verdict = checks.authenticate(message, self._ours, self._theirs, self._key)
        if verdict is not None:
            self._refuse(verdict, message, len(data), source, now)
        elif message.others and (unknown := message.unknown_required()):
            self.drops[UNKNOWN_ATTRIBUTE] += 1
            answer = checks.signed_error(checks.UNKNOWN_ATTRIBUTE, message, self._key, unknown)
            self._answer_error(answer, len(data), source)
        elif message.controlled is not None:
            self.drops[ROLE_CONFLICT] += 1
            self._answer_error(checks.signed_error(checks.ROLE_CONFLICT, message, self._key), len(data), source)
        elif self.addresses.replayed(source, message.transaction_id):
            self.drops[REPLAYED] += 1
        else:
            self._accept(message, len(data), source, now)

    def next_timeout(self) -> Timeout | None:
        """The next deadline, or `None` when the call is closed."""
        deadline = self._consent.deadline()
        expiry = self.addresses.expiry()
        if deadline is not None and expiry is not None and expiry < deadline.deadline:
            return Timeout(expiry, "address-expiry")
        return deadline

    def handle_timeout(self, now: int) -> None:
        """Do all that is due at `now`."""
        self._now = now = max(now, self._now)
        if self._consent.state == CLOSED:
            return
        for address in self.addresses.expire(now):
            self._events.append(AddressDropped(address.key, "expired"))
        self._events.extend(self._consent.expire(now))

    def poll_datagram(self) -> Datagram | None:
        """The next answer to send."""
        return self._datagrams.pop(0) if self._datagrams else None

    def poll_event(self) -> Event | None:
        """The next event."""
        return self._events.pop(0) if self._events else None

    def send_target(self, now: int) -> bytes | None:
        """The flow key to send DTLS (and media) to, or `None`; see `AddressBook.send_target`."""
        if not self._consent.may_send(now):
            return None
        return self.addresses.send_target(now, self._established)

    def may_hear(self, key: bytes) -> bool:
        """Whether DTLS or RTP from `key` is this call's: an accepted check came from there (FACTS 1)."""
        return self._consent.state != CLOSED and self.addresses.find(key) is not None

    def hear(self, key: bytes, size: int) -> bool:
        """As `may_hear`, of a datagram other than a check that has come: it is booked."""
        return self._consent.state != CLOSED and self.addresses.account_received(key, size)

    # Shorthands, so that the session deals with one object; see AddressBook.

    def may_send(self, key: bytes, size: int) -> bool:
        """Whether `key` has earned `size` more bytes."""
        return self.addresses.may_send(key, size)

    def account_sent(self, key: bytes, size: int) -> None:
        """Book a datagram that is sent to `key`, answers to checks excepted: those are booked here."""
        self.addresses.account_sent(key, size)

    def _accept(self, message: stun.Message, size: int, source: bytes, now: int) -> None:
        admission = self.addresses.check(source, message.transaction_id, size, now)
        address = admission.address
        if address is None:
            self.drops[NO_ROOM] += 1
            return
        if admission.evicted is not None:
            self.drops[EVICTED] += 1
            self._events.append(AddressDropped(admission.evicted.key, "evicted"))
        if self._consent.check(now):
            self._events.append(ConsentRegained(source))
        if admission.new:
            self._events.append(AddressChecked(source))
        # A check without PRIORITY breaks RFC 8445 7.1.1; it is the peer's loss that it ranks last.
        if message.use_candidate and self.addresses.nominate(address, message.priority or 0, now):
            self._events.append(AddressNominated(source))
        answer = checks.success(message.transaction_id, source, self._key, message.integrity_sha256 is not None)
        self.addresses.account_sent(source, len(answer))
        self._datagrams.append(Datagram(answer, source, True))

    def _refuse(self, verdict: str, message: stun.Message, size: int, source: bytes, now: int) -> None:
        """Count it; and answer, seldom, who at least knows the call's ufrag."""
        self.drops[verdict] += 1
        code = checks.ERROR_OF.get(verdict)
        if code is None or now < self._error_due:
            return
        self._error_due = now + self._config.error_interval_ms * MILLISECOND
        self._answer_error(checks.bare_error(code, message.transaction_id), size, source)

    def _answer_error(self, answer: bytes, size: int, source: bytes) -> None:
        """Never larger than what it answers: whoever forged `source` must gain nothing."""
        if not self._errors.take(self._now):
            self.drops[WITHHELD] += 1
        elif len(answer) <= size:
            self._datagrams.append(Datagram(answer, source))
