# cython: language_level=3
"""The addresses of one call: written by its control thread, read whole by its media thread, under a seqlock.

Goals: media takes all addresses and the nomination as of one moment, without a lock and without ever waiting: a control
thread that died or was put to sleep in the middle costs it a bounded number of tries. A control process killed at any
store leaves each address absent or whole (`id` goes to 0 first and comes back last). README.md argues each store.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t

from shm.atomics cimport load_acquire_u64
from shm.layout cimport session, session_address


# What media keeps: its own copy of the addresses and the sequence it was taken at.
cdef struct session_addresses:
    uint64_t sequence  # of the copy; even
    uint32_t count     # places in use
    int32_t nominated  # place in `addresses`, -1: none
    session_address addresses[4]


# Copies the addresses as they were at one moment. False when the writer was in the middle of a change at each try
# (about two microseconds in all): `copied` is then as it was, and the caller goes on with it.
cdef bint session_read_addresses(const session *call, session_addresses *copied) noexcept nogil

# What a new writer does after its predecessor died, at the latest before its own first change.
cdef void session_recover_addresses(session *call) noexcept nogil


cdef inline bint session_addresses_changed(const session *call, const session_addresses *copied) noexcept nogil:
    """One load: whether the copy is out of date (or a change is under way)."""
    return load_acquire_u64(&call.address_sequence) != copied.sequence


cdef class SessionAddresses:
    cdef session *call
    cdef object owner  # keeps the mapping alive

    cdef int _place(self, place) except -1
    cdef int _used(self, place) except -1
    @staticmethod
    cdef SessionAddresses over(session *call, object owner)
