# cython: language_level=3
"""What the control thread has done to calls, for the packet thread: a bounded queue without a lock.

One thread puts, one takes. A place in the queue belongs to whoever its number says: at or above `tail` to the control
thread, which writes an order there and then moves `tail` with release; from `head` to `tail` to the packet thread, which
reads `tail` with acquire, so that it sees the whole order, and moves `head` with release when it has obeyed. Who reads
that `head` is beyond an order with acquire knows that the packet thread will not look at what it took away any more.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from shm.atomics cimport load_acquire_u64, store_release_u64

cdef enum order_kind:
    ORDER_ADD                    # the call's end is there: take what comes for it
    ORDER_SECURE                 # its keys
    ORDER_TALK
    ORDER_HUSH
    ORDER_REMOVE                 # look at neither it nor its socket any more

cdef struct order:
    order_kind kind
    uint32_t place               # the call's
    void *outbound               # srtp_t, of ORDER_SECURE, and so on
    void *inbound
    uint32_t ssrc
    uint32_t timestamp
    uint16_t sequence
    uint8_t payload_type

cdef struct orders:
    order *places
    uint64_t size
    uint64_t head                # next to obey
    uint8_t apart[64]            # written by two threads: not in one cache line
    uint64_t tail                # next to write


cdef inline bint orders_open(orders *queue, uint64_t size) noexcept nogil:
    queue.places = <order *>calloc(size, sizeof(order))
    queue.size = size
    queue.head = queue.tail = 0
    return queue.places != NULL


cdef inline void orders_close(orders *queue) noexcept nogil:
    free(queue.places)


cdef inline bint orders_put(orders *queue, const order *x) noexcept nogil:
    """False: there is no room."""
    if queue.tail - load_acquire_u64(&queue.head) >= queue.size:
        return False
    queue.places[queue.tail % queue.size] = x[0]
    store_release_u64(&queue.tail, queue.tail + 1)
    return True


cdef inline bint orders_obeyed(orders *queue, uint64_t number) noexcept nogil:
    """Whether the order that was the `number`th to be put, counted from one, is done."""
    return load_acquire_u64(&queue.head) >= number


cdef inline const order *orders_next(orders *queue) noexcept nogil:
    """The oldest; NULL: none. Good until `orders_done`."""
    if queue.head == load_acquire_u64(&queue.tail):
        return NULL
    return &queue.places[queue.head % queue.size]


cdef inline void orders_done(orders *queue) noexcept nogil:
    store_release_u64(&queue.head, queue.head + 1)
