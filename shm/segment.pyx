# cython: language_level=3
"""A segment: memory without a name that two processes share (DESIGN 2.11).

Called by the supervisors, which make segments, and by whoever gets one over a Unix socket (`shm.attach`). A segment is
a memfd: mode 0600 before the first byte is written, allocated in full (a full machine refuses the creation; it never
kills a process that stores into memory it was promised), then sealed against growing and shrinking, so that no peer
can pull pages from under a mapping (SIGBUS). It starts with struct segment_header.

Leaves out: what is inside (lane, flows, session, counters), and F_SEAL_FUTURE_WRITE, which would stop the map of a
successor.
"""
import errno
import fcntl
import os

from shm.errors import LayoutRefused

from libc.stdint cimport uint64_t
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap
from posix.unistd cimport close as close_descriptor

from shm.atomics cimport load_acquire_u64, load_relaxed_u64, store_release_u64
from shm.layout cimport RINGLINE_LAYOUT_MAJOR, RINGLINE_LAYOUT_MINOR, RINGLINE_MAGIC, segment_header

# The majors this release can attach to: its own and the one before. Major 1 is the first.
SUPPORTED_MAJORS = (RINGLINE_LAYOUT_MAJOR,)

SEALS = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
SIZE_MAX = 1 << 36  # 64 GiB: far above any configuration; keeps sums of offsets far from overflow
BLOCK = 512  # bytes of one st_blocks, stat(2)
MFD_NOEXEC_SEAL = 0x8  # Linux 6.3; Debian 12's 6.1 refuses it with EINVAL


cdef class Segment:
    """One mapping of one segment. `memoryview(segment)` gives its bytes, writable.

    `close()` closes the descriptor at once and unmaps when the last view is gone; the same happens on deletion.
    """

    def __cinit__(self):
        self.fd = -1

    @staticmethod
    def create(int kind, size, *, index=0, peer_index=0, incarnation=0, name="segment", major=None):
        """Make, allocate, fill in and seal a segment of `size` bytes. OSError when memory or descriptors run out.

        `major`: the layout to make it in, which both sides agreed on; None: this release's own.
        """
        if not sizeof(segment_header) <= size <= SIZE_MAX:
            raise ValueError(f"a segment has {sizeof(segment_header)} to {SIZE_MAX} bytes, not {size}")
        if major is not None and major not in SUPPORTED_MAJORS:
            raise LayoutRefused("layout major", major, " and ".join(map(str, SUPPORTED_MAJORS)))
        cdef Segment self = Segment.__new__(Segment)
        fd = _memfd(f"ringline-{name}")
        try:
            os.fchmod(fd, 0o600)
            os.posix_fallocate(fd, 0, size)
            self._map(fd, size)
            self.minor = RINGLINE_LAYOUT_MINOR
            self._fill_in(kind, index, peer_index, incarnation)
            if major is not None:
                self.header.major = major
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
        except BaseException:
            os.close(fd)
            raise
        self.fd = fd
        return self

    @staticmethod
    def attach(int fd, int kind):
        """Map a segment that somebody else made. Owns `fd` from then on; when it is refused, the caller still does.

        LayoutRefused: not sealed, not allocated in full, not a Ringline segment, another kind, another size, or a major
        that we do not speak.
        """
        cdef Segment self = Segment.__new__(Segment)
        _check_seals(fd)
        status = os.fstat(fd)
        size = status.st_size
        if not sizeof(segment_header) <= size <= SIZE_MAX:
            raise LayoutRefused("segment size in bytes", size, f"{sizeof(segment_header)} to {SIZE_MAX}")
        if status.st_blocks * BLOCK < size:  # its maker promises memory that a store of ours would have to find
            raise LayoutRefused("allocated bytes of a segment", status.st_blocks * BLOCK, size)
        self._map(fd, size)
        self._check_header(kind)
        self.fd = fd
        return self

    def _map(self, int fd, uint64_t size):
        cdef void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
        if address == MAP_FAILED:
            raise OSError(errno.ENOMEM, "mmap of a segment failed")
        self.base = <char *>address
        self.header = <segment_header *>address
        self.size = size

    def _fill_in(self, int kind, index, peer_index, incarnation):
        self.header.magic = RINGLINE_MAGIC
        self.header.major = RINGLINE_LAYOUT_MAJOR
        self.header.minor = self.minor
        self.header.kind = kind
        self.header.header_size = sizeof(segment_header)
        self.header.size = self.size
        self.header.index = index
        self.header.peer_index = peer_index
        self.header.incarnation = incarnation
        self.kind = kind

    cdef int restore_header(self, int index, int peer_index, int major) except -1:
        """What never changes and who attaches asks for, written once more: somebody else may have written there."""
        cdef segment_header *header = self._open_header()
        header.magic, header.major, header.kind, header.size = RINGLINE_MAGIC, major, self.kind, self.size
        header.index, header.peer_index = index, peer_index
        return 0

    def _check_header(self, int kind):
        if self.header.magic != RINGLINE_MAGIC:
            raise LayoutRefused("segment magic", hex(self.header.magic), hex(RINGLINE_MAGIC))
        if self.header.major not in SUPPORTED_MAJORS:
            raise LayoutRefused("layout major", self.header.major, " and ".join(map(str, SUPPORTED_MAJORS)))
        if self.header.kind != kind:
            raise LayoutRefused("segment kind", self.header.kind, kind)
        if self.header.size != self.size:
            raise LayoutRefused("segment size in its header", self.header.size, self.size)
        self.kind = kind
        self.minor = self.header.minor

    def mend(self, index, peer_index=0):
        """Put right what says what this segment is, and gives whether somebody had written over it.

        For its maker: the process that works here may store to all of it, and a broken one ruins more than its own
        part, for nobody could attach to the segment again. What changes while it is used (heartbeat, incarnation) stays.
        """
        cdef segment_header *header = self._open_header()
        found = (header.magic, header.major, header.minor, header.kind, header.header_size, header.size,
                 header.index, header.peer_index)
        major = header.major if header.major in SUPPORTED_MAJORS else RINGLINE_LAYOUT_MAJOR
        wanted = (RINGLINE_MAGIC, major, self.minor, self.kind, sizeof(segment_header), self.size,
                  index, peer_index)
        if found == wanted:
            return False
        self._fill_in(self.kind, index, peer_index, header.incarnation)
        header.major = major
        return True

    cdef int hold(self) except -1:
        """Somebody keeps a pointer into the mapping."""
        if self.fd < 0:
            raise ValueError("the segment is closed")
        self.views += 1
        return 0

    cdef void let_go(self) noexcept:
        self.views -= 1
        self._unmap()

    cdef void _unmap(self) noexcept:
        if self.fd < 0 and self.views == 0 and self.base != NULL:
            munmap(self.base, self.size)
            self.base = NULL
            self.header = NULL

    def close(self):
        """Close the descriptor; the mapping goes with the last view. Native ring handles must be out of use."""
        cdef int fd = self.fd
        self.fd = -1
        self._unmap()
        if fd >= 0:
            close_descriptor(fd)

    def __dealloc__(self):
        self.views = 0
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        self.hold()
        try:
            PyBuffer_FillInfo(buffer, self, self.base, <Py_ssize_t>self.size, 0, flags)
        except BaseException:
            self.let_go()
            raise

    def __releasebuffer__(self, Py_buffer *buffer):
        self.let_go()

    cdef segment_header *_open_header(self) except NULL:
        if self.base == NULL:
            raise ValueError("the segment is closed")
        return self.header

    @property
    def major(self):
        """The layout it was made in."""
        return self._open_header().major

    @property
    def index(self):
        """Worker k, or transceiver t for what belongs to a transceiver."""
        return self._open_header().index

    @property
    def peer_index(self):
        """Lanes: worker k."""
        return self._open_header().peer_index

    @property
    def incarnation(self):
        """Of the process that writes here now; 0: none. SYNC: acquire; PARTNER: the setter's release."""
        return load_acquire_u64(&self._open_header().incarnation)

    @incarnation.setter
    def incarnation(self, uint64_t value):
        store_release_u64(&self._open_header().incarnation, value)

    @property
    def heartbeat(self):
        """Turns of the writer's loop."""
        return load_relaxed_u64(&self._open_header().heartbeat)

    @property
    def heartbeat_ns(self):
        """CLOCK_MONOTONIC of the last turn, nanoseconds."""
        return load_relaxed_u64(&self._open_header().heartbeat_ns)

    def beat(self, uint64_t now):
        """One more turn, at `now` nanoseconds."""
        segment_beat(self._open_header(), now)


cdef extern from "Python.h":
    int PyBuffer_FillInfo(Py_buffer *view, object exporter, void *buf, Py_ssize_t len, int readonly, int f) except -1


def _memfd(name):
    """An anonymous file that can be sealed and that no exec inherits; not executable where Linux knows how."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create(name, flags)


def _check_seals(fd):
    """Without these seals the peer could shrink the file, and our next load would be a SIGBUS."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise LayoutRefused("segment", f"a descriptor without seals ({error.strerror})", "sealed memfds") from None
    if seals & SEALS != SEALS:
        raise LayoutRefused("segment seals", hex(seals), f"at least {hex(SEALS)} (GROW, SHRINK, SEAL)")
