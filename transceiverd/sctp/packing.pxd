# cython: language_level=3
# Types for packing.py when it is compiled; what each thing means stands there.

import cython
from transceiverd.sctp.association cimport Association
from transceiverd.sctp.reception cimport Reception
from transceiverd.sctp.transmission cimport Transmission
from transceiverd.sctp.writing cimport packet


@cython.locals(parts=list, zero_checksum=cython.bint)
cpdef object make_packet(Association association)
@cython.locals(parts=list, control=list, room=cython.int, may_send_data=cython.bint, reception=Reception)
cpdef list chunks_due(Association association)
@cython.locals(transmission=Transmission, reception=Reception, now=cython.longlong, place=Py_ssize_t, waits=cython.bint)
cpdef object fill(Association association, list parts, int room)
