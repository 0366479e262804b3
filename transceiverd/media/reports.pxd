# cython: language_level=3
"""RTCP: what the client reports, and what we report (RFC 3550 section 6)."""
from libc.stdint cimport uint32_t

from shm.layout cimport flow_key

from transceiverd.media.state cimport call, media_thread

# `m.packet` holds an authentic compound of `size` bytes. Returns the packet's outcome.
cdef int reports_read(media_thread *m, call *c, uint32_t size) noexcept nogil

# Send our report now and set the time of the next.
cdef void report_send(media_thread *m, call *c) noexcept nogil
# The last report, with BYE, sealed in `m.report`: its size, and where it goes; 0: no address is proven, consent ran
# out, or no SRTCP index is left. Whoever calls it says whether it was handed over (BYES_SENT).
cdef uint32_t report_seal_bye(media_thread *m, call *c, flow_key *target) noexcept nogil
# When a call is installed: its first report, even if it never sends a packet.
cdef void report_schedule(media_thread *m, call *c) noexcept nogil
