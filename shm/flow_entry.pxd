# cython: language_level=3
"""One entry of the flow table, and every store to it. Called by flows.pyx only.

Every store goes through atomics.h, so that the fault-point build can kill the writer at each of them. The invariants
that the functions here keep, and that `recover` in flows.pyx relies on:

 A. `valid` is 0 while any word of key, hash or owner is being written: an entry is absent or whole.
 B. A contender is written between `contender.state = 0` and `contender.state = its state`, which is one word with its
    slot, generation and transceiver: a contender is absent or whole, and its owner stands all the time.
 C. An absent entry has no contender, with one exception: a promotion that was interrupted (contender -> owner).
    Then the key and the contender are whole, and the successor finishes it.
 D. A change of owner or of contender gives `valid` a new flow generation before its words change, which is what a
    reader in another process checks (a seqlock whose sequence is the generation). Raising a state is one word and
    does not, nor does a newer time of the owner's last check.

Why a kill sees the stores in the order written: they are atomic (the compiler keeps those of one function in order
where a release or a fence stands between them), and a killed thread has executed a prefix of its instructions.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from shm.atomics cimport (
    fence_acquire,
    fence_release,
    load_acquire_u64,
    load_relaxed_u64,
    store_relaxed_u64,
    store_release_u64,
)
from shm.flows cimport FLOW_CONTENDER_LIFETIME_NS, flow_table
from shm.layout cimport RINGLINE_RECORD_PUBLISH_AND_SEND, flow_entry, flow_key, flow_owner, record


# The four words of a struct flow_owner. `tag` is slot, generation, transceiver and state, which share one aligned word:
# that makes "this owner, in this state" a single store.
cdef struct claim:
    uint64_t origin
    uint64_t incarnation
    uint64_t tag
    uint64_t since_ns


cdef inline uint64_t *tag_word(const flow_owner *place) noexcept nogil:
    return <uint64_t *>&place.slot


cdef inline uint8_t tag_state(uint64_t tag) noexcept nogil:
    return <uint8_t>(tag >> 56)


cdef inline uint64_t tag_with_state(uint64_t tag, uint64_t state) noexcept nogil:
    return (tag & 0x00ffffffffffffffULL) | (state << 56)


cdef inline uint8_t state_of(const flow_owner *place) noexcept nogil:
    return tag_state(load_relaxed_u64(tag_word(place)))


cdef inline claim claim_of_record(const record *published, uint8_t transceiver, uint64_t now) noexcept nogil:
    cdef claim made
    made.origin = published.origin
    made.incarnation = published.incarnation
    made.tag = (<uint64_t>published.slot | (<uint64_t>published.generation << 32)
                | (<uint64_t>transceiver << 48) | (<uint64_t>published.address_state << 56))
    # Only a check is one: what is merely published again, after a restart too, says nothing of when the last one was.
    made.since_ns = now if published.type == RINGLINE_RECORD_PUBLISH_AND_SEND else 0
    return made


cdef inline claim claim_of(const flow_owner *place) noexcept nogil:
    cdef claim made
    # Acquire: a reader in another process that sees a contender's tag sees the words stored before it.
    made.tag = load_acquire_u64(tag_word(place))
    made.origin = load_relaxed_u64(&place.origin)
    made.incarnation = load_relaxed_u64(&place.incarnation)
    made.since_ns = load_relaxed_u64(&place.since_ns)
    return made


cdef inline bint same_holder(const claim *one, const claim *other) noexcept nogil:
    """The same call in the same process; its address state may differ."""
    return (one.origin == other.origin and one.incarnation == other.incarnation
            and tag_with_state(one.tag, 0) == tag_with_state(other.tag, 0))


cdef inline void write_claim(flow_owner *place, const claim *made) noexcept nogil:
    """The tag last: with the state in it, it makes a contender whole (invariant B)."""
    store_relaxed_u64(&place.origin, made.origin)
    store_relaxed_u64(&place.incarnation, made.incarnation)
    store_relaxed_u64(&place.since_ns, made.since_ns)
    store_release_u64(tag_word(place), made.tag)


cdef inline bint claim_live(const claim *made, const uint64_t *current_incarnations) noexcept nogil:
    if tag_state(made.tag) == 0:
        return False
    return current_incarnations == NULL or current_incarnations[<uint8_t>(made.tag >> 48)] == made.incarnation


cdef inline bint expired(const claim *contender, uint64_t now) noexcept nogil:
    """Time that goes back is ignored: it counts as no time passed."""
    return now > contender.since_ns and now - contender.since_ns >= FLOW_CONTENDER_LIFETIME_NS


# ---------------------------------------------------------------------------------------------- changes of one entry

cdef inline uint64_t next_generation(flow_table *table) noexcept nogil:
    """Stored before it is used: after a death a number may be skipped, and is never given out twice."""
    cdef uint64_t generation = load_relaxed_u64(&table.header.generation) + 1
    store_relaxed_u64(&table.header.generation, generation)
    return generation


cdef inline void hide(flow_entry *entry) noexcept nogil:
    """Release: the contender that was dropped before is gone when the entry is (invariant C). PARTNER of the fence: the
    one in `snapshot`: who sees a later store to the entry sees that it is not valid."""
    store_release_u64(&entry.valid, 0)
    fence_release()


cdef inline void show(flow_table *table, flow_entry *entry) noexcept nogil:
    """PARTNER: load_acquire_u64 in `snapshot`. All words of the entry are written."""
    store_release_u64(&entry.valid, next_generation(table))


cdef inline void drop_contender(flow_entry *entry) noexcept nogil:
    """One word: before it the contender is whole, after it there is none."""
    if state_of(&entry.contender) != 0:
        store_release_u64(tag_word(&entry.contender), 0)


cdef inline void raise_state(flow_owner *place, uint64_t state) noexcept nogil:
    """One word. A state never sinks while the same call in the same process holds the address."""
    cdef uint64_t tag = load_relaxed_u64(tag_word(place))
    if tag_state(tag) < state:
        store_release_u64(tag_word(place), tag_with_state(tag, state))


cdef inline void refresh_since(flow_owner *place, uint64_t now) noexcept nogil:
    """The owner's last check. One aligned word that nothing else depends on: killed before it or after it, the entry is
    whole, and the record applied again stores a later time of the same check. Time that goes back is ignored."""
    if load_relaxed_u64(&place.since_ns) < now:
        store_relaxed_u64(&place.since_ns, now)


cdef inline void set_contender(flow_table *table, flow_entry *entry, const claim *made) noexcept nogil:
    """Killed before the tag: the entry has no contender. Its owner is untouched and it stays valid throughout."""
    drop_contender(entry)
    show(table, entry)  # a new generation first (invariant D) ...
    fence_release()     # ... PARTNER: the fence in `snapshot`
    write_claim(&entry.contender, made)


cdef inline void replace_owner(flow_table *table, flow_entry *entry, const claim *made) noexcept nogil:
    """Killed while hidden: the entry is absent, without a contender, and the record that asked for the new owner is
    applied again by the successor, as a new entry."""
    drop_contender(entry)
    hide(entry)
    write_claim(&entry.owner, made)
    show(table, entry)


cdef inline void promote(flow_table *table, flow_entry *entry) noexcept nogil:
    """The contender becomes owner. It must not be lost when we die half way, because nobody will publish it again
    before its next check: so it stays in its place until the entry is valid with it as owner, and `recover` goes on
    from wherever we stopped (invariant C). Running it again from the start is the recovery."""
    cdef claim made = claim_of(&entry.contender)
    hide(entry)
    write_claim(&entry.owner, &made)
    show(table, entry)
    drop_contender(entry)


cdef inline void fill(flow_table *table, flow_entry *entry, const flow_key *key, uint64_t hash_value,
                      const claim *made) noexcept nogil:
    """A new entry in a place that is absent (and therefore, by invariant C, without a contender)."""
    cdef uint64_t words[6]
    cdef int i
    memcpy(words, key, 48)
    store_relaxed_u64(&entry.hash, hash_value)
    for i in range(6):
        store_relaxed_u64(<uint64_t *>&entry.key + i, words[i])
    write_claim(&entry.owner, made)
    show(table, entry)


cdef inline void remove(flow_table *table, flow_entry *entry) noexcept nogil:
    """Killed in between: a whole entry with its owner alone; the withdraw record is applied again."""
    drop_contender(entry)
    hide(entry)
    store_relaxed_u64(&table.header.occupied, load_relaxed_u64(&table.header.occupied) - 1)


# -------------------------------------------------------------------------------------- reading from another process

cdef enum:
    # A status reader gives an entry up that changes under it this often; each try takes well under a microsecond.
    FLOW_SNAPSHOT_TRIES = 16


cdef inline void put_claim(flow_owner *place, const claim *made) noexcept nogil:
    place.origin = made.origin
    place.incarnation = made.incarnation
    place.since_ns = made.since_ns
    memcpy(&place.slot, &made.tag, 8)


cdef inline int snapshot(const flow_entry *entry, flow_entry *copied) noexcept nogil:
    """Copies an entry as it was at one moment, for a reader that is not the writer. 1: copied, 0: absent, -1: it keeps
    changing. PARTNER: hide, show and set_contender."""
    cdef int attempt
    cdef uint64_t before
    cdef uint64_t words[6]
    cdef claim owner, contender
    cdef int i
    for attempt in range(FLOW_SNAPSHOT_TRIES):
        before = load_acquire_u64(&entry.valid)
        if before == 0:
            return 0
        owner = claim_of(&entry.owner)
        contender = claim_of(&entry.contender)
        for i in range(6):
            words[i] = load_relaxed_u64(<uint64_t *>&entry.key + i)
        fence_acquire()
        if load_relaxed_u64(&entry.valid) == before:
            if same_holder(&owner, &contender):
                contender.tag = 0  # the last store of a promotion is still to come
            copied.valid = before
            memcpy(&copied.key, words, 48)
            put_claim(&copied.owner, &owner)
            put_claim(&copied.contender, &contender)
            return 1
    return -1
