# cython: language_level=3
"""SRTP that came before its keys (DESIGN 2.5)."""
from libc.stdint cimport uint16_t, uint32_t, uint8_t

from shm.layout cimport record

from transceiverd.media.state cimport early_call, media_thread

# Keep a copy of the packet, or say under which outcome it is dropped; OUTCOME_KEPT: kept.
cdef int early_keep(
    media_thread *m, const record *header, const uint8_t *payload, uint32_t size, uint32_t lane
) noexcept nogil

# What is kept for a call; NULL: nothing. The caller frees it with `early_free`.
cdef early_call *early_find(media_thread *m, uint32_t slot, uint16_t generation) noexcept nogil
cdef void early_free(media_thread *m, early_call *block) noexcept nogil

# Drop what waited too long. Costs nothing while nothing is kept.
cdef void early_expire(media_thread *m) noexcept nogil
# Drop what is kept for a slot, whatever its generation.
cdef void early_discard(media_thread *m, uint32_t slot) noexcept nogil
