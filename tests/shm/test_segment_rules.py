"""A segment: 0600, allocated, sealed, self-describing; anything else is refused in words that name both sides."""

import fcntl
import mmap
import os
import resource
import struct

import pytest

from shm.errors import LayoutRefused
from shm.segment import SEALS, Segment

LANE, FLOWS = 1, 2
SIZE = 65_536
MAJOR_OFFSET, KIND_OFFSET, SIZE_OFFSET = 8, 12, 16


def raw_memfd(size: int, content: bytes = b"", seals: int = SEALS, *, allocated: bool = True) -> int:
    """A memfd as a stranger might make one."""
    fd = os.memfd_create("stranger", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    if allocated and size:
        os.posix_fallocate(fd, 0, size)
    os.ftruncate(fd, size)
    os.pwrite(fd, content, 0)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def refused(fd: int, kind: int = LANE) -> str:
    """The words with which `fd` is refused; it must stay the caller's, open."""
    with pytest.raises(LayoutRefused) as caught:
        Segment.attach(fd, kind)
    os.close(fd)
    return str(caught.value)


def header_with(offset: int, form: str, value: int) -> bytes:
    """A good lane header of SIZE bytes with one field changed."""
    with Segment.create(LANE, SIZE) as segment:
        header = bytearray(memoryview(segment)[:128])
    struct.pack_into(form, header, offset, value)
    return bytes(header)


def test_segment_is_private_allocated_and_sealed() -> None:
    with Segment.create(FLOWS, SIZE) as segment:
        status = os.fstat(segment.fd)
        assert status.st_mode & 0o777 == 0o600
        assert status.st_size == segment.size == SIZE
        assert status.st_blocks * 512 >= SIZE, "no page is left to be found missing later"
        assert not os.get_inheritable(segment.fd)
        for change in (lambda: os.ftruncate(segment.fd, 0), lambda: os.ftruncate(segment.fd, 2 * SIZE)):
            with pytest.raises(PermissionError):
                change()
        with pytest.raises(PermissionError):
            fcntl.fcntl(segment.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_segment_attached_shows_what_its_maker_wrote() -> None:
    with (
        Segment.create(LANE, SIZE, index=3, peer_index=1, incarnation=2**64 - 1, name="lane") as made,
        Segment.attach(os.dup(made.fd), LANE) as seen,
    ):
        assert (seen.kind, seen.major, seen.size) == (LANE, 1, SIZE)
        assert (seen.index, seen.peer_index, seen.incarnation) == (3, 1, 2**64 - 1)
        made.incarnation = 5
        made.beat(123)
        made.beat(456)
        assert (seen.incarnation, seen.heartbeat, seen.heartbeat_ns) == (5, 2, 456)
        memoryview(made)[4096:4100] = b"ring"
        assert bytes(memoryview(seen)[4096:4100]) == b"ring"


def test_segment_of_an_unknown_major_is_refused_naming_both() -> None:
    words = refused(raw_memfd(SIZE, header_with(MAJOR_OFFSET, "H", 7)))
    assert words == "layout major: found 7, this release speaks 1"


def test_segment_of_a_later_minor_is_attached() -> None:
    fd = raw_memfd(SIZE, header_with(MAJOR_OFFSET + 2, "H", 9))
    Segment.attach(fd, LANE).close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bytes(128), "segment magic: found 0x0"),
        (header_with(KIND_OFFSET, "H", FLOWS), "segment kind: found 2, this release speaks 1"),
        (header_with(SIZE_OFFSET, "Q", 2 * SIZE), "segment size in its header: found 131072"),
    ],
)
def test_segment_that_is_something_else_is_refused(content: bytes, words: str) -> None:
    assert words in refused(raw_memfd(SIZE, content))


@pytest.mark.parametrize("seals", [0, fcntl.F_SEAL_GROW, SEALS & ~fcntl.F_SEAL_SHRINK, SEALS & ~fcntl.F_SEAL_SEAL])
def test_segment_that_could_shrink_is_refused(seals: int) -> None:
    """The peer could shrink it under our mapping, and our next load would be a SIGBUS."""
    assert "segment seals" in refused(raw_memfd(SIZE, header_with(MAJOR_OFFSET, "H", 1), seals))


def test_segment_whose_memory_is_only_promised_is_refused() -> None:
    """A store of ours into a hole would have to find the memory, and may not."""
    good = header_with(MAJOR_OFFSET, "H", 1)
    assert "allocated bytes of a segment" in refused(raw_memfd(SIZE, good, allocated=False))
    Segment.attach(raw_memfd(SIZE, good), LANE).close()


def test_segment_must_be_a_memfd_and_hold_a_header() -> None:
    reading, writing = os.pipe()
    os.close(writing)
    assert "without seals" in refused(reading)
    assert "segment size in bytes: found 0" in refused(raw_memfd(0))


@pytest.mark.parametrize("size", [0, 127, 1 << 40])
def test_segment_of_a_foolish_size_is_not_made(size: int) -> None:
    with pytest.raises(ValueError, match="a segment has 128 to"):
        Segment.create(LANE, size)


def test_segment_that_cannot_be_allocated_is_not_made() -> None:
    """Allocated in full means refused now, not killed by SIGBUS later; here a limit plays the full machine."""
    before = os.listdir("/proc/self/fd")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (mmap.PAGESIZE, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            Segment.create(LANE, SIZE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir("/proc/self/fd") == before


def test_segment_closed_with_a_view_stays_mapped_until_the_view_goes() -> None:
    segment = Segment.create(LANE, SIZE)
    view = memoryview(segment)
    segment.close()
    view[200] = 1
    assert view[200] == 1
    view.release()
    segment.close()
    for use in (lambda: memoryview(segment), lambda: segment.incarnation, lambda: segment.beat(1)):
        with pytest.raises(ValueError, match="closed"):
            use()
    assert segment.fd == -1
