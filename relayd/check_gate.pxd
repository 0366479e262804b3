# cython: language_level=3
# How many checks of a call, and of all, a worker passes on in one second. Described in check_gate.pyx.
from libc.stdint cimport uint32_t, uint64_t

cdef enum gate_verdict:
    GATE_OPEN = 0
    GATE_FLOW                   # over the bound of one of a call's own addresses
    GATE_SLOT                   # over the bound of a call's new addresses
    GATE_ALL                    # over the bound of all new addresses

# What one call, or one address of a call, has had in `second`.
cdef struct gate_entry:
    uint32_t second
    uint32_t known
    uint32_t strange

cdef struct check_gate:
    gate_entry *entries         # GATE_ENTRIES of them, by a keyed hash of the origin, or of it and the flow
    uint64_t seed
    uint32_t second             # that `strange` is of
    uint32_t strange            # checks without a flow passed in it
    uint32_t strange_max
    uint32_t slot_max
    uint32_t flow_max

cdef enum:
    GATE_BITS = 16
    GATE_ENTRIES = 1 << GATE_BITS   # calls that share nothing; 12 bytes each, touched when used
    # Checks that a call has first in every second, before the others' further ones: ICE needs one to get through.
    GATE_FIRST = 2


cdef inline gate_verdict gate_pass(check_gate *gate, uint64_t origin, uint64_t flow, uint64_t now) noexcept nogil:
    """Count one check whose ufrag verified. `flow`: one more than the index of the flow it came by, when that is its
    call's; else 0."""
    cdef uint32_t second = <uint32_t>(now // 1000000000)
    cdef gate_entry *entry
    if gate.entries == NULL:
        return GATE_OPEN
    # The flow spreads over the high half, which no origin's low bits undo.
    entry = &gate.entries[((origin ^ gate.seed ^ flow << 32) * <uint64_t>0x9E3779B97F4A7C15ULL) >> (64 - GATE_BITS)]
    if entry.second != second:
        entry.second = second
        entry.known = entry.strange = 0
    if flow:
        if entry.known >= gate.flow_max:
            return GATE_FLOW
        entry.known += 1
        return GATE_OPEN
    if gate.second != second:
        gate.second = second
        gate.strange = 0
    if entry.strange >= gate.slot_max:
        return GATE_SLOT
    if gate.strange >= (gate.strange_max if entry.strange < GATE_FIRST else gate.strange_max // 2):
        return GATE_ALL
    entry.strange += 1
    gate.strange += 1
    return GATE_OPEN


cdef class CheckGate:
    cdef check_gate native
