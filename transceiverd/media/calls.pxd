# cython: language_level=3
"""Installing, removing and rebuilding calls, as control commands."""
from libc.stdint cimport uint32_t

from transceiverd.media.state cimport media_thread

# Carry out what waits in the command ring, as far as the event ring has room. Returns how many commands.
cdef uint32_t calls_serve(media_thread *m) noexcept nogil
# Whether `calls_serve` would find something to do; commands without room for their events are no work.
cdef bint calls_waiting(media_thread *m) noexcept nogil
# Free every call; for the engine's end.
cdef void calls_free(media_thread *m) noexcept nogil
