# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The flow table's code; flows.pxd says what it is for, flow_entry.pxd what a store to one entry may look like.

DESIGN 2.3, 2.4; the key and value of DESIGN 3. Called by relay worker k, by its supervisor and by status.
Left out on purpose: removal of entries whose owner is dead (their place is reused on demand), and any relocation.
"""
import os

from shm.flow_types import Flow, FlowOutcome, FlowOwner

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from shm.atomics cimport load_relaxed_u64, store_relaxed_u64
from shm.flow_buckets cimport bucket_of, find, free_place, siphash13_48
from shm.flow_entry cimport (
    claim, claim_live, claim_of, claim_of_record, drop_contender, expired, fill, hide, promote, raise_state,
    refresh_since, remove, replace_owner, same_holder, set_contender, snapshot, state_of, tag_state,
)
from shm.layout cimport (
    RINGLINE_ADDRESS_CHECKED, RINGLINE_ADDRESS_PROVEN, RINGLINE_FLAG_CONTENDED, RINGLINE_FLOW_BUCKET,
    RINGLINE_FLOW_ENTRIES_OFFSET, RINGLINE_RECORD_PUBLISH_AND_SEND, RINGLINE_SEGMENT_FLOWS, flow_entry, flow_key,
    flow_owner, flow_table_header, record,
)
from shm.segment cimport Segment

# ---------------------------------------------------------------------------------------------- opening and recovery

cdef int flow_table_open(flow_table *table, char *base, uint64_t size, bint writer) noexcept nogil:
    cdef flow_table_header *header = <flow_table_header *>base
    cdef uint64_t buckets = header.buckets
    cdef uint64_t room
    if size < RINGLINE_FLOW_ENTRIES_OFFSET or header.segment.kind != RINGLINE_SEGMENT_FLOWS:
        return -1
    room = (size - RINGLINE_FLOW_ENTRIES_OFFSET) / (RINGLINE_FLOW_BUCKET * sizeof(flow_entry))
    if buckets == 0 or buckets > room or buckets & (buckets - 1):
        return -1
    table.header = header
    table.entries = <flow_entry *>(base + RINGLINE_FLOW_ENTRIES_OFFSET)
    table.mask = buckets - 1
    if writer:
        recover(table)
    return 0


cdef void recover(flow_table *table) noexcept nogil:
    """Finishes a promotion that a predecessor died in, and counts anew (a death may have come before the count)."""
    cdef uint64_t i, occupied = 0
    cdef flow_entry *entry
    cdef claim owner, contender
    for i in range((table.mask + 1) * RINGLINE_FLOW_BUCKET):
        entry = &table.entries[i]
        contender = claim_of(&entry.contender)
        if tag_state(contender.tag) != 0:
            owner = claim_of(&entry.owner)
            if load_relaxed_u64(&entry.valid) == 0:
                promote(table, entry)
            elif same_holder(&owner, &contender):
                drop_contender(entry)
        occupied += load_relaxed_u64(&entry.valid) != 0
    store_relaxed_u64(&table.header.occupied, occupied)


# ---------------------------------------------------------------------------------------------- look-up

cdef bint flow_owner_live(const flow_owner *owner, const uint64_t *current_incarnations) noexcept nogil:
    cdef claim held = claim_of(owner)
    return claim_live(&held, current_incarnations)


cdef uint64_t flow_hash(const uint64_t *hash_key, const flow_key *key) noexcept nogil:
    cdef uint64_t words[6]
    memcpy(words, key, sizeof(words))
    return siphash13_48(hash_key, words)


cdef flow_entry *flow_lookup(flow_table *table, const flow_key *key) noexcept nogil:
    return find(table, key, flow_hash(table.header.hash_key, key))


cdef int flow_route(const flow_entry *entry, uint64_t now, const uint64_t *current_incarnations) noexcept nogil:
    cdef claim held
    cdef int recipients = FLOW_TO_OWNER if flow_owner_live(&entry.owner, current_incarnations) else FLOW_TO_NOBODY
    if state_of(&entry.contender) != 0:
        held = claim_of(&entry.contender)
        if claim_live(&held, current_incarnations) and (recipients == FLOW_TO_NOBODY or not expired(&held, now)):
            recipients |= FLOW_TO_CONTENDER
    return recipients


# ---------------------------------------------------------------------------------------------- publish and withdraw

cdef void settle(flow_table *table, flow_entry *entry, uint64_t now,
                 const uint64_t *current_incarnations) noexcept nogil:
    """Applies what time and deaths have done to an entry: a contender that died or had its 10 s goes; the contender of
    a dead owner becomes owner, whatever its age: it has nobody left to prove itself against. After this, an owner that
    is dead has no contender."""
    cdef claim held = claim_of(&entry.contender)
    if tag_state(held.tag) == 0:
        return
    if not claim_live(&held, current_incarnations):
        drop_contender(entry)
    elif not flow_owner_live(&entry.owner, current_incarnations):
        promote(table, entry)
    elif expired(&held, now):
        drop_contender(entry)


cdef inline bint is_news(const record *published, uint8_t known_state) noexcept nogil:
    """Whether the record says that a packet authenticated *since* the address is in dispute.

    "The call that authenticates one wins" (DESIGN 2.4) must not be decided by an old proof that is only repeated, in
    the record of a check or when everything is published again. So a proof counts when the transceiver says that the
    packet came with RINGLINE_FLAG_CONTENDED, or when this table knew the call as only checked so far.
    """
    if published.address_state != RINGLINE_ADDRESS_PROVEN:
        return False
    return (published.flags & RINGLINE_FLAG_CONTENDED) != 0 or known_state == RINGLINE_ADDRESS_CHECKED


cdef flow_outcome publish_new(flow_table *table, const record *published, uint64_t hash_value, const claim *made,
                              uint64_t now, const uint64_t *current_incarnations) noexcept nogil:
    """Into the emptier of two buckets, else into the place of a dead owner, else refused."""
    cdef int in_use[2]
    cdef flow_entry *place = free_place(bucket_of(table, hash_value, 0), &in_use[0])
    cdef flow_entry *other = free_place(bucket_of(table, hash_value, 1), &in_use[1])
    cdef int i
    if in_use[1] < in_use[0]:
        place = other
    if place != NULL:
        fill(table, place, &published.key, hash_value, made)
        store_relaxed_u64(&table.header.occupied, load_relaxed_u64(&table.header.occupied) + 1)
        return FLOW_APPLIED
    for i in range(2 * RINGLINE_FLOW_BUCKET):
        place = bucket_of(table, hash_value, i // RINGLINE_FLOW_BUCKET) + i % RINGLINE_FLOW_BUCKET
        settle(table, place, now, current_incarnations)
        if not flow_owner_live(&place.owner, current_incarnations):
            hide(place)
            fill(table, place, &published.key, hash_value, made)
            return FLOW_REPLACED_DEAD
    return FLOW_REFUSED_FULL


cdef flow_outcome publish_as_owner(flow_table *table, flow_entry *entry, const record *published,
                                   claim *made) noexcept nogil:
    """From the call that owns the flow, maybe out of another process than before: then it has moved."""
    cdef claim held = claim_of(&entry.owner)
    cdef flow_outcome outcome = FLOW_REFRESHED
    cdef bint news = is_news(published, tag_state(held.tag))
    if news and state_of(&entry.contender) != 0:
        # Before the state is raised: killed in between, the record applied again is still news.
        drop_contender(entry)
        outcome = FLOW_CONTENDER_DROPPED
    if same_holder(&held, made):
        if not news and tag_state(held.tag) == RINGLINE_ADDRESS_CHECKED:
            refresh_since(&entry.owner, made.since_ns)
        raise_state(&entry.owner, published.address_state)
        return outcome
    # With the state that the record says, not the old one: applied again after a death it must come to the same.
    replace_owner(table, entry, made)
    return FLOW_APPLIED


cdef flow_outcome publish_as_contender(flow_table *table, flow_entry *entry, const record *published,
                                       claim *made) noexcept nogil:
    """From the call that already contends for the flow."""
    cdef claim held = claim_of(&entry.contender)
    if is_news(published, tag_state(held.tag)):
        # First as it is known here: killed after that, the record applied again comes from the owner.
        promote(table, entry)
        if same_holder(&held, made):
            raise_state(&entry.owner, published.address_state)
        else:
            replace_owner(table, entry, made)
        return FLOW_CONTENDER_WON
    if same_holder(&held, made):
        return FLOW_CONTENDING
    made.since_ns = held.since_ns  # it has moved; its 10 s go on (a death in the next line may start them anew)
    set_contender(table, entry, made)
    return FLOW_CONTENDING


cdef flow_outcome flow_publish(flow_table *table, const record *published, uint8_t transceiver, uint64_t now,
                               const uint64_t *current_incarnations) noexcept nogil:
    cdef claim made = claim_of_record(published, transceiver, now)
    cdef uint64_t hash_value
    cdef flow_entry *entry
    if published.address_state not in (RINGLINE_ADDRESS_CHECKED, RINGLINE_ADDRESS_PROVEN):
        return FLOW_REFUSED_MALFORMED
    if published.incarnation == 0 or not claim_live(&made, current_incarnations):
        return FLOW_STALE
    hash_value = flow_hash(table.header.hash_key, &published.key)
    entry = find(table, &published.key, hash_value)
    if entry == NULL:
        return publish_new(table, published, hash_value, &made, now, current_incarnations)
    settle(table, entry, now, current_incarnations)
    if not flow_owner_live(&entry.owner, current_incarnations):
        replace_owner(table, entry, &made)
        return FLOW_REPLACED_DEAD
    if load_relaxed_u64(&entry.owner.origin) == published.origin:
        return publish_as_owner(table, entry, published, &made)
    return publish_against(table, entry, published, &made, now)


cdef flow_outcome publish_against(flow_table *table, flow_entry *entry, const record *published,
                                  claim *made, uint64_t now) noexcept nogil:
    """From another call than the live owner: a check alone only makes it the contender."""
    cdef bint contended = state_of(&entry.contender) != 0
    if contended and load_relaxed_u64(&entry.contender.origin) == published.origin:
        return publish_as_contender(table, entry, published, made)
    if is_news(published, 0):
        # It authenticated a packet of this dispute, which reached it through another worker.
        replace_owner(table, entry, made)
        return FLOW_CONTENDER_WON
    if contended:
        return FLOW_REFUSED_CONTENDED
    made.since_ns = now
    set_contender(table, entry, made)
    return FLOW_CONTENDING


cdef inline bint held_by(const flow_owner *place, const record *withdrawn) noexcept nogil:
    return (state_of(place) != 0 and load_relaxed_u64(&place.origin) == withdrawn.origin
            and load_relaxed_u64(&place.incarnation) == withdrawn.incarnation)


cdef bint flow_withdraw(flow_table *table, const record *withdrawn) noexcept nogil:
    cdef flow_entry *entry = flow_lookup(table, &withdrawn.key)
    if entry == NULL:
        return False
    if held_by(&entry.contender, withdrawn):
        drop_contender(entry)
        return True
    if not held_by(&entry.owner, withdrawn):
        return False
    if state_of(&entry.contender) != 0:
        promote(table, entry)
    else:
        remove(table, entry)
    return True


# ---------------------------------------------------------------------------------------------- for Python

CONTENDER_LIFETIME_NS = FLOW_CONTENDER_LIFETIME_NS


cdef object owner_to_python(const flow_owner *owner):
    if owner.state == 0:
        return None
    return FlowOwner(owner.origin, owner.incarnation, owner.slot, owner.generation, owner.transceiver, owner.state,
                     owner.since_ns)


cdef class FlowTable:
    """A worker's flow table for Python: made by the supervisor, read by status, driven by tests.

    Only one attached as `writer` may publish and withdraw.
    """

    @staticmethod
    def create(entries, *, index=0):
        """A new, empty table with room for at least `entries` flows at full load, owned by worker `index`."""
        cdef uint64_t buckets = 1
        cdef Segment segment
        cdef flow_table_header *header
        if not 1 <= entries <= 1 << 24:
            raise ValueError(f"a flow table has 1 to {1 << 24} entries, not {entries}")
        while buckets * RINGLINE_FLOW_BUCKET < <uint64_t>entries:
            buckets *= 2
        size = RINGLINE_FLOW_ENTRIES_OFFSET + buckets * RINGLINE_FLOW_BUCKET * sizeof(flow_entry)
        segment = Segment.create(RINGLINE_SEGMENT_FLOWS, size, index=index, name="ringline-flows")
        header = <flow_table_header *>segment.base
        seed = os.urandom(16)
        memcpy(header.hash_key, <const char *>seed, 16)
        header.buckets = buckets
        return FlowTable._over(segment, writer=True)

    @staticmethod
    def attach(fd, *, writer=False):
        """Maps the table in `fd`. As `writer` it also repairs what a predecessor left half done."""
        return FlowTable._over(Segment.attach(fd, RINGLINE_SEGMENT_FLOWS), writer=writer)

    @staticmethod
    def _over(Segment segment, *, writer):
        cdef FlowTable made = FlowTable.__new__(FlowTable)
        segment.hold()
        made.segment = segment
        if flow_table_open(&made.table, segment.base, segment.size, writer) != 0:
            raise ValueError("the flow table's header does not fit its segment")
        return made

    cdef const uint64_t *_current(self) noexcept: return self.current if self.judged else NULL

    def __dealloc__(self):
        if self.segment is not None:
            self.segment.let_go()

    @property
    def fd(self):
        return self.segment.fd

    @property
    def capacity(self):
        return (self.table.mask + 1) * RINGLINE_FLOW_BUCKET

    @property
    def occupied(self):
        return load_relaxed_u64(&self.table.header.occupied)

    @property
    def generation(self):
        """The last flow generation given out."""
        return load_relaxed_u64(&self.table.header.generation)

    def set_incarnation(self, transceiver, incarnation):
        """From the first call on, an owner lives only if its incarnation is its transceiver's current one (0: none)."""
        self.judged = True
        self.current[<uint8_t>transceiver] = incarnation

    def hash(self, key):
        """The keyed hash of 48 bytes."""
        cdef flow_key wanted
        unpack_key(key, &wanted)
        return flow_hash(self.table.header.hash_key, &wanted)

    def publish(self, key, origin, incarnation, *, slot=0, generation=0, transceiver=0, state, now, flags=0,
                kind=RINGLINE_RECORD_PUBLISH_AND_SEND):
        """flow_publish with a record of these values."""
        cdef record published
        make_record(&published, key, origin, incarnation)
        published.slot = slot
        published.generation = generation
        published.address_state = state
        published.flags = flags
        published.type = kind
        return FlowOutcome(flow_publish(&self.table, &published, transceiver, now, self._current()))

    def withdraw(self, key, origin, incarnation):
        """flow_withdraw: whether owner or contender was withdrawn."""
        cdef record withdrawn
        make_record(&withdrawn, key, origin, incarnation)
        return flow_withdraw(&self.table, &withdrawn)

    def lookup(self, key):
        """The flow of this key, dead owners included, or None."""
        cdef flow_key wanted
        unpack_key(key, &wanted)
        cdef flow_entry *entry = flow_lookup(&self.table, &wanted)
        flow = None if entry == NULL else self._read(entry - self.table.entries)
        # Where another process writes, the place may have changed hands meanwhile.
        return flow if flow is not None and flow.key == bytes(key) else None

    def route(self, key, now):
        """(to the owner, to the contender): who would get a media packet from this address."""
        cdef flow_key wanted
        unpack_key(key, &wanted)
        cdef flow_entry *entry = flow_lookup(&self.table, &wanted)
        cdef int mask = FLOW_TO_NOBODY if entry == NULL else flow_route(entry, now, self._current())
        return bool(mask & FLOW_TO_OWNER), bool(mask & FLOW_TO_CONTENDER)

    def handshakers(self, key, now):
        """(the owner, the contender): who may send handshake datagrams to this address."""
        cdef flow_key wanted
        unpack_key(key, &wanted)
        cdef flow_entry *entry = flow_lookup(&self.table, &wanted)
        cdef int mask = FLOW_TO_NOBODY if entry == NULL else flow_route(entry, now, self._current())
        mask = flow_handshakers(entry, mask, now)
        return bool(mask & FLOW_TO_OWNER), bool(mask & FLOW_TO_CONTENDER)

    def items(self):
        """Every entry that is valid, each read whole, while the writer may go on."""
        cdef uint64_t i
        found = []
        for i in range(self.capacity):
            flow = self._read(i)
            if flow is not None:
                found.append(flow)
        return found

    def _read(self, uint64_t i):
        cdef flow_entry copied
        if snapshot(&self.table.entries[i], &copied) != 1:
            return None
        return Flow(i, copied.valid, (<char *>&copied.key)[:sizeof(flow_key)], owner_to_python(&copied.owner),
                    owner_to_python(&copied.contender))


cdef void unpack_key(key, flow_key *into) except *:
    cdef bytes data = bytes(key)
    if len(data) != sizeof(flow_key):
        raise ValueError(f"a flow key is 48 bytes, not {len(data)}")
    memcpy(into, <const char *>data, sizeof(flow_key))


cdef void make_record(record *made, key, origin, incarnation) except *:
    memset(made, 0, sizeof(record))
    unpack_key(key, &made.key)
    made.origin = origin
    made.incarnation = incarnation
