# cython: language_level=3
"""A replay window as a Python object, for tests and for clients written in Python; the rules stand in replay.pxd."""
from libc.stdint cimport uint64_t


cdef class ReplayWindow:
    """Authenticated indexes of one stream; see replay.pxd for what the words mean."""

    cdef uint64_t highest
    cdef uint64_t window[2]

    def estimate(self, sequence):
        """The index that a packet with this sequence number has, 48 bits."""
        return estimate_index(self.highest, sequence)

    def check(self, index):
        """0 fresh, 1 seen, 2 too old."""
        return <int>replay_check(self.highest, self.window, index)

    def add(self, index):
        """Note an authenticated index that was fresh."""
        replay_add(&self.highest, self.window, index)
