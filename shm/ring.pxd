# cython: language_level=3
"""A ring: one producer, one consumer, records of variable length; the native half, inlined wherever it is cimported.

Owned by shm/; called by the relay workers' loop, the transceivers' media threads and, through the classes in
`ring.pyx`, by their control threads. The layout is `layout.h` (struct ring_header, struct record), the argument for
every store and every death README.md.

Operations, producer: `ring_open_producer`, then `ring_claim` - fill in - `ring_commit` for each record, `ring_publish`
once a batch (then the doorbell). Consumer: `ring_open_consumer`, then `ring_next` as often as the batch allows,
`ring_take` before an at-most-once reader acts, `ring_release` at the end of the batch; what `ring_next` gave is
invalid from then on.

Goals: no lock, no allocation, no shared cache line in the common case (the other side's index is read only when the
cached one is used up); whatever the other side writes, no access leaves the ring and no call loops for ever.

`struct ring` is local to a thread. Nothing that decides over memory safety is read from shared memory twice.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from shm.atomics cimport (
    add_relaxed_u64,
    fault_point,
    fence_compiler,
    load_acquire_u64,
    load_relaxed_u8,
    load_relaxed_u16,
    load_relaxed_u32,
    load_relaxed_u64,
    store_relaxed_u64,
    store_release_u64,
)
from shm.layout cimport RINGLINE_RECORD_PADDING, record, ring_header

cdef enum:
    RING_CAPACITY_MIN = 1024  # bytes; half of it still holds a record with some payload
    RING_CAPACITY_MAX = 1 << 30  # bytes; keeps every size within 32 bits
    RING_TRIES = 2  # how often an at-least-once record is tried before it counts as poison

cdef struct ring:
    ring_header *header
    char *data
    uint64_t capacity     # read from the header once, checked, never again
    uint64_t mask
    uint64_t position     # producer: end of what is committed; consumer: next record to read
    uint64_t shown        # producer: tail, consumer: head, as last stored
    uint64_t cached       # the other side's index, as last loaded
    uint64_t records      # producer: committed, not published; consumer: read, not released
    uint64_t claimed      # producer: where the open claim starts
    uint64_t claimed_size # producer: its size, rounded; 0: no claim is open
    uint8_t *payload      # consumer: of the record last given out ...
    uint32_t payload_size # ... as it was when it was checked
    bint at_most_once     # consumer
    uint64_t handling     # consumer, at least once: header.handling as last stored
    uint64_t retry        # consumer, at least once: header.handling of a predecessor that died; 0: none
    uint64_t attempts     # consumer, at least once: header.attempts as last stored


# -------------------------------------------------------------------------------------------------------------- opening


cdef inline uint64_t ring_round(uint64_t size) noexcept nogil:
    """Records start at multiples of 8."""
    return (size + 7) & ~(<uint64_t>7)


cdef inline void ring_format(ring_header *header, uint64_t data_offset, uint64_t capacity) noexcept nogil:
    """Make an empty ring; for whoever makes the segment, before it is handed out."""
    memset(header, 0, sizeof(ring_header))
    header.capacity = capacity
    header.data_offset = data_offset


cdef inline int ring_open(ring *r, char *base, uint64_t size, ring_header *header) noexcept nogil:
    """Take over the constant words, checked against the `size` bytes mapped at `base`. -1: they make no sense."""
    cdef uint64_t capacity = load_relaxed_u64(&header.capacity)
    cdef uint64_t data_offset = load_relaxed_u64(&header.data_offset)
    memset(r, 0, sizeof(ring))
    if capacity < RING_CAPACITY_MIN or capacity > RING_CAPACITY_MAX or capacity & (capacity - 1):
        return -1
    if data_offset & 7 or data_offset > size or capacity > size - data_offset:
        return -1
    r.header = header
    r.data = base + data_offset
    r.capacity = capacity
    r.mask = capacity - 1
    return 0


cdef inline int ring_open_producer(ring *r, char *base, uint64_t size, ring_header *header) noexcept nogil:
    """Be the producer; a successor goes on where its predecessor last published. -1: refused.

    The caller rings the consumer's doorbell once afterwards: the predecessor may have died between publish and ring.
    """
    if ring_open(r, base, size, header) < 0:
        return -1
    r.shown = load_acquire_u64(&header.tail)
    r.position = ring_round(r.shown)
    r.cached = load_acquire_u64(&header.head)
    ring_publish(r)  # a predecessor gone mad left a tail where no record can start: the reader has to see a better one
    return 0


cdef inline int ring_open_consumer(
    ring *r, char *base, uint64_t size, ring_header *header, bint at_most_once
) noexcept nogil:
    """Be the consumer; a successor resumes at `taken` (at most once) or at `head`, see README.md. -1: refused."""
    cdef uint64_t tail
    if ring_open(r, base, size, header) < 0:
        return -1
    r.at_most_once = at_most_once
    r.shown = load_acquire_u64(&header.head)
    r.position = ring_round(r.shown)
    r.cached = r.position
    tail = load_acquire_u64(&header.tail)
    if tail - r.position <= r.capacity and not tail & 7:
        if at_most_once:
            ring_give_up_taken(r, tail)
        else:
            ring_resume_handling(r, tail)
    return 0


cdef inline void ring_give_up_taken(ring *r, uint64_t tail) noexcept nogil:
    """Skip what a dead at-most-once reader had taken up and perhaps acted on. Booked as lost: a bound from above."""
    cdef uint64_t taken = load_relaxed_u64(&r.header.taken)
    cdef uint64_t step, lost = 0
    if taken - r.position > tail - r.position or taken & 7:
        return
    r.cached = taken
    while r.position != taken:
        step = ring_measure(r)
        if step == 0:
            break
        lost += r.payload != NULL
        r.position += step
    r.position = taken
    add_relaxed_u64(&r.header.lost, lost)
    ring_settle(r)


cdef inline void ring_resume_handling(ring *r, uint64_t tail) noexcept nogil:
    """Note the record that a dead at-least-once reader had in work; `ring_next` counts tries when it comes to it."""
    cdef uint64_t handling = load_relaxed_u64(&r.header.handling)
    r.attempts = load_relaxed_u64(&r.header.attempts)
    if handling != 0 and handling - 1 - r.position < tail - r.position:
        r.retry = handling
        r.handling = handling


# ------------------------------------------------------------------------------------------------------------- producer


cdef inline bint ring_has_room(ring *r, uint64_t bytes) noexcept nogil:
    """SYNC: acquire `head`; PARTNER: its release in `ring_release`. The reader is done with what we overwrite.

    A head that makes no sense (beyond the tail, too far behind) reads as a full ring, whatever its value.
    """
    if r.position - r.cached <= r.capacity and bytes <= r.capacity - (r.position - r.cached):
        return True
    r.cached = load_acquire_u64(&r.header.head)
    return r.position - r.cached <= r.capacity and bytes <= r.capacity - (r.position - r.cached)


cdef inline void ring_pad(ring *r, uint64_t room) noexcept nogil:
    """Fill the end of the ring, at least 8 bytes, with a record that is only skipped."""
    cdef record *x = <record *>(r.data + (r.position & r.mask))
    fault_point()
    x.size = <uint32_t>room
    fault_point()
    x.header_size = 8
    x.type = RINGLINE_RECORD_PADDING
    x.hop_count = 0


cdef inline record *ring_claim(ring *r, uint32_t payload_size) noexcept nogil:
    """Room for a record with `payload_size` bytes, in one piece; NULL and `full` counted when there is none.

    The header is zeroed but for `size` and `header_size`. More than half the ring is refused: it might never fit.
    Nothing is visible before `ring_commit` and `ring_publish`; another claim before the commit replaces this one.
    """
    cdef uint64_t need = ring_round(sizeof(record) + <uint64_t>payload_size)
    cdef uint64_t room = r.capacity - (r.position & r.mask)
    cdef uint64_t padding = room if need > room else 0
    cdef record *x
    r.claimed_size = 0
    if need > r.capacity >> 1 or not ring_has_room(r, padding + need):
        add_relaxed_u64(&r.header.full, 1)
        store_release_u64(&r.header.tail, r.shown)  # as it was: a reader that a mad tail led astray comes back by it
        return NULL
    if padding:
        ring_pad(r, padding)
    r.claimed = r.position + padding
    r.claimed_size = need
    x = <record *>(r.data + (r.claimed & r.mask))
    fault_point()
    memset(x, 0, sizeof(record))
    fault_point()
    x.size = <uint32_t>sizeof(record) + payload_size
    fault_point()
    x.header_size = <uint16_t>sizeof(record)
    return x


cdef inline void ring_shrink(ring *r, uint32_t payload_size) noexcept nogil:
    """The open claim needs only so many bytes after all (what came out of a cipher); never more than were claimed."""
    cdef uint64_t need = ring_round(sizeof(record) + <uint64_t>payload_size)
    cdef record *x = <record *>(r.data + (r.claimed & r.mask))
    if need <= r.claimed_size:
        r.claimed_size = need
        fault_point()
        x.size = <uint32_t>sizeof(record) + payload_size


cdef inline void ring_commit(ring *r) noexcept nogil:
    """The open claim is complete; it becomes visible with the next `ring_publish`."""
    if r.claimed_size:
        r.position = r.claimed + r.claimed_size
        r.records += 1
        r.claimed_size = 0


cdef inline void ring_abort(ring *r) noexcept nogil:
    """Forget the open claim."""
    r.claimed_size = 0


cdef inline void ring_publish(ring *r) noexcept nogil:
    """Show all that is committed, at once.

    SYNC: release `tail`; PARTNER: its acquire in `ring_refresh`. Whoever sees this tail sees the records whole.
    """
    if r.position != r.shown:
        add_relaxed_u64(&r.header.records_in, r.records)
        r.records = 0
        r.shown = r.position
        store_release_u64(&r.header.tail, r.position)


# ------------------------------------------------------------------------------------------------------------- consumer


cdef inline uint64_t ring_measure(ring *r) noexcept nogil:
    """Bytes up to the next record, and its payload into `r`; 0 when the record at `position` makes no sense.

    Every word is loaded once and checked against our own copies. Padding has no payload (NULL) and ends the ring.
    """
    cdef record *x = <record *>(r.data + (r.position & r.mask))
    cdef uint64_t room = r.capacity - (r.position & r.mask)
    cdef uint32_t size = load_relaxed_u32(&x.size)
    cdef uint16_t header_size = load_relaxed_u16(&x.header_size)
    cdef uint64_t step = ring_round(size)
    r.payload = NULL
    r.payload_size = 0
    if step > room or step > r.capacity >> 1 or step > r.cached - r.position:
        return 0  # no producer writes more than half a ring at once
    if load_relaxed_u8(&x.type) == RINGLINE_RECORD_PADDING:
        return step if step == room else 0
    if header_size < sizeof(record) or header_size > size:
        return 0
    r.payload = <uint8_t *>x + header_size
    r.payload_size = size - header_size
    return step


cdef inline bint ring_refresh(ring *r) noexcept nogil:
    """Look whether there is more.

    SYNC: acquire `tail`; PARTNER: its release in `ring_publish`. A tail that cannot be is counted; an aligned one is
    where the producer will go on, so the reader goes there.
    """
    cdef uint64_t tail = load_acquire_u64(&r.header.tail)
    if tail == r.position:
        if load_relaxed_u64(&r.header.head) != r.shown:  # somebody mad wrote there: nothing else would ever mend it
            store_release_u64(&r.header.head, r.shown)
        return False
    if tail & 7:
        add_relaxed_u64(&r.header.malformed, 1)
        return False
    r.cached = tail
    if tail - r.position > r.capacity:
        ring_skip_malformed(r)
        return False
    return True


cdef inline void ring_skip_malformed(ring *r) noexcept nogil:
    """No way to tell where the next record starts: go on at the tail."""
    add_relaxed_u64(&r.header.malformed, 1)
    r.position = r.cached
    ring_settle(r)


cdef inline void ring_settle(ring *r) noexcept nogil:
    """Give skipped bytes back at once if nobody holds a record; else `ring_release` will."""
    if r.records == 0:
        ring_release(r)


cdef inline bint ring_is_poison(ring *r) noexcept nogil:
    """At least once: note the record at `position` as in work; True if enough processes have died on it.

    `attempts` is brought to 0 before `handling` moves: a death in between only blames the record before. What a
    successor reads again before `handling` leaves the words alone: their record is still the suspect.
    """
    cdef uint64_t here = r.position + 1
    if here == r.retry:
        if r.attempts + 1 >= RING_TRIES:
            return True
        r.retry = 0
        r.attempts += 1
        store_relaxed_u64(&r.header.attempts, r.attempts)
        fence_compiler()  # before the caller acts on the record
    elif here > r.handling:
        if r.attempts:
            r.attempts = 0
            store_relaxed_u64(&r.header.attempts, 0)
        r.handling = here
        store_relaxed_u64(&r.header.handling, here)
        fence_compiler()  # before the caller acts on the record
    return False


cdef inline record *ring_next(ring *r) noexcept nogil:
    """The next record, or NULL when the batch ends; its payload stands in `r.payload`, `r.payload_size`.

    An at-least-once reader acts on each record before it asks for the next, so that `handling` names the one in work.
    Other fields of the record are for the caller to judge: the producer may be mad.
    """
    cdef record *x
    cdef uint64_t step
    if r.position == r.cached and not ring_refresh(r):
        return NULL
    while r.position != r.cached:
        step = ring_measure(r)
        if step == 0:
            ring_skip_malformed(r)
            break
        if r.payload != NULL:
            if r.at_most_once or not ring_is_poison(r):
                x = <record *>(r.data + (r.position & r.mask))
                r.position += step
                r.records += 1
                return x
            if r.records:
                return NULL  # end the batch here: poison is left behind for good only once `head` is beyond it
            add_relaxed_u64(&r.header.lost, 1)
            r.position += step
            ring_release(r)
        else:
            r.position += step
    ring_settle(r)
    return NULL


cdef inline void ring_take(ring *r) noexcept nogil:
    """At most once: what was read so far counts as handled from now on, whoever dies. Before acting on it."""
    store_relaxed_u64(&r.header.taken, r.position)
    fence_compiler()


cdef inline void ring_release(ring *r) noexcept nogil:
    """The end of a batch: all that was read may be overwritten.

    SYNC: release `head`; PARTNER: its acquire in `ring_has_room`. Our reads are over before the producer writes there.
    """
    if r.position != r.shown:
        add_relaxed_u64(&r.header.records_out, r.records)
        r.records = 0
        r.shown = r.position
        store_release_u64(&r.header.head, r.position)


cdef inline uint64_t ring_pending(ring *r) noexcept nogil:
    """Bytes waiting for the consumer, 0 for none; the re-check between arming a doorbell and sleeping."""
    cdef uint64_t waiting = load_acquire_u64(&r.header.tail) - r.position
    if (waiting + r.position) & 7:
        return 0
    return waiting if waiting < r.capacity else r.capacity


# -------------------------------------------------------------------------------------------------------------- records


cdef inline uint8_t *record_payload(record *x) noexcept nogil:
    """Where a producer writes the payload of its claim. A consumer uses `r.payload`, which was checked."""
    return <uint8_t *>x + sizeof(record)


cdef inline uint32_t record_payload_size(record *x) noexcept nogil:
    """Of a record one has claimed. A consumer uses `r.payload_size`."""
    return x.size - <uint32_t>sizeof(record)


cdef inline uint64_t ring_waiting(const ring_header *header) noexcept nogil:
    """Bytes published and not released, for status and the stuck-process check; 0 if the indexes make no sense."""
    cdef uint64_t head = load_relaxed_u64(&header.head)
    cdef uint64_t tail = load_relaxed_u64(&header.tail)
    return tail - head if tail - head <= load_relaxed_u64(&header.capacity) else 0
