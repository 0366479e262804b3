# cython: language_level=3
"""Datagrams for the control thread: a bounded queue, written and read under the packet path's lock."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from transceiverd.load.stream cimport PACKET_MAX

cdef enum:
    INBOX_MAX = 4096             # datagrams: more than a storm of handshakes leaves waiting in 50 ms

cdef struct letter:
    uint32_t place               # the call's
    uint32_t size
    uint8_t data[PACKET_MAX]

cdef struct inbox:
    uint64_t head                # next to read
    uint64_t tail                # next to write
    uint64_t full                # dropped for want of room
    letter letters[INBOX_MAX]


cdef inline void inbox_put(inbox *box, uint32_t place, const uint8_t *data, uint32_t size) noexcept nogil:
    cdef letter *x = &box.letters[box.tail % INBOX_MAX]
    if box.tail - box.head >= INBOX_MAX:
        box.full += 1
        return
    x.place = place
    x.size = size
    memcpy(x.data, data, size)
    box.tail += 1


cdef inline letter *inbox_take(inbox *box) noexcept nogil:
    """The oldest; NULL: none. Good until the lock is given back."""
    if box.head == box.tail:
        return NULL
    box.head += 1
    return &box.letters[(box.head - 1) % INBOX_MAX]
