# cython: language_level=3
"""When each call sends: a wheel that turns once a period. A call that talks stands in one slot and is put in once."""
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

cdef struct wheel:
    uint32_t *first              # for each slot a call's place and one; 0: nobody
    uint32_t *next               # for each place the next of its slot, likewise
    uint32_t slots
    int talkers


cdef inline bint wheel_open(wheel *w, uint32_t slots, uint32_t places) noexcept nogil:
    w.first = <uint32_t *>calloc(slots, sizeof(uint32_t))
    w.next = <uint32_t *>calloc(places, sizeof(uint32_t))
    w.slots, w.talkers = slots, 0
    return w.first != NULL and w.next != NULL


cdef inline void wheel_close(wheel *w) noexcept nogil:
    free(w.first)
    free(w.next)


cdef inline uint32_t *wheel_slot(const wheel *w, uint32_t place) noexcept nogil:
    return &w.first[(place * 17) % w.slots]  # neighbours stand apart, all slots fill alike


cdef inline void wheel_put(wheel *w, uint32_t place) noexcept nogil:
    cdef uint32_t *first = wheel_slot(w, place)
    w.next[place] = first[0]
    first[0] = place + 1
    w.talkers += 1


cdef inline void wheel_take(wheel *w, uint32_t place) noexcept nogil:
    cdef uint32_t *link = wheel_slot(w, place)
    while link[0] != place + 1:
        link = &w.next[link[0] - 1]
    link[0] = w.next[place]
    w.talkers -= 1


cdef inline uint64_t wheel_pause(const wheel *w, uint64_t tick) noexcept nogil:
    """Empty slots from this tick on; a whole turn at most."""
    cdef uint64_t ahead = 0
    while ahead < w.slots and not w.first[(tick + ahead) % w.slots]:
        ahead += 1
    return ahead
