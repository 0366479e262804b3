# cython: language_level=3
"""Two ends of a ring that check everything, for the tests of shm/ring.pxd; compiled by the tests, never installed.

The same file is built three ways: with fault points (every store may be the last), with ASan and UBSan, with TSan. It
uses the inlined functions of `ring.pxd` and `doorbell.pxd`, so what is tested is what the product inlines.

Each record says which life of the producer wrote it, its index in that life, its place in its batch and the size of the
batch; size, header fields and filler follow from (life, index), and a checksum covers them. So a reader can tell a torn
record, a gap, a repetition and half a batch from one another.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from posix.time cimport nanosleep, timespec

from shm.atomics cimport add_relaxed_u64, fault_point, fence_compiler, load_acquire_u64, store_release_u64
from shm.doorbell cimport doorbell, doorbell_arm, doorbell_clear, doorbell_disarm, doorbell_ring
from shm.lane cimport Lane
from shm.layout cimport record
from shm.ring cimport (
    record_payload,
    ring,
    ring_claim,
    ring_commit,
    ring_next,
    ring_open_consumer,
    ring_open_producer,
    ring_pending,
    ring_publish,
    ring_release,
    ring_take,
)

cdef extern from "tests/shm/fault_point.h" nogil:
    long ringline_fault_left
    long ringline_fault_passed

cdef extern from "poll.h" nogil:
    cdef struct pollfd:
        int fd
        short events
    int poll(pollfd *fds, unsigned long count, int timeout)
    short POLLIN

# Words of the board, which parent and children share.
cdef enum:
    STOP = 0
    TORN = 1
    GAPS = 2
    HALVES = 3
    READ = 4
    SLEEPS = 5
    ALARMS = 6
    LOST_WAKEUPS = 7
    RINGS = 8
    FULL = 9
    WORDS = 16

BOARD_WORDS = WORDS
BOARD = dict(stop=STOP, torn=TORN, gaps=GAPS, halves=HALVES, read=READ, sleeps=SLEEPS, alarms=ALARMS,
             lost_wakeups=LOST_WAKEUPS, rings=RINGS, full=FULL)

cdef enum:
    ALARM_MS = 20  # as in the product: the timeout of a sleep
    LATE_MS = 2000  # after an alarm with work waiting: a ring that comes in this time was late, not lost

cdef struct mark:
    uint64_t checksum
    uint32_t life
    uint32_t index
    uint32_t place
    uint32_t batch

cdef struct checker:
    mark last
    bint started


def fault_arm(long n):
    """Die at the n-th store from now; 0: at none."""
    global ringline_fault_left, ringline_fault_passed
    ringline_fault_left = n
    ringline_fault_passed = 0


def fault_passed():
    """Stores since `fault_arm`."""
    return ringline_fault_passed


# ------------------------------------------------------------------------------------------------------- record content


cdef inline uint32_t mix(uint32_t life, uint32_t index) noexcept nogil:
    cdef uint32_t x = life * <uint32_t>0x9E3779B1 + index * <uint32_t>0x85EBCA77 + 1
    x ^= x >> 15
    x *= <uint32_t>0x2C1B3C6D
    return x ^ (x >> 13)


cdef inline uint32_t size_of(uint32_t life, uint32_t index) noexcept nogil:
    return <uint32_t>sizeof(mark) + mix(life, index) % 200


cdef uint64_t checksum_of(const uint8_t *payload, uint32_t size) noexcept nogil:
    cdef uint64_t h = 0xCBF29CE484222325
    cdef uint32_t i
    for i in range(8, size):
        h = (h ^ payload[i]) * <uint64_t>0x100000001B3
    return h


cdef void fill_in(record *x, mark *m) noexcept nogil:
    cdef uint32_t size = size_of(m.life, m.index)
    cdef uint8_t content[256]
    cdef uint32_t i, piece
    x.type = 3
    x.slot = m.index
    x.incarnation = m.life
    fault_point()
    x.origin = mix(m.life, m.index)
    for i in range(sizeof(mark), size):
        content[i] = <uint8_t>(x.origin + i)
    memcpy(content, m, sizeof(mark))
    m.checksum = checksum_of(content, size)
    memcpy(content, m, sizeof(mark))
    for i in range(0, size, 64):
        fault_point()
        piece = size - i if size - i < 64 else 64
        memcpy(record_payload(x) + i, content + i, piece)


cdef bint is_whole(record *x, const uint8_t *payload, uint32_t size, mark *m) noexcept nogil:
    if size < sizeof(mark):
        return False
    memcpy(m, payload, sizeof(mark))
    return (
        size == size_of(m.life, m.index) and m.checksum == checksum_of(payload, size)
        and x.type == 3 and x.slot == m.index and x.incarnation == m.life and x.origin == mix(m.life, m.index)
    )


cdef void check(checker *c, mark *m, uint64_t *board) noexcept nogil:
    """Against the record before: no gap, no repetition, no half batch."""
    if c.started:
        if m.life == c.last.life:
            if m.index != c.last.index + 1:
                add_relaxed_u64(&board[GAPS], 1)
        elif m.life < c.last.life or m.index != 0:
            add_relaxed_u64(&board[GAPS], 1)
        if m.place != (0 if c.last.place + 1 == c.last.batch else c.last.place + 1):
            add_relaxed_u64(&board[HALVES], 1)
    c.started = True
    c.last = m[0]


# ------------------------------------------------------------------------------------------------------------ producers


cdef bint write_batch(ring *r, mark *m, uint32_t batch) noexcept nogil:
    """One published batch of `batch` records from `m.index` on; False, and nothing, when it did not fit."""
    cdef uint64_t position = r.position, records = r.records
    cdef record *x
    cdef uint32_t place
    for place in range(batch):
        m.place = place
        m.batch = batch
        x = ring_claim(r, size_of(m.life, m.index + place))
        if x == NULL:
            r.position = position
            r.records = records
            return False
        m.index += place
        fill_in(x, m)
        m.index -= place
        ring_commit(r)
    ring_publish(r)
    m.index += batch
    return True


def publish_batch(Lane lane not None, int which, uint32_t life, uint32_t first, uint32_t batch):
    """Be a producer for one batch; what the sweep over every store kills."""
    cdef ring r
    cdef mark m
    m.life = life
    m.index = first
    if ring_open_producer(&r, lane.segment.base, lane.segment.size, &lane.header.rings[which]) < 0:
        raise ValueError("refused")
    return bool(write_batch(&r, &m, batch))


cdef void pause(long us) noexcept nogil:
    cdef timespec t
    t.tv_sec = 0
    t.tv_nsec = us * 1000
    nanosleep(&t, NULL)


cdef void produce_all(
    ring *r, doorbell *d, uint32_t life, uint32_t count, uint64_t *board, uint64_t *bounds
) noexcept nogil:
    cdef mark m
    cdef uint32_t batch
    m.life = life
    m.index = 0
    while m.index < count:
        batch = 1 + mix(m.index, life) % 8
        store_release_u64(&bounds[1], m.index + batch)
        while not write_batch(r, &m, batch):
            add_relaxed_u64(&board[FULL], 1)
            pause(20)
        store_release_u64(&bounds[0], m.index)
        if doorbell_ring(d):
            add_relaxed_u64(&board[RINGS], 1)
        if mix(life, m.index) % 64 == 0:
            pause(mix(m.index, m.index) % 100)  # so that the consumer falls asleep now and then


def produce(
    Lane lane not None, int which, int bell, uint32_t life, uint32_t count, uint64_t[::1] board, uint64_t[::1] bounds
):
    """Write `count` records as life `life`; `bounds`: how many were surely published, and how many perhaps."""
    cdef ring r
    cdef doorbell d
    cdef int refused
    lane.open_doorbell(bell, &d)
    refused = ring_open_producer(&r, lane.segment.base, lane.segment.size, &lane.header.rings[which])
    if refused:
        raise ValueError("refused")
    with nogil:
        doorbell_ring(&d)  # a successor does: its predecessor may have died between publish and ring
        produce_all(&r, &d, life, count, &board[0], &bounds[0])


def produce_and_wait(
    Lane lane not None, int which, int bell, uint32_t life, uint32_t count, uint64_t[::1] board
):
    """`count` batches of one record, each written the moment the one before is released, so that publish meets the
    reader on its way to sleep as often as can be. No later ring covers up for one that was lost."""
    cdef ring r
    cdef doorbell d
    cdef mark m
    cdef uint32_t spins
    lane.open_doorbell(bell, &d)
    if ring_open_producer(&r, lane.segment.base, lane.segment.size, &lane.header.rings[which]) < 0:
        raise ValueError("refused")
    m.life = life
    m.index = 0
    with nogil:
        while m.index < count and not load_acquire_u64(&board[STOP]):
            write_batch(&r, &m, 1)
            doorbell_ring(&d)
            spins = 0
            while load_acquire_u64(&r.header.head) != r.position and not load_acquire_u64(&board[STOP]):
                spins += 1
                if spins > 100_000:
                    pause(10)  # the reader wants this CPU


# ------------------------------------------------------------------------------------------------------------ consumers


cdef int consume_batch(
    ring *r, checker *c, uint32_t batch, uint64_t *board, uint8_t *acted, uint64_t stride
) noexcept nogil:
    """One bounded batch, acted upon by counting each record in `acted[life * stride + index]`."""
    cdef mark marks[64]
    cdef record *x
    cdef uint32_t n = 0, i
    while n < batch:
        x = ring_next(r)
        if x == NULL:
            break
        if not is_whole(x, r.payload, r.payload_size, &marks[n]):
            add_relaxed_u64(&board[TORN], 1)
            continue
        check(c, &marks[n], board)
        if not r.at_most_once:
            act(&marks[n], acted, stride)
        n += 1
    if r.at_most_once:
        ring_take(r)
        for i in range(n):
            act(&marks[i], acted, stride)
    ring_release(r)
    add_relaxed_u64(&board[READ], n)
    return n


cdef void act(mark *m, uint8_t *acted, uint64_t stride) noexcept nogil:
    fault_point()
    if m.index < stride:
        acted[m.life * stride + m.index] += 1
    fault_point()


cdef void dawdle(uint32_t index) noexcept nogil:
    """Up to a few microseconds, another time each time: so that the step into sleep meets the producer's next publish
    at every offset, which a reader in a steady rhythm never would."""
    cdef uint64_t spins = mix(index, 77) % 8192
    while spins:
        spins -= 1
        fence_compiler()


cdef bint sleep_until_rung(ring *r, doorbell *d, uint64_t *board) noexcept nogil:
    """As a consumer of the product sleeps. Counts the alarms, and those that were lost wake-ups."""
    cdef pollfd p
    cdef int woken
    p.fd = d.fd
    p.events = POLLIN
    doorbell_arm(d)
    if ring_pending(r) == 0:
        add_relaxed_u64(&board[SLEEPS], 1)
        woken = poll(&p, 1, ALARM_MS)
        if woken == 0:
            add_relaxed_u64(&board[ALARMS], 1)
            if ring_pending(r) != 0 and poll(&p, 1, LATE_MS) == 0:
                add_relaxed_u64(&board[LOST_WAKEUPS], 1)
                store_release_u64(&board[STOP], 1)  # one is enough
    doorbell_clear(d)
    doorbell_disarm(d)
    return True


def consume(
    Lane lane not None, int which, int bell, bint at_most_once, uint32_t batch, uint64_t[::1] board, uint8_t[::1] acted,
    uint64_t stride,
):
    """Read, check and act until the board says stop and the ring is empty."""
    cdef ring r
    cdef doorbell d
    cdef checker c
    cdef int refused
    c.started = False
    lane.open_doorbell(bell, &d)
    refused = ring_open_consumer(&r, lane.segment.base, lane.segment.size, &lane.header.rings[which], at_most_once)
    if refused:
        raise ValueError("refused")
    with nogil:
        while True:
            if consume_batch(&r, &c, batch, &board[0], &acted[0], stride) == 0:
                dawdle(c.last.index if c.started else 0)
                if consume_batch(&r, &c, batch, &board[0], &acted[0], stride):
                    continue
                if load_acquire_u64(&board[STOP]) and ring_pending(&r) == 0:
                    break
                sleep_until_rung(&r, &d, &board[0])


def consume_batches(
    Lane lane not None, int which, bint at_most_once, uint32_t batch, uint64_t[::1] board, uint8_t[::1] acted,
    uint64_t stride, long poison=-1,
):
    """Read until the ring is empty, without doorbell; die for sure on the record with index `poison`."""
    cdef ring r
    cdef checker c
    c.started = False
    if ring_open_consumer(&r, lane.segment.base, lane.segment.size, &lane.header.rings[which], at_most_once) < 0:
        raise ValueError("refused")
    if poison >= 0:
        return consume_poison(&r, poison, acted)
    while consume_batch(&r, &c, batch, &board[0], &acted[0], stride):
        pass
    return None


cdef consume_poison(ring *r, long poison, uint8_t[::1] acted):
    """An at-least-once reader that one record kills, every time."""
    cdef record *x
    while True:
        x = ring_next(r)
        if x == NULL:
            ring_release(r)
            if ring_pending(r) == 0:
                return
            continue
        if x.slot == <uint32_t>poison:
            fault_arm(1)
            fault_point()
        acted[x.slot] += 1


def read_anything(Lane lane not None, int which, bint at_most_once, uint32_t most):
    """Be the reader of a mad producer: touch every byte of up to `most` records, believe none. Gives their number."""
    cdef ring r
    cdef record *x
    cdef uint32_t n = 0, i
    cdef uint64_t sum = 0
    if ring_open_consumer(&r, lane.segment.base, lane.segment.size, &lane.header.rings[which], at_most_once) < 0:
        raise ValueError("refused")
    with nogil:
        while n < most:
            x = ring_next(&r)
            if x == NULL:
                break
            for i in range(r.payload_size):
                sum += r.payload[i]
            n += 1
        ring_release(&r)
    return n, sum
