# cython: language_level=3, boundscheck=False, wraparound=False
"""Reads the handshake ring of a lane and answers the consent checks of established calls on the spot.

Owned by `lanes.py`, on the control thread. A check is answered here when nothing about it is news: the call lives and
has consent, the address is proven, nobody else used the transaction, the nomination stays where it is, and the check
verifies (`ice/consent_check.pyx`). Then consent and the address's time go forward and the answer is in the control ring,
as the same publish-and-send record that the agent's would be (DESIGN 2.3), for a twentieth of its time. Everything else
becomes a `Record` and takes the way through the agent; so do further checks of a call while one of it waits for the
agent, because a nomination must not be overtaken.

The times and the nomination are the agent's own (`Consent`, `Address`): there is no second copy to keep in step. The
call's timer is left alone: when it comes up early, it finds that nothing is due and is set again.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from shm.atomics cimport store_relaxed_u64
from shm.layout cimport (
    RINGLINE_ADDRESS_PROVEN,
    RINGLINE_RECORD_PUBLISH_AND_SEND,
    RINGLINE_RECORD_STUN,
    flow_key,
    record,
)
from shm.ring cimport ring, ring_abort, ring_claim, ring_commit, ring_next, ring_shrink, ring_take, record_payload
from shm.session cimport SessionRecord
from transceiverd.ice.consent_check cimport (
    ANSWER_BYTES_MAX,
    CHECK_BYTES_MAX,
    consent_check,
    consent_check_answer,
    consent_check_read,
)

import logging

from shm.ring import NO_FLOW
from transceiverd.ice.addresses import RECENT_CHECKS
from transceiverd.ice.consent import LIVE

cdef extern from "<string.h>" nogil:  # a GNU extension; Python's own header asks for those
    void *memmem(const void *where, size_t where_size, const void *what, size_t what_size)

cdef enum:
    BATCH_MAX = 256             # records a read
    TRANSACTION_ID_SIZE = 12

log = logging.getLogger("transceiver")

cdef uint32_t no_flow = NO_FLOW
cdef Py_ssize_t recent_bytes = RECENT_CHECKS * TRANSACTION_ID_SIZE
cdef object live = LIVE

cdef struct taken_record:
    record *header
    uint8_t *payload
    uint32_t size


cdef class ConsentSubject:
    """What the reader knows of one call."""

    cdef SessionRecord store
    cdef object consent     # ice.consent.Consent
    cdef list places        # of Address or None; the address book's own
    cdef bytes username
    cdef bytes key
    cdef uint32_t slot
    cdef uint16_t generation
    cdef uint64_t incarnation
    cdef uint64_t origin
    cdef public int waiting

    def __init__(self, owner, SessionRecord store not None, agent):
        self.store = store
        self.consent = agent.consent
        self.places = agent.addresses.places
        self.username, self.key = agent.credentials
        self.slot = owner.slot
        self.generation = owner.generation
        self.incarnation = owner.incarnation
        self.origin = owner.origin
        self.waiting = 0


cdef class ConsentReader:
    """The consumer of one lane's handshake ring; its answers go into `outgoing`, unpublished."""

    cdef object consumer
    cdef object producer
    cdef ring *incoming
    cdef ring *outgoing
    cdef uint16_t worker
    cdef readonly int taken
    cdef readonly int answered

    def __init__(self, consumer, producer, uint16_t worker):
        self.consumer = consumer
        self.producer = producer
        self.incoming = <ring *><size_t>consumer.handle
        self.outgoing = <ring *><size_t>producer.handle
        self.worker = worker

    def read(self, int most, uint64_t now, dict calls not None):
        """See consent_lane.pyi."""
        cdef taken_record[BATCH_MAX] batch
        cdef int i
        cdef list records = []
        self.taken = self.answered = 0
        while self.taken < most and self.taken < BATCH_MAX:
            batch[self.taken].header = ring_next(self.incoming)
            if batch[self.taken].header == NULL:
                break
            batch[self.taken].payload = self.incoming.payload
            batch[self.taken].size = self.incoming.payload_size
            self.taken += 1
        if self.incoming.at_most_once:
            ring_take(self.incoming)
        for i in range(self.taken):
            if batch[i].header.type == RINGLINE_RECORD_STUN and self._answered(&batch[i], now, calls):
                self.answered += 1
            else:
                records.append(
                    self.consumer.copy(<size_t>batch[i].header, <size_t>batch[i].payload, batch[i].size)
                )
        return records

    cdef bint _answered(self, taken_record *taken, uint64_t now, dict calls) noexcept:
        """A fault of ours here is none yet: the table contains what the agent makes of the check (calls.py)."""
        try:
            return self._try(taken, now, calls)
        except Exception:
            log.exception("a consent check could not be answered in the lane")
            return False

    cdef bint _try(self, taken_record *taken, uint64_t now, dict calls) except -1:
        """Whether it was answered. If not, and it is a call's, the call waits for the agent."""
        cdef record header = taken.header[0]
        cdef ConsentSubject subject
        call = calls.get(header.slot)
        if call is None or call.subject is None or call.closing:
            return False
        subject = call.subject
        if header.generation != subject.generation or header.incarnation != subject.incarnation:
            return False
        subject.waiting += 1  # first: calls.py takes it off again whatever goes wrong here
        if subject.waiting == 1 and header.worker == self.worker and self._answer(subject, &header, taken, now):
            subject.waiting = 0
            if call.worker != self.worker:
                call.worker = self.worker
            return True
        return False

    cdef bint _answer(self, ConsentSubject subject, record *header, taken_record *taken, uint64_t now) except -1:
        cdef uint8_t[CHECK_BYTES_MAX] data
        cdef uint32_t size = taken.size
        cdef consent_check check
        cdef int place = place_of(subject, &header.key)
        if place < 0 or size > CHECK_BYTES_MAX or subject.consent.state is not live or now < subject.consent.last_check:
            return False
        address = subject.places[place]
        if not (address.dtls_proven or address.srtp_proven):
            return False
        memcpy(data, taken.payload, size)  # what is judged can be changed by nobody meanwhile
        if not consent_check_read(
            &check, data, size, subject.username, len(subject.username), subject.key, len(subject.key)
        ):
            return False
        if check.use_candidate and not address.nominated or replayed(subject, place, check.transaction_id):
            return False
        if not self._write(subject, &header.key, check.transaction_id):
            return False
        book(subject, place, &check, now)
        return True

    cdef bint _write(self, ConsentSubject subject, flow_key *key, const uint8_t *transaction_id) noexcept:
        """The answer as one record; False when the ring is full."""
        cdef record *x = ring_claim(self.outgoing, ANSWER_BYTES_MAX)
        cdef const uint8_t *packed = <const uint8_t *>key
        cdef uint32_t size
        if x == NULL:
            return False
        size = consent_check_answer(record_payload(x), transaction_id, packed, packed[32] | (packed[33] << 8))
        if size == 0:
            ring_abort(self.outgoing)
            return False
        ring_shrink(self.outgoing, size)
        x.type = RINGLINE_RECORD_PUBLISH_AND_SEND
        x.worker = self.worker
        x.flow_index = no_flow
        x.slot = subject.slot
        x.generation = subject.generation
        x.incarnation = subject.incarnation
        x.origin = subject.origin
        x.address_state = RINGLINE_ADDRESS_PROVEN
        memcpy(&x.key, key, sizeof(flow_key))
        ring_commit(self.outgoing)
        return True


cdef int place_of(ConsentSubject subject, const flow_key *key) except -2:
    """The address's place in the book; -1: it is not one of the call's."""
    cdef Py_ssize_t i
    cdef bytes known
    for i in range(len(subject.places)):
        address = subject.places[i]
        if address is not None:
            known = address.key
            if len(known) == sizeof(flow_key) and memcmp(<const char *>known, key, sizeof(flow_key)) == 0:
                return <int>i
    return -1


cdef bint replayed(ConsentSubject subject, int place, const uint8_t *transaction_id) except -1:
    """Whether another address used this transaction."""
    cdef Py_ssize_t i
    for i in range(len(subject.places)):
        address = subject.places[i]
        if i != place and address is not None and knows(address.recent, transaction_id):
            return True
    return False


cdef bint knows(bytes recent, const uint8_t *transaction_id) noexcept:
    return memmem(<const char *>recent, len(recent), transaction_id, TRANSACTION_ID_SIZE) != NULL


cdef int book(ConsentSubject subject, int place, consent_check *check, uint64_t now) except -1:
    """What AddressBook.check, nominate and Consent.check do in this case, and their mirror in the call's record."""
    cdef bytes recent
    address = subject.places[place]
    address.checked_ns = subject.consent.since = subject.consent.last_check = now
    recent = address.recent
    if not knows(recent, check.transaction_id):
        recent = check.transaction_id[:TRANSACTION_ID_SIZE] + recent
        address.recent = recent[:recent_bytes]
    if check.use_candidate:
        address.priority = check.priority
        address.asked_ns = now
    store_relaxed_u64(&subject.store.call.addresses[place].checked_ns, now)
    store_relaxed_u64(&subject.store.call.last_check_ns, now)
    return 0
