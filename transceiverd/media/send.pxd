# cython: language_level=3
"""Filling in the record of a packet that leaves through a worker (layout.h, struct record, direction out)."""
from libc.stdint cimport uint16_t, uint32_t

from shm.layout cimport RINGLINE_RECORD_SEND, flow_key, record

from transceiverd.media.state cimport call, media_thread

cdef enum:
    NO_FLOW = 0xFFFFFFFF  # the worker looks the key up itself


cdef inline void fill_record(
    media_thread *m, call *c, record *x, const flow_key *target, uint16_t worker
) noexcept nogil:
    x.type = RINGLINE_RECORD_SEND
    x.worker = worker
    x.flow_index = <uint32_t>NO_FLOW
    x.slot = c.slot
    x.generation = c.generation
    x.incarnation = m.incarnation
    x.origin = c.session.origin
    x.origin_machine = <uint16_t>(c.session.origin >> 48)
    x.key = target[0]
