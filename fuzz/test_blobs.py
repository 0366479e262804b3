"""For any damage to a call's two blobs either a blob that was written, whole, or none; never another exception."""

from hypothesis import given
from hypothesis import strategies as st

from fuzz.oracle import examples
from shm import layout
from shm.session import BLOB_MAX, SessionSegment

BLOBS = layout.SESSIONS_OFFSET + layout.size("session")
# Mostly in the few words before the bytes, where damage could be believed.
PLACES = st.one_of(st.integers(0, 80), st.integers(0, layout.SESSION_BLOB - 1))
DAMAGE = st.lists(st.tuples(st.booleans(), PLACES, st.integers(0, 255)), max_size=6)


@examples(120)
@given(blobs=st.lists(st.binary(max_size=600), min_size=1, max_size=3), damage=DAMAGE)
def test_blobs_any_damage(blobs: list[bytes], damage: list[tuple[bool, int, int]]) -> None:
    sessions = SessionSegment.create(1, 0)
    record = sessions.record(sessions.allocate(1) or 0)
    for blob in blobs:
        record.write_blob(blob)
    with memoryview(sessions.segment) as memory:
        for second, place, value in damage:
            memory[BLOBS + second * layout.SESSION_BLOB + place] = value
    assert record.read_blob() in (*blobs[-2:], None)
    record.write_blob(b"and on" * 100)
    assert record.read_blob() == b"and on" * 100


@examples(20)
@given(size=st.integers(BLOB_MAX - 2, BLOB_MAX))
def test_blobs_to_the_last_byte(size: int) -> None:
    sessions = SessionSegment.create(1, 0)
    record = sessions.record(sessions.allocate(1) or 0)
    record.write_blob(b"x" * size)
    assert record.read_blob() == b"x" * size
