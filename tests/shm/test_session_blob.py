"""The blob of a call: written whole or not at all, whoever dies, and read whole while it is written."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shm import layout
from shm.session import BLOB_MAX, SessionRecord, SessionSegment
from tests.shm.faultbuild import fault_module, killed_at
from tests.shm.processes import fork, reap


def one_call() -> tuple[SessionSegment, SessionRecord]:
    sessions = SessionSegment.create(1, 0)
    return sessions, sessions.record(sessions.allocate(1) or 0)


@settings(max_examples=50, deadline=None)
@given(blobs=st.lists(st.binary(max_size=BLOB_MAX), min_size=1, max_size=5))
def test_session_blob_reads_what_was_written_last(blobs: list[bytes]) -> None:
    _, record = one_call()
    assert record.read_blob() is None
    for blob in blobs:
        record.write_blob(blob)
        assert record.read_blob() == blob


def test_session_blob_too_long_is_refused_and_changes_nothing() -> None:
    _, record = one_call()
    record.write_blob(bytes(BLOB_MAX))
    with pytest.raises(ValueError, match="blob"):
        record.write_blob(bytes(BLOB_MAX + 1))
    assert record.read_blob() == bytes(BLOB_MAX)


@pytest.mark.parametrize("already", [0, 1, 2])
def test_session_blob_writer_killed_at_every_store(already: int) -> None:
    """A reader gets the old or the new one whole, before and after a successor takes over, who then writes its own."""
    deadly = fault_module("session", "session_addresses", "session_state").SessionSegment
    new = b"new" * 1500
    outcomes = set()
    for store in range(1, 200):
        sessions, record = one_call()
        old = None
        for i in range(already):
            old = bytes([i]) * 5000
            record.write_blob(old)
        writer = deadly.attach(os.dup(sessions.fd)).record(0)
        died = killed_at(store, lambda writer=writer: writer.write_blob(new))
        seen = record.read_blob()
        assert seen in (old, new)
        outcomes.add(seen)
        successor = SessionSegment.attach(os.dup(sessions.fd)).record(0)
        assert successor.read_blob() == seen
        successor.write_blob(b"successor")
        assert record.read_blob() == b"successor"
        if not died:
            assert seen == new
            assert outcomes == {old, new}
            assert store > 15
            return
    raise AssertionError("no end")


def test_session_blob_is_read_whole_while_it_is_written() -> None:
    sessions, record = one_call()
    record.write_blob(bytes(4000))

    def write() -> None:
        for i in range(20_000):
            record.write_blob(bytes([i % 256]) * (3000 + i % 2000))

    reader = SessionSegment.attach(os.dup(sessions.fd), writer=False).record(0)
    child = fork(write)
    seen = 0
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        blob = reader.read_blob()
        if blob is not None:
            assert len(set(blob)) == 1
            seen += 1
    assert reap(child) == 0
    assert seen > 0


def test_session_blob_that_fails_its_checksum_is_none() -> None:
    """A copy that was damaged on its way to another machine."""
    sessions, record = one_call()
    record.write_blob(b"x" * 100)
    memory = memoryview(sessions.segment)
    start = layout.SESSIONS_OFFSET + layout.size("session")
    for which in (0, 1):
        memory[start + which * layout.SESSION_BLOB + layout.offset("session_blob", "bytes") + 50] ^= 1
    assert record.read_blob() is None


def test_session_blob_length_beyond_the_blob_is_none() -> None:
    sessions, record = one_call()
    record.write_blob(b"x" * 100)
    memory = memoryview(sessions.segment)
    start = layout.SESSIONS_OFFSET + layout.size("session") + layout.offset("session_blob", "length")
    for which in (0, 1):
        at = start + which * layout.SESSION_BLOB
        memory[at : at + 4] = (BLOB_MAX + 1).to_bytes(4, "little")
    assert record.read_blob() is None
