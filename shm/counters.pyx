# cython: language_level=3
"""Making, naming and reading counters; counters.pxd says what they are for. DESIGN 2.9.

Called by the supervisors (make, hand over, read after a death), by every process that counts, and by status and
metrics. Heartbeat and incarnation are the segment's: `counters.segment.beat(now)`. Left out: gauges with a history,
histograms.
"""
from libc.stdint cimport uint64_t
from libc.string cimport memcpy

from shm.layout cimport RINGLINE_COUNTER_NAME, RINGLINE_SEGMENT_COUNTERS, counter, counters_header
from shm.segment cimport Segment


cdef enum:
    COUNTERS_MAX = 4096  # many times what any process counts; a stranger's number must not keep its reader busy


cdef int counters_open(counters *opened, char *base, uint64_t size) noexcept nogil:
    cdef counters_header *header = <counters_header *>base
    cdef uint64_t count
    if size < sizeof(counters_header):
        return -1
    count = header.count
    if count > COUNTERS_MAX or count > (size - sizeof(counters_header)) / sizeof(counter):
        return -1
    opened.header = header
    opened.items = <counter *>(base + sizeof(counters_header))
    opened.count = count
    return 0


cdef class Counters:
    """One thread's counters. Whoever adds must be that thread; reading is free to all who hold the descriptor."""

    @staticmethod
    def create(names, index=0, incarnation=0, *, peer_index=0):
        """Counters with these names, all 0. Raises ValueError for a name that is too long, not ASCII, or given
        twice."""
        encoded = [_encode(name) for name in names]
        if len(set(encoded)) != len(encoded):
            raise ValueError("a counter's name is given twice")
        cdef Segment segment = Segment.create(
            RINGLINE_SEGMENT_COUNTERS,
            sizeof(counters_header) + len(encoded) * sizeof(counter),
            index=index,
            peer_index=peer_index,
            incarnation=incarnation,
            name="ringline-counters",
        )
        cdef counter *items = <counter *>(segment.base + sizeof(counters_header))
        cdef Py_ssize_t i
        for i, name in enumerate(encoded):
            memcpy(items[i].name, <const char *>name, len(name))
        (<counters_header *>segment.base).count = len(encoded)
        return Counters._over(segment)

    @staticmethod
    def attach(fd):
        """Maps the counters in `fd`; values go on from where they stand."""
        return Counters._over(Segment.attach(fd, RINGLINE_SEGMENT_COUNTERS))

    @staticmethod
    def _over(Segment segment):
        cdef Counters made = Counters.__new__(Counters)
        cdef uint64_t i
        cdef counter *item
        segment.hold()
        made.segment = segment
        if counters_open(&made.values, segment.base, segment.size) != 0:
            raise ValueError("the counters' header does not fit their segment")
        made.positions = {}
        for i in range(made.values.count):
            item = &made.values.items[i]
            made.positions[(<bytes>item.name[:RINGLINE_COUNTER_NAME]).rstrip(b"\0").decode("ascii", "replace")] = i
        return made

    def __dealloc__(self):
        if self.segment is not None:
            self.segment.let_go()

    def mend(self, index):
        """Put right what says what is counted here, as `Segment.mend` does; values stay. Gives whether it was needed."""
        cdef counters_header *header = self.values.header
        cdef counter *item
        cdef bint mended = self.segment.mend(index)
        if header.count != self.values.count:
            header.count = self.values.count
            mended = True
        for name, i in self.positions.items():
            item = &self.values.items[<uint64_t>i]
            wanted = name.encode("ascii", "replace").ljust(RINGLINE_COUNTER_NAME, b"\0")
            if (<bytes>item.name[:RINGLINE_COUNTER_NAME]) != wanted:
                memcpy(item.name, <const char *>wanted, RINGLINE_COUNTER_NAME)
                mended = True
        return mended

    @property
    def fd(self):
        return self.segment.fd

    @property
    def names(self):
        """In the order of their indexes."""
        return tuple(self.positions)

    def index(self, name):
        """The index that native code adds by. Raises KeyError."""
        return self.positions[name]

    def add(self, name, n=1):
        """Raises KeyError for a name that was not given at creation."""
        counter_add(&self.values, self.positions[name], n)

    def set(self, name, value):
        """For what is not a count but a level: calls alive, bytes waiting."""
        cdef uint64_t i = self.positions[name]
        store_relaxed_u64(&self.values.items[i].value, value)

    def __getitem__(self, name):
        return counter_read(&self.values, self.positions[name])

    def read(self):
        """All values by name, each whole, taken one after the other."""
        return {name: counter_read(&self.values, i) for name, i in self.positions.items()}

    @property
    def batch_in_hand(self):
        """Packets that the writer may have taken and not yet booked; a successor reads what its predecessor held."""
        return load_relaxed_u64(&self.values.header.batch_in_hand)

    @batch_in_hand.setter
    def batch_in_hand(self, packets):
        counters_set_batch_in_hand(&self.values, packets)


def _encode(name):
    encoded = name.encode("ascii")
    if not 0 < len(encoded) < RINGLINE_COUNTER_NAME:
        raise ValueError(f"a counter's name has 1 to {RINGLINE_COUNTER_NAME - 1} characters: {name!r}")
    return encoded
