# cython: language_level=3
"""The bounds on checks, one set for each worker, in seconds of the worker's clock (DESIGN 2.9).

A check whose ufrag verifies goes to a transceiver's Python, some 50 us of it, whoever sent it: whoever holds one ufrag,
his own or an overheard one, could keep the control thread from everybody else's checks. Asked by inbound.pyx once the
tag has verified; no allocation, no lock, constant work: one multiplication and one entry.

    from an address whose flow is this call's     at most `flow` a second and address, of which a call has four
    from any other                                at most `slot` a second and call, and
                                                  at most `all` a second together, of which the second half is kept for
                                                  calls that had fewer than GATE_FIRST in this second

Why no flood hurts a legitimate caller. A call is told by its origin, slot and generation, which nobody forges. So a
flood under other ufrags meets their own bounds; and if somebody owns so many calls that the bound of all is reached, a call
that checks for the first time in a second still passes, until `all` / GATE_FIRST such calls have done so. Once answered
it has a flow, and is bounded only with itself. Each address has its own bound, since a check of the call's, overheard
and sent once more from elsewhere, makes that address one of the call's, too: the client's own consent checks must not
suffer from what comes from there. What remains: who overhears a call's ufrag can use up the new addresses of that very
call, in the second in which it needs one; and who also writes under its own address, its checks.

Two of them that fall upon one entry share their bounds; which do is keyed, and one of 65,536. Left out: what transceivers
do with checks (transceiverd/ice).
"""
from libc.stdlib cimport calloc, free

import os


cdef class CheckGate:
    """The counts of one worker. A successor starts with none: a second's worth is all that it could inherit."""

    def __cinit__(self):
        self.native.entries = NULL

    def __init__(self, *, int per_second, int per_second_slot, int per_second_flow):
        self.native.entries = <gate_entry *>calloc(GATE_ENTRIES, sizeof(gate_entry))
        if self.native.entries == NULL:
            raise MemoryError
        self.native.seed = int.from_bytes(os.urandom(8), "little")
        self.native.strange_max = per_second
        self.native.slot_max = per_second_slot
        self.native.flow_max = per_second_flow

    def __dealloc__(self):
        free(self.native.entries)

    def passes(self, origin, flow, now):
        """For tests: whether a check would go on, and count it."""
        return gate_pass(&self.native, origin, flow, now) == GATE_OPEN
