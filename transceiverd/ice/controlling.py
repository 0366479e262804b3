"""A full ICE agent in the client's place: it checks, nominates, keeps consent, and answers checks (RFC 8445, 7675).

Used by the tests as the other end of a call and by the load generator as its client; sans-I/O like every engine. It
starts as the controlling agent, which the offerer towards a lite server always is (RFC 8445 6.1.1), but obeys a role
conflict, and works against full peers too.

Where a pair's key comes from is said in `pairs.py`. Leaves out: gathering (the caller adds pairs), freezing and
foundations (one component), ICE restart, TURN.

Nomination is regular: the best pair that succeeded is nominated once nothing better can come, or `nomination_wait_ms`
after the first success. With `aggressive` every check carries USE-CANDIDATE, as Firefox does, and the pair of highest
priority that succeeded counts.
"""

import os
from collections.abc import Callable

import msgspec

from shm.errors import MalformedPacket
from transceiverd.engine import MILLISECOND, Datagram, Drops, Timeout
from transceiverd.ice import checks, stun
from transceiverd.ice.events import Closed, ConsentExpired, PairNominated, PairValidated, RoleSwitched
from transceiverd.ice.pairs import (
    FAILED,
    IN_PROGRESS,
    SUCCEEDED,
    TYPE_PREFERENCE_HOST,
    TYPE_PREFERENCE_PEER_REFLEXIVE,
    WAITING,
    CandidatePair,
    Checklist,
    candidate_priority,
)
from transceiverd.ice.transactions import Purpose, Schedule, Transaction, Transactions

Event = PairValidated | PairNominated | RoleSwitched | ConsentExpired | Closed

CLOSED_FAILED = "ice-failed"
CLOSED_CONSENT = "consent-expired"

ANSWER_UNKNOWN = "answer-unknown-transaction"
ANSWER_WRONG_ADDRESS = "answer-wrong-address"
ANSWER_BAD_INTEGRITY = "answer-bad-integrity"
ANSWER_NO_ADDRESS = "answer-no-address"
ANSWER_ERROR = "answer-error"
INDICATION = "indication"
REQUEST_UNKNOWN_ATTRIBUTE = "check-unknown-attribute"
REQUEST_ROLE_CONFLICT = "check-role-conflict"

_NOBODY = Timeout(1 << 63, "nothing")


class ControllingConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Times and habits of a client."""

    pacing_ms: int = 50  # Ta, RFC 8445 14.2
    retransmit_ms: int = 500  # RTO, RFC 8445 14.3
    # RFC 8489 6.2.1 doubles the interval without end and stops after 7. Somebody waits for this call, so the interval
    # stops growing, as in browsers, and together with 20 transmissions a pair is tried for 30 s.
    retransmit_max_ms: int = 1_600
    transmissions: int = 20
    final_wait: int = 3  # first intervals that the last transmission is waited for; RFC 8489's Rm
    aggressive: bool = False
    nomination_wait_ms: int = 100  # how long a success waits for a better one; voice wants to start
    give_up_ms: int = 30_000  # without a nominated pair for so long the call has failed
    consent_interval_ms: int = 5_000  # RFC 7675 5.1; jittered by a fifth either way
    consent_expiry_ms: int = 30_000


class ControllingAgent:
    """ICE for one call, client side. Mutate, drain `poll_datagram` and `poll_event`, re-arm from `next_timeout`."""

    def __init__(
        self,
        local_ufrag: str,
        local_password: str,
        remote_ufrag: str,
        remote_password: str,
        config: ControllingConfig,
        *,
        now: int,
        controlling: bool = True,
        random_bytes: Callable[[int], bytes] = os.urandom,
        drops: Drops | None = None,
    ) -> None:
        """Checks start with the first pair and the next `handle_timeout`. `random_bytes` may be seeded in tests."""
        self._username = f"{remote_ufrag}:{local_ufrag}".encode()
        self._remote_key = remote_password.encode()
        self._ours = local_ufrag.encode() + b":"
        self._theirs = remote_ufrag.encode()
        self._local_key = local_password.encode()
        self._config = config
        self._random = random_bytes
        self._now = now
        self.controlling = controlling
        self._tie_breaker = int.from_bytes(random_bytes(8), "big")
        self._checklist = Checklist()
        self._transactions = Transactions()
        self._next_check = now  # pacing: no new check before
        self._nominate_at: int | None = None
        self._give_up_at: int | None = now + config.give_up_ms * MILLISECOND
        self._consent_due: int | None = None
        self._last_consent = now
        self._closed = False
        self._datagrams: list[Datagram] = []
        self._events: list[Event] = []
        self.drops = Drops() if drops is None else drops

    # ------------------------------------------------------------------ what the owner calls

    def add_pair(self, key: bytes, remote_priority: int, local_preference: int = 65535) -> bool:
        """A pair to check: `key` as `Datagram.destination`, the peer candidate's priority, ours by preference."""
        local = candidate_priority(TYPE_PREFERENCE_HOST, local_preference)
        return self._checklist.add(CandidatePair(key, local, remote_priority))

    def receive_datagram(self, data: bytes, source: bytes, now: int) -> None:
        """One STUN packet; `source` is the flow key of the pair it came over."""
        self._now = now = max(now, self._now)
        if self._closed:
            return
        try:
            message = stun.parse(data)
        except MalformedPacket as error:
            self.drops.malformed(error)
            return
        if message.message_class == stun.REQUEST:
            self._receive_request(message, source, now)
        elif message.message_class == stun.INDICATION:
            self.drops[INDICATION] += 1
        else:
            self._receive_answer(message, source, now)

    def handle_timeout(self, now: int) -> None:
        """Do all that is due at `now`; a late call sends one check, not a burst."""
        self._now = now = max(now, self._now)
        if self._closed:
            return
        self._retransmit(now)
        self._nominate(now)
        self._start_checks(now)
        self._keep_consent(now)
        if self._give_up_at is not None and self._give_up_at <= now:
            self.close(CLOSED_FAILED)

    def next_timeout(self) -> Timeout | None:
        """The next deadline, or `None` when closed."""
        if self._closed:
            return None
        due = _NOBODY
        for deadline, reason in (
            (self._next_check if self._checklist.any(WAITING) else None, "next-check"),
            (self._transactions.deadline(), "retransmission"),
            (self._nominate_at, "nomination"),
            (self._consent_due, "consent-check"),
            (self._consent_expiry(), "consent-expiry"),
            (self._give_up_at, "give-up"),
        ):
            if deadline is not None and deadline < due.deadline:
                due = Timeout(deadline, reason)
        return None if due is _NOBODY else due

    def poll_datagram(self) -> Datagram | None:
        """The next packet to send."""
        return self._datagrams.pop(0) if self._datagrams else None

    def poll_event(self) -> Event | None:
        """The next event."""
        return self._events.pop(0) if self._events else None

    def send_target(self, now: int) -> bytes | None:
        """Where to send: the nominated pair, else the best one that succeeded (RFC 8445 12.1)."""
        pair = self._nominated() or self._checklist.best(SUCCEEDED, self.controlling)
        return None if self._closed or pair is None else pair.key

    def close(self, reason: str) -> None:
        """Stop; nothing is sent or answered any more."""
        if not self._closed:
            self._closed = True
            self._events.append(Closed(reason))

    # ------------------------------------------------------------------ sending checks

    def _start_checks(self, now: int) -> None:
        if now < self._next_check:
            return
        pair = self._checklist.next(self.controlling)
        if pair is None:
            return
        pair.change(IN_PROGRESS)
        self._request(pair, "check", now)
        self._next_check = now + self._config.pacing_ms * MILLISECOND

    def _request(self, pair: CandidatePair, purpose: Purpose, now: int) -> None:
        """Send a new request over `pair`. A consent check is sent once; the next one is its repetition (RFC 7675)."""
        identity = self._random(stun.TRANSACTION_ID_SIZE)
        data = self._serialize_request(identity, pair, purpose)
        config = self._config
        if purpose == "consent":
            schedule = Schedule(config.consent_expiry_ms * MILLISECOND, 0, 1, 1)
        else:
            first, longest = config.retransmit_ms * MILLISECOND, config.retransmit_max_ms * MILLISECOND
            schedule = Schedule(first, longest, config.transmissions, config.final_wait)
        self._transactions.add(Transaction(identity, data, pair, purpose, self.controlling, schedule, now))
        self._datagrams.append(Datagram(data, pair.key))

    def _serialize_request(self, identity: bytes, pair: CandidatePair, purpose: Purpose) -> bytes:
        message = stun.Message(stun.REQUEST, identity)
        message.username = self._username
        message.priority = (TYPE_PREFERENCE_PEER_REFLEXIVE << 24) | (pair.local_priority & 0xFFFFFF)
        if self.controlling:
            message.controlling = self._tie_breaker
            message.use_candidate = self._config.aggressive or purpose == "nomination" or pair.nominated
        else:
            message.controlled = self._tie_breaker
        message.fingerprint = True
        return message.serialize(self._remote_key)

    def _retransmit(self, now: int) -> None:
        for transaction in self._transactions:
            if transaction.deadline > now:
                continue
            if transaction.advance(now):
                self._datagrams.append(Datagram(transaction.data, transaction.pair.key))
                continue
            self._transactions.remove(transaction)
            if transaction.purpose != "consent":
                self._fail(transaction.pair)

    def _fail(self, pair: CandidatePair) -> None:
        if pair.state in (IN_PROGRESS, SUCCEEDED):
            pair.change(FAILED)
        self._transactions.cancel(lambda transaction: transaction.pair is pair)
        if self._checklist.any(SUCCEEDED) and self._nominated() is None:
            self._nominate_at = self._now

    # ------------------------------------------------------------------ nomination and consent

    def _nominated(self) -> CandidatePair | None:
        return next((pair for pair in self._checklist if pair.nominated), None)

    def _nominate(self, now: int) -> None:
        """Regular nomination; aggressive and controlled agents come to it in `_succeeded`."""
        if self._nominate_at is None:
            return
        if not self.controlling or self._nominated() is not None:
            self._nominate_at = None
            return
        best = self._checklist.best(SUCCEEDED, True)
        if best is None:
            self._nominate_at = None
        elif now >= self._nominate_at or not self._better_can_come(best):
            self._nominate_at = None
            self._request(best, "nomination", now)

    def _better_can_come(self, best: CandidatePair) -> bool:
        return any(
            pair.state in (WAITING, IN_PROGRESS) and pair.priority(True) > best.priority(True)
            for pair in self._checklist
        )

    def _set_nominated(self, pair: CandidatePair, now: int) -> None:
        old = self._nominated()
        if old is pair:
            return
        if old is not None:
            if pair.priority(self.controlling) < old.priority(self.controlling):
                return
            old.nominated = False
        pair.nominated = True
        self._nominate_at = self._give_up_at = None
        self._last_consent = now
        self._schedule_consent(now)
        self._events.append(PairNominated(pair.key))

    def _schedule_consent(self, now: int) -> None:
        """RFC 7675 5.1: the interval times something between 0.8 and 1.2, so that agents do not march in step."""
        jitter = 800 + int.from_bytes(self._random(2), "big") * 400 // 65535
        self._consent_due = now + self._config.consent_interval_ms * MILLISECOND * jitter // 1000

    def _consent_expiry(self) -> int | None:
        if self._nominated() is None:
            return None
        return self._last_consent + self._config.consent_expiry_ms * MILLISECOND

    def _keep_consent(self, now: int) -> None:
        pair = self._nominated()
        if pair is None:
            return
        if self._last_consent + self._config.consent_expiry_ms * MILLISECOND <= now:
            self._events.append(ConsentExpired(self._last_consent))
            self.close(CLOSED_CONSENT)
        elif self._consent_due is not None and self._consent_due <= now:
            self._request(pair, "consent", now)
            self._schedule_consent(now)

    # ------------------------------------------------------------------ answers

    def _receive_answer(self, message: stun.Message, source: bytes, now: int) -> None:
        transaction = self._transactions.find(message.transaction_id)
        if transaction is None:
            self.drops[ANSWER_UNKNOWN] += 1
        elif not message.fingerprint or not message.verify(self._remote_key):
            # Unsigned errors too: whoever can guess a transaction could else end the call (RFC 8489 9.1.4).
            self.drops[ANSWER_BAD_INTEGRITY] += 1
        elif source != transaction.pair.key:
            self.drops[ANSWER_WRONG_ADDRESS] += 1
            self._transactions.remove(transaction)
            if transaction.purpose != "consent":
                self._fail(transaction.pair)  # RFC 8445 7.2.5.2.1: not symmetric
        elif message.message_class == stun.ERROR:
            self._transactions.remove(transaction)
            self._receive_error(message, transaction)
        elif message.xor_mapped_address is None:
            self.drops[ANSWER_NO_ADDRESS] += 1
        else:
            self._transactions.remove(transaction)
            self._succeeded(transaction, message.xor_mapped_address, now)

    def _receive_error(self, message: stun.Message, transaction: Transaction) -> None:
        self.drops[ANSWER_ERROR] += 1
        if message.error_code != checks.ROLE_CONFLICT:
            if transaction.purpose != "consent":
                self._fail(transaction.pair)
            return
        if self.controlling == transaction.controlling:
            self._switch_role(new_tie_breaker=True)
        if transaction.pair.state == IN_PROGRESS:
            transaction.pair.change(WAITING)
            self._checklist.trigger(transaction.pair)

    def _succeeded(self, transaction: Transaction, mapped: tuple[bytes, int], now: int) -> None:
        pair = transaction.pair
        if pair.state == IN_PROGRESS:
            pair.change(SUCCEEDED)
            self._events.append(PairValidated(pair.key, mapped))
            if self._nominate_at is None and self._nominated() is None:
                self._nominate_at = now + self._config.nomination_wait_ms * MILLISECOND
        if pair.nominated:
            self._last_consent = now
        elif self._is_nomination(transaction):
            self._set_nominated(pair, now)
        self._nominate(now)

    def _is_nomination(self, transaction: Transaction) -> bool:
        if not self.controlling:
            return transaction.pair.nominate
        return transaction.controlling and (transaction.purpose == "nomination" or self._config.aggressive)

    # ------------------------------------------------------------------ the peer's checks

    def _receive_request(self, message: stun.Message, source: bytes, now: int) -> None:
        if verdict := checks.authenticate(message, self._ours, self._theirs, self._local_key):
            self.drops[verdict] += 1
            return
        if unknown := message.unknown_required():
            self.drops[REQUEST_UNKNOWN_ATTRIBUTE] += 1
            answer = checks.signed_error(checks.UNKNOWN_ATTRIBUTE, message, self._local_key, unknown)
        elif self._conflict(message):
            self.drops[REQUEST_ROLE_CONFLICT] += 1
            answer = checks.signed_error(checks.ROLE_CONFLICT, message, self._local_key)
        else:
            key, sha256 = self._local_key, message.integrity_sha256 is not None
            answer = checks.success(message.transaction_id, source, key, sha256)
            self._triggered_check(message, source, now)
        self._datagrams.append(Datagram(answer, source))

    def _conflict(self, message: stun.Message) -> bool:
        """RFC 8445 7.3.1.1: returns True when the peer is to change its role, and changes ours when it is our turn."""
        theirs = message.controlling if self.controlling else message.controlled
        if theirs is None:
            return False
        keep = (self._tie_breaker >= theirs) == self.controlling
        if not keep:
            self._switch_role(new_tie_breaker=False)
        return keep

    def _switch_role(self, *, new_tie_breaker: bool) -> None:
        self.controlling = not self.controlling
        if new_tie_breaker:
            self._tie_breaker = int.from_bytes(self._random(8), "big")
        if self.controlling and self._checklist.any(SUCCEEDED):
            self._nominate_at = self._now
        self._events.append(RoleSwitched(self.controlling))

    def _triggered_check(self, message: stun.Message, source: bytes, now: int) -> None:
        """RFC 8445 7.3.1.4 and 7.3.1.5: check back, and take the peer's nomination while we are controlled."""
        pair = self._checklist.find(source)
        if pair is None:
            pair = CandidatePair(source, candidate_priority(TYPE_PREFERENCE_HOST), message.priority or 0)
            if not self._checklist.add(pair):
                return
        if not self.controlling and message.use_candidate:
            pair.nominate = True
            if pair.state == SUCCEEDED:
                self._set_nominated(pair, now)
        if pair.state == FAILED:
            pair.change(WAITING)
        if pair.state == WAITING:
            self._checklist.trigger(pair)
