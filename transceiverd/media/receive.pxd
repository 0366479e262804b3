# cython: language_level=3
"""A record from a media ring, from taking it up to its one outcome."""
from libc.stdint cimport uint8_t, uint32_t

from shm.layout cimport record

from transceiverd.media.state cimport call, media_thread

# Handle one record that came by `lane`, and book its outcome (or keep it: it came before its keys). `header` is our
# copy.
cdef void receive_record(
    media_thread *m, const record *header, const uint8_t *payload, uint32_t size, uint32_t lane
) noexcept nogil

# The call was installed: handle what came before its keys.
cdef void receive_early(media_thread *m, call *c) noexcept nogil
