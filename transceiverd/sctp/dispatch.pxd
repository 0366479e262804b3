# cython: language_level=3
# Types for dispatch.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.association cimport Association
from transceiverd.sctp.chunks cimport Data, Sack
from transceiverd.sctp.packet cimport Packet
from transceiverd.sctp.reassembly cimport Reassembly
from transceiverd.sctp.reception cimport Reception
from transceiverd.sctp.reset cimport StreamReset


@cython.locals(had_data=cython.bint)
cpdef object take(Association association, Packet packet, long long now)
cpdef object require_tag(Association association, unsigned int tag, object first)
cpdef bint take_chunk(Association association, object chunk, unsigned int tag, long long now) except -1
cpdef object on_data(Association association, Data chunk)
@cython.locals(reception=Reception, reset=StreamReset, messages=list)
cpdef object settle(Association association, bint had_data, long long now)
@cython.locals(reception=Reception, reset=StreamReset, at=cython.longlong)
cpdef object next_timeout(Association association)
