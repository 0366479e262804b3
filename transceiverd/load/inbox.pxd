# cython: language_level=3
"""Datagrams for the control thread: a bounded queue without a lock, as `orders.pxd` in the other direction.

The packet thread writes a letter and then moves `tail` with release; the control thread reads `tail` with acquire, takes
the letter, and gives its room back by moving `head` with release, which the packet thread reads with acquire.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from shm.atomics cimport load_acquire_u64, store_release_u64
from transceiverd.load.stream cimport PACKET_MAX

cdef enum:
    INBOX_MAX = 4096             # datagrams: more than a storm of handshakes leaves waiting in 50 ms

cdef struct letter:
    uint32_t place               # the call's
    uint32_t size
    uint8_t data[PACKET_MAX]

cdef struct inbox:
    uint64_t head                # next to read
    uint8_t apart[64]
    uint64_t tail                # next to write
    uint64_t full                # dropped for want of room
    letter letters[INBOX_MAX]


cdef inline void inbox_put(inbox *box, uint32_t place, const uint8_t *data, uint32_t size) noexcept nogil:
    cdef letter *x = &box.letters[box.tail % INBOX_MAX]
    if box.tail - load_acquire_u64(&box.head) >= INBOX_MAX:
        box.full += 1
        return
    x.place = place
    x.size = size
    memcpy(x.data, data, size)
    store_release_u64(&box.tail, box.tail + 1)


cdef inline letter *inbox_next(inbox *box) noexcept nogil:
    """The oldest; NULL: none. Good until `inbox_done`."""
    if box.head == load_acquire_u64(&box.tail):
        return NULL
    return &box.letters[box.head % INBOX_MAX]


cdef inline void inbox_done(inbox *box) noexcept nogil:
    store_release_u64(&box.head, box.head + 1)
