# cython: language_level=3
"""Where a call's media comes from and goes to (DESIGN 2.4), read from control's table under its seqlock."""
from libc.stdint cimport uint32_t

from shm.layout cimport flow_key, record

from transceiverd.media.state cimport call, media_thread

# An authentic packet came with this record, by this lane: its address is proven; control is told once an address, and
# again while the address is in dispute.
cdef void prove_address(media_thread *m, call *c, const record *header, uint32_t lane) noexcept nogil

# Where to send now; NULL: no address is proven. Valid until the next call of this module.
cdef const flow_key *send_target(media_thread *m, call *c) noexcept nogil
