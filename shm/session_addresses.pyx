# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Both sides of a call's addresses; session_addresses.pxd says what they are for. DESIGN 2.4, 2.5.

Called by the control thread (SessionAddresses), the media thread (session_read_addresses) and by recovery. Left out:
which address may be added or evicted, and what may be sent to it: that is ICE's.

The seqlock (Boehm 2012): the writer makes `address_sequence` odd, fences, changes words, makes it even again
(release). A reader takes the sequence (acquire), copies, fences, and looks again. `checked_ns` and the byte counts are
single words that media does not act on, and are stored outside of it.
"""
cimport cython
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcpy

from typing import NamedTuple

from shm.atomics cimport (
    fence_acquire,
    fence_release,
    load_acquire_u64,
    load_relaxed_u32,
    load_relaxed_u64,
    store_relaxed_u32,
    store_relaxed_u64,
    store_release_u64,
)
from shm.layout cimport RINGLINE_ADDRESSES, session, session_address

cdef enum:
    # Tries of a reader. A change takes the writer well under a microsecond: more means that it sleeps or is dead.
    READ_TRIES = 64
    # Words of a session_address that are copied: all but the reserved two at its end.
    ADDRESS_WORDS = 10
    NO_PLACE = -1

# session_address.id, .dtls_proven and .nominated share one aligned word: "an address with these marks" is one store.
cdef enum:
    PROVEN_SHIFT = 32
    NOMINATED_SHIFT = 40


cdef inline uint64_t *mark_word(const session_address *place) noexcept nogil:
    return <uint64_t *>&place.id


cdef inline uint32_t id_of(const session_address *place) noexcept nogil:
    return <uint32_t>load_relaxed_u64(mark_word(place))


# ---------------------------------------------------------------------------------------------- reading

cdef bint session_read_addresses(const session *call, session_addresses *copied) noexcept nogil:
    cdef session_addresses taken
    cdef int attempt
    for attempt in range(READ_TRIES):
        taken.sequence = load_acquire_u64(&call.address_sequence)
        if taken.sequence & 1:
            continue
        take_words(call, &taken)
        fence_acquire()  # PARTNER: the fence in begin_change
        if load_relaxed_u64(&call.address_sequence) == taken.sequence:
            copied[0] = taken
            return True
    return False


cdef void take_words(const session *call, session_addresses *taken) noexcept nogil:
    """Place and count are held to what the struct can have, whatever stands there: they become indexes."""
    cdef int i, j
    cdef uint64_t words[12]
    words[10] = words[11] = 0
    taken.count = load_relaxed_u32(&call.address_count)
    taken.nominated = <int32_t>load_relaxed_u32(<uint32_t *>&call.nominated)
    for i in range(RINGLINE_ADDRESSES):
        for j in range(ADDRESS_WORDS):
            words[j] = load_relaxed_u64(<uint64_t *>&call.addresses[i] + j)
        memcpy(&taken.addresses[i], words, sizeof(session_address))
    if taken.count > RINGLINE_ADDRESSES:
        taken.count = RINGLINE_ADDRESSES
    if not NO_PLACE <= taken.nominated < RINGLINE_ADDRESSES:
        taken.nominated = NO_PLACE


# ---------------------------------------------------------------------------------------------- writing

cdef inline void begin_change(session *call) noexcept nogil:
    """Odd: a change is under way. PARTNER of the fence: fence_acquire in session_read_addresses."""
    store_relaxed_u64(&call.address_sequence, load_relaxed_u64(&call.address_sequence) + 1)
    fence_release()


cdef inline void end_change(session *call) noexcept nogil:
    """PARTNER: load_acquire_u64 in session_read_addresses."""
    cdef uint32_t count = 0
    cdef int i
    for i in range(RINGLINE_ADDRESSES):
        count += id_of(&call.addresses[i]) != 0
    store_relaxed_u32(&call.address_count, count)
    store_release_u64(&call.address_sequence, load_relaxed_u64(&call.address_sequence) + 1)


cdef void write_place(session *call, int place, const unsigned char *key, uint64_t marks, uint64_t now) noexcept nogil:
    """Another address in this place. `id` is 0 while the others change: killed in between, the place is empty."""
    cdef session_address *address = &call.addresses[place]
    cdef uint64_t words[6]
    cdef int i
    memcpy(words, key, 48)
    store_release_u64(mark_word(address), 0)
    fence_release()
    for i in range(6):
        store_relaxed_u64(<uint64_t *>&address.key + i, words[i])
    store_relaxed_u64(&address.checked_ns, now)
    store_relaxed_u64(&address.bytes_received, 0)
    store_relaxed_u64(&address.bytes_sent, 0)
    store_release_u64(mark_word(address), marks)


cdef void mark_nominated(session *call, int place) noexcept nogil:
    """The word `nominated` decides; the marks in the addresses follow it, also in recovery."""
    cdef uint64_t *word
    cdef uint64_t marks
    cdef int i
    store_relaxed_u32(<uint32_t *>&call.nominated, <uint32_t>place)
    for i in range(RINGLINE_ADDRESSES):
        word = mark_word(&call.addresses[i])
        marks = load_relaxed_u64(word) & ~(<uint64_t>0xff << NOMINATED_SHIFT)
        if i == place:
            marks |= <uint64_t>1 << NOMINATED_SHIFT
        store_relaxed_u64(word, marks)


cdef void session_recover_addresses(session *call) noexcept nogil:
    """Each place is empty or whole already; what spans places is made to agree, and the sequence even. Dying in here
    and doing it again is harmless."""
    cdef int place = <int>call.nominated
    if not load_relaxed_u64(&call.address_sequence) & 1:
        return
    if not 0 <= place < RINGLINE_ADDRESSES or id_of(&call.addresses[place]) == 0:
        place = NO_PLACE
    mark_nominated(call, place)
    end_change(call)


# ---------------------------------------------------------------------------------------------- for the control thread

class SessionAddress(NamedTuple):
    """One address of a call, as control wrote it."""

    place: int
    key: bytes
    id: int
    dtls_proven: bool
    nominated: bool
    checked_ns: int
    bytes_received: int
    bytes_sent: int


@cython.final
@cython.no_gc
cdef class SessionAddresses:
    """The addresses of one call. Only its control thread changes them; each change is one turn of the seqlock."""

    def __init__(self):
        raise TypeError("made by SessionRecord.addresses")

    @staticmethod
    cdef SessionAddresses over(session *call, object owner):
        cdef SessionAddresses made = SessionAddresses.__new__(SessionAddresses)
        made.call = call
        made.owner = owner
        return made

    def set(self, place, key, id, now):
        """Puts an address that was just checked into `place`, instead of what was there. `id` is not 0 and new."""
        cdef bytes packed = bytes(key)
        cdef int i = self._place(place)
        cdef uint32_t number = id
        if len(packed) != 48 or number == 0:
            raise ValueError(f"an address has a key of 48 bytes and an id: {len(packed)} bytes, id {id}")
        cdef uint64_t checked = now
        begin_change(self.call)
        if self.call.nominated == i:
            mark_nominated(self.call, NO_PLACE)
        write_place(self.call, i, <const unsigned char *><const char *>packed, number, checked)
        end_change(self.call)

    def clear(self, place):
        """The place is empty afterwards; a nomination of it is gone."""
        cdef int i = self._place(place)
        begin_change(self.call)
        store_release_u64(mark_word(&self.call.addresses[i]), 0)
        if self.call.nominated == i:
            mark_nominated(self.call, NO_PLACE)
        end_change(self.call)

    def prove(self, place):
        """A fresh DTLS record under this call's keys came from it."""
        cdef uint64_t *word = mark_word(&self.call.addresses[self._used(place)])
        begin_change(self.call)
        store_relaxed_u64(word, load_relaxed_u64(word) | (<uint64_t>1 << PROVEN_SHIFT))
        end_change(self.call)

    @property
    def nominated(self):
        """The nominated place, or None."""
        cdef int32_t place = self.call.nominated
        return place if 0 <= place < RINGLINE_ADDRESSES else None

    @nominated.setter
    def nominated(self, place):
        cdef int i = NO_PLACE if place is None else self._used(place)
        begin_change(self.call)
        mark_nominated(self.call, i)
        end_change(self.call)

    def checked(self, place, now):
        """A check from it was accepted at `now`. One word, no turn of the seqlock."""
        store_relaxed_u64(&self.call.addresses[self._used(place)].checked_ns, now)

    def account(self, place, bytes_received, bytes_sent):
        """The totals of this address, which bound what may be sent to it before it is proven."""
        cdef session_address *address = &self.call.addresses[self._used(place)]
        store_relaxed_u64(&address.bytes_received, bytes_received)
        store_relaxed_u64(&address.bytes_sent, bytes_sent)

    @property
    def sequence(self):
        """Of the seqlock: even, unless a change was broken off."""
        return load_relaxed_u64(&self.call.address_sequence)

    def recover(self):
        """For a successor of a control thread that died in a change; SessionSegment.attach does it for all calls."""
        session_recover_addresses(self.call)

    def read(self):
        """The addresses in use, by place; None when a change is under way and does not end."""
        cdef session_addresses copied
        cdef session_address *address
        cdef int i
        if not session_read_addresses(self.call, &copied):
            return None
        found = []
        for i in range(RINGLINE_ADDRESSES):
            address = &copied.addresses[i]
            if address.id != 0:
                found.append(SessionAddress(
                    i, (<char *>&address.key)[:48], address.id, bool(address.dtls_proven), bool(address.nominated),
                    address.checked_ns, address.bytes_received, address.bytes_sent,
                ))
        return found

    cdef int _place(self, place) except -1:
        if not 0 <= place < RINGLINE_ADDRESSES:
            raise IndexError(f"a call has places 0 to {RINGLINE_ADDRESSES - 1}, not {place}")
        return place

    cdef int _used(self, place) except -1:
        cdef int i = self._place(place)
        if id_of(&self.call.addresses[i]) == 0:
            raise IndexError(f"no address in place {place}")
        return i
