# cython: language_level=3, boundscheck=False, wraparound=False
"""Slots and records of a session segment; session.pxd says what they are for. DESIGN 2.2, 2.5, 2.13.

Called by a transceiver's control thread (its only writer), by its supervisor (create), by status (attach as a reader).
Every store that gives a slot out, frees it or writes its blob stands in session_slot.pxd. Left out: what the blob
holds, and when a call may be freed.
"""
cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import os
import zlib
from collections import deque

from shm.session_addresses import SessionAddress
from shm.session_state import MEDIA_FIELDS, STREAM_FIELDS

from shm.atomics cimport load_relaxed_u32, load_relaxed_u64, store_relaxed_u32, store_relaxed_u64
from shm.layout cimport (
    RINGLINE_ORIGIN,
    RINGLINE_SEGMENT_SESSIONS,
    RINGLINE_SESSION_FREE,
    RINGLINE_STREAMS,
    session,
    session_payload,
    sessions_header,
)
from shm.session_slot cimport APPLICATION_SHIFT, blob_copy, blob_write, give_out, store_tag, take_back

SLOTS_MAX = (1 << 24) - 1  # the ufrag's slot field has 24 bits
BLOB_MAX = RINGLINE_SESSION_BLOB - 16  # bytes a blob can hold
CALL_ID_MAX = 47  # characters, so that a NUL follows

cdef enum:
    BLOB_READ_TRIES = 16   # two writes must fall into one read to spoil a try
    PAYLOADS = 8


# ---------------------------------------------------------------------------------------------- the segment

cdef class SessionSegment:
    """All calls of one transceiver. One control thread may allocate and free; it alone attaches as writer."""

    @staticmethod
    def create(slots, transceiver, *, machine=0, incarnation=0):
        """A segment of free slots whose generations start at random (DESIGN 2.2)."""
        if not 1 <= slots <= SLOTS_MAX:
            raise ValueError(f"a session segment has 1 to {SLOTS_MAX} slots, not {slots}")
        size = RINGLINE_SESSIONS_OFFSET + slots * RINGLINE_SESSION_STRIDE
        cdef Segment segment = Segment.create(
            RINGLINE_SEGMENT_SESSIONS, size, index=transceiver, incarnation=incarnation, name="ringline-sessions"
        )
        cdef bytes generations = os.urandom(2 * slots)
        cdef const uint8_t *random_bytes = <const uint8_t *><const char *>generations
        cdef uint32_t i
        (<sessions_header *>segment.base).slots = slots
        for i in range(<uint32_t>slots):
            store_tag(session_at(segment.base, i), <uint16_t>(random_bytes[2 * i] | (random_bytes[2 * i + 1] << 8)),
                      RINGLINE_SESSION_FREE, 0)
        return SessionSegment._over(segment, machine=machine, writer=True)

    @staticmethod
    def attach(fd, *, machine=0, writer=True):
        """Maps the segment in `fd`. A writer finds the free slots in the order they were freed, and repairs what its
        predecessor died in; calls that are still in use are in `used()`."""
        return SessionSegment._over(Segment.attach(fd, RINGLINE_SEGMENT_SESSIONS), machine=machine, writer=writer)

    @staticmethod
    def _over(Segment segment, *, machine, writer):
        cdef SessionSegment made = SessionSegment.__new__(SessionSegment)
        cdef uint64_t slots = (<sessions_header *>segment.base).slots
        if slots == 0 or slots > (segment.size - RINGLINE_SESSIONS_OFFSET) // RINGLINE_SESSION_STRIDE:
            raise ValueError("the session segment's header does not fit its segment")
        segment.hold()
        made.segment = segment
        made.base = segment.base
        made.slots = <uint32_t>slots
        made.machine = machine
        if writer:
            made.recover()
        return made

    def __dealloc__(self):
        if self.segment is not None:
            self.segment.let_go()

    def mend(self, transceiver):
        """Put right what says what this segment is, as `Segment.mend` does. Gives whether it was needed."""
        cdef sessions_header *header = <sessions_header *>self.base
        cdef bint mended = self.segment.mend(transceiver)
        if header.slots != self.slots:
            header.slots = self.slots
            mended = True
        return mended

    def recover(self):
        """What a writer does first: free slots in order, addresses made whole, the count of calls made right."""
        cdef session *call
        cdef uint32_t slot
        free = []
        for slot in range(self.slots):
            call = self._call(slot)
            if session_state(call) == RINGLINE_SESSION_FREE:
                free.append((call.closing_ns, slot))
            else:
                session_recover_addresses(call)
        free.sort()
        self.free_slots = deque(slot for _, slot in free)
        self._book_active()

    cdef object _writer(self):
        if self.free_slots is None:
            raise ValueError("attached as a reader")
        return self.free_slots

    def _book_active(self):
        store_relaxed_u64(&(<sessions_header *>self.base).active, self.slots - len(self.free_slots))

    cdef session *_call(self, slot) except NULL:
        cdef session *call
        if not 0 <= slot < self.slots:
            raise IndexError(f"slot {slot} of {self.slots}")
        call = session_at(self.base, slot)
        if call == NULL:
            raise ValueError("the session segment's header has changed")
        return call

    @property
    def fd(self):
        return self.segment.fd

    @property
    def transceiver(self):
        return self.segment.index

    @property
    def active(self):
        """Slots in use."""
        return load_relaxed_u64(&(<sessions_header *>self.base).active)

    def allocate(self, now):
        """Gives out the slot that was freed first, with the next generation and state NEW; None when all are in use."""
        free = self._writer()
        if not free:
            return None
        cdef uint32_t slot = free.popleft()
        give_out(self._call(slot), slot, RINGLINE_ORIGIN(self.machine, self.transceiver, 0, 0),
                 self.segment.incarnation, now)
        self._book_active()
        return slot

    def free(self, slot, now=None):
        """Wipes the call and puts its slot behind all that were freed before. Media must have acknowledged (DESIGN
        2.5). `now` is remembered as the time of freeing, by which a successor finds the order."""
        free = self._writer()
        cdef session *call = self._call(slot)
        if session_state(call) == RINGLINE_SESSION_FREE:
            raise ValueError(f"slot {slot} is free already")
        if now is not None:
            store_relaxed_u64(&call.closing_ns, now)
        take_back(call)
        free.append(slot)
        self._book_active()

    def record(self, slot):
        """The view of one slot."""
        cdef SessionRecord made = SessionRecord.__new__(SessionRecord)
        made.call = self._call(slot)
        made.owner = self
        return made

    def used(self):
        """The slots that hold a call, in any state."""
        cdef uint32_t slot
        return [slot for slot in range(self.slots) if session_state(self._call(slot)) != RINGLINE_SESSION_FREE]


# ---------------------------------------------------------------------------------------------- the record

@cython.final
@cython.no_gc
cdef class SessionRecord:
    """A view of one slot, made for one call and thrown away with it: two pointers, and the parts that were asked for.

    Control assigns; every attribute is one store. `media` and `streams` are the media thread's and only read here.
    """

    def __init__(self):
        raise TypeError("made by SessionSegment.record")

    @property
    def slot(self):
        return self.call.slot

    @property
    def version(self):
        return self.call.version

    @property
    def generation(self):
        return session_generation(self.call)

    @property
    def state(self):
        """SESSION_* of shm.layout."""
        return session_state(self.call)

    @state.setter
    def state(self, uint8_t value):
        if value == RINGLINE_SESSION_FREE:
            raise ValueError("a slot is freed by SessionSegment.free")
        store_tag(self.call, session_generation(self.call), value, session_tag(self.call) >> APPLICATION_SHIFT)

    @property
    def application(self):
        """1: echo."""
        return session_tag(self.call) >> APPLICATION_SHIFT

    @application.setter
    def application(self, uint8_t value):
        store_tag(self.call, session_generation(self.call), session_state(self.call), value)

    @property
    def incarnation(self):
        return load_relaxed_u64(&self.call.incarnation)

    @incarnation.setter
    def incarnation(self, value):
        store_relaxed_u64(&self.call.incarnation, value)

    @property
    def origin(self):
        return load_relaxed_u64(&self.call.origin)

    @origin.setter
    def origin(self, value):
        store_relaxed_u64(&self.call.origin, value)

    @property
    def created_ns(self):
        return load_relaxed_u64(&self.call.created_ns)

    @property
    def last_check_ns(self):
        return load_relaxed_u64(&self.call.last_check_ns)

    @last_check_ns.setter
    def last_check_ns(self, value):
        store_relaxed_u64(&self.call.last_check_ns, value)

    @property
    def checked_since_ns(self):
        return load_relaxed_u64(&self.call.checked_since_ns)

    @checked_since_ns.setter
    def checked_since_ns(self, value):
        store_relaxed_u64(&self.call.checked_since_ns, value)

    @property
    def connected_ns(self):
        return load_relaxed_u64(&self.call.connected_ns)

    @connected_ns.setter
    def connected_ns(self, value):
        store_relaxed_u64(&self.call.connected_ns, value)

    @property
    def closing_ns(self):
        return load_relaxed_u64(&self.call.closing_ns)

    @closing_ns.setter
    def closing_ns(self, value):
        store_relaxed_u64(&self.call.closing_ns, value)

    @property
    def call_id(self):
        return (<bytes>self.call.call_id[:48]).rstrip(b"\0").decode("ascii", "replace")

    @call_id.setter
    def call_id(self, value):
        cdef bytes encoded = value.encode("ascii")
        cdef uint64_t words[6]
        cdef int i
        if len(encoded) > CALL_ID_MAX:
            raise ValueError(f"a call id has at most {CALL_ID_MAX} characters, not {len(encoded)}")
        memset(words, 0, sizeof(words))
        memcpy(words, <const char *>encoded, len(encoded))
        for i in range(6):
            store_relaxed_u64(<uint64_t *>self.call.call_id + i, words[i])

    @property
    def rtcp_cname(self):
        return load_relaxed_u32(&self.call.rtcp_cname)

    @rtcp_cname.setter
    def rtcp_cname(self, uint32_t value):
        store_relaxed_u32(&self.call.rtcp_cname, value)

    @property
    def local_ssrc(self):
        return load_relaxed_u32(&self.call.local_ssrc)

    @local_ssrc.setter
    def local_ssrc(self, uint32_t value):
        store_relaxed_u32(&self.call.local_ssrc, value)

    @property
    def payloads(self):
        """Accepted payload types: [(payload type, clock rate in Hz)], in the answer's order."""
        return [(self.call.payloads[i].payload_type, self.call.payloads[i].clock_rate)
                for i in range(PAYLOADS) if self.call.payloads[i].in_use]

    @payloads.setter
    def payloads(self, value):
        cdef session_payload payload
        cdef uint64_t word
        cdef int i
        accepted = list(value)
        if len(accepted) > PAYLOADS:
            raise ValueError(f"a call has at most {PAYLOADS} payload types, not {len(accepted)}")
        for i in range(PAYLOADS):
            memset(&payload, 0, sizeof(payload))
            if i < len(accepted):
                payload.in_use = 1
                payload.payload_type, payload.clock_rate = accepted[i]
            memcpy(&word, &payload, sizeof(word))
            store_relaxed_u64(<uint64_t *>&self.call.payloads[i], word)

    @property
    def dtls(self):
        if self._dtls is None:
            self._dtls = DtlsState.over(self.call, self.owner)
        return self._dtls

    @property
    def srtp(self):
        if self._srtp is None:
            self._srtp = SrtpKeys.over(self.call, self.owner)
        return self._srtp

    @property
    def addresses(self):
        if self._addresses is None:
            self._addresses = SessionAddresses.over(self.call, self.owner)
        return self._addresses

    @property
    def media(self):
        return MediaView.over(<char *>&self.call.media, MEDIA_FIELDS, self.owner)

    @property
    def streams(self):
        """The client's streams that media knows."""
        return [MediaView.over(<char *>&self.call.streams[i], STREAM_FIELDS, self.owner)
                for i in range(RINGLINE_STREAMS) if self.call.streams[i].in_use]

    def write_blob(self, data):
        """Makes `data` the call's blob, as a whole or not at all. Raises ValueError when it is too long."""
        cdef bytes content = bytes(data)
        if len(content) > BLOB_MAX:
            raise ValueError(f"a blob has at most {BLOB_MAX} bytes, not {len(content)}")
        blob_write(self.call, content, len(content), zlib.crc32(content))

    def read_blob(self):
        """The blob written last, whole; None when there is none (or it fails its checksum: counts as none)."""
        cdef bytearray room = bytearray(BLOB_MAX)
        cdef uint32_t length = 0, checksum = 0
        cdef int attempt
        for attempt in range(BLOB_READ_TRIES):
            if blob_copy(self.call, <char *>room, &length, &checksum):
                content = bytes(memoryview(room)[:length])
                if zlib.crc32(content) == checksum:
                    return content
        return None
