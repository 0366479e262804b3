# cython: language_level=3
"""The media thread: one native loop a transceiver, without the GIL (DESIGN 1).

`turn(now)` does one bounded round over commands, every lane's media ring, early packets and due reports; it reads no
clock and makes no system call but the write to a sleeper's doorbell, so tests drive it with a clock of their own.
`run()` is the thread: turns while there is work, then arm all doorbells, look again, sleep (20 ms at most, a counted
alarm when work is found after it). What a packet goes through stands in receive.pyx; who calls what in README.md.

Not here: placement on a CPU (whoever starts the thread does that), and any decision about calls (port.py, session.py).
"""
from libc.stdint cimport uint8_t
from libc.stdlib cimport calloc, free

from shm.atomics cimport load_acquire_u32, store_release_u32
from shm.counters cimport counters_set_batch_in_hand
from shm.doorbell cimport doorbell_arm, doorbell_clear, doorbell_disarm, doorbell_ring
from shm.lane cimport Lane
from shm.layout cimport (
    RINGLINE_RING_MEDIA_IN,
    RINGLINE_RING_MEDIA_OUT,
    RINGLINE_SEGMENT_SESSIONS,
    RINGLINE_SESSION_STRIDE,
    RINGLINE_SESSIONS_OFFSET,
    record,
    sessions_header,
)
from shm.nap cimport nap_count, nap_length, nap_open, nap_rule
from shm.ring cimport ring_next, ring_pending, ring_publish, ring_release, ring_take
from shm.segment cimport segment_beat

from transceiverd.media.calls cimport calls_free, calls_serve, calls_waiting
from transceiverd.media.early cimport early_expire
from transceiverd.media.outcomes cimport COUNTERS, DOORBELLS, LOST_WAKEUPS, RECEIVED, SLEEPS, TURNS
from transceiverd.media.placement cimport LOOK_NS, placement, placement_begin, placement_look
from transceiverd.media.receive cimport receive_record
from transceiverd.media.reports cimport report_send
from transceiverd.media.state cimport (
    LANES_MAX,
    PACKET_MAX,
    PACKET_TAIL,
    SECOND,
    call,
    count,
    early_call,
    lane_end,
    timer_entry,
)
from transceiverd.media.timers cimport timer_due

import os

cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    const short POLLIN

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *time)
    int nanosleep(const timespec *wanted, timespec *left)

cdef extern from "<poll.h>" nogil:  # a GNU extension; Python's own header asks for those
    int ppoll(pollfd *fds, unsigned long count, const timespec *timeout, const void *mask)

cdef enum:
    BATCH_MAX = 256
    REPORTS_A_TURN = 64        # packets come first; at 10,000 calls 2,000 reports a second are due
    # 10-50 ms, so that even a lost wake-up is not heard. Timers do not shorten it: a report may be so late, and those
    # due meanwhile leave together instead of waking everybody one by one.
    SLEEP_NS = 20_000_000

cdef struct taken_record:
    record *header
    uint8_t *payload
    uint32_t size


cdef inline uint64_t _monotonic() noexcept nogil:
    cdef timespec time
    clock_gettime(CLOCK_MONOTONIC, &time)
    return <uint64_t>time.tv_sec * SECOND + <uint64_t>time.tv_nsec


cdef void _publish(media_thread *m, lane_end *lane) noexcept nogil:
    if lane.dirty:
        lane.dirty = False
        ring_publish(&lane.outgoing)
        count(m, DOORBELLS, doorbell_ring(&lane.worker))


cdef uint32_t _serve_lane(media_thread *m, uint32_t place) noexcept nogil:
    """One bounded batch: take it up (at most once, DESIGN 2.6), handle it, give the room back."""
    cdef lane_end *lane = &m.lanes[place]
    cdef taken_record batch[256]
    cdef record header
    cdef uint32_t taken = 0, i
    while taken < m.batch:
        batch[taken].header = ring_next(&lane.incoming)
        if batch[taken].header == NULL:
            break
        batch[taken].payload = lane.incoming.payload
        batch[taken].size = lane.incoming.payload_size
        taken += 1
    if taken == 0:
        return 0
    counters_set_batch_in_hand(m.counters, taken)
    ring_take(&lane.incoming)
    count(m, RECEIVED, taken)
    lane.served += taken
    for i in range(taken):
        header = batch[i].header[0]
        receive_record(m, &header, batch[i].payload, batch[i].size, place)
    ring_release(&lane.incoming)
    counters_set_batch_in_hand(m.counters, 0)
    _publish(m, lane)
    return taken


cdef uint32_t _serve_reports(media_thread *m) noexcept nogil:
    cdef uint32_t sent = 0
    cdef call *c
    while sent < REPORTS_A_TURN:
        c = timer_due(m, m.now)
        if c == NULL:
            break
        report_send(m, c)
        sent += 1
    return sent


cdef uint32_t _turn(media_thread *m, uint64_t now) noexcept nogil:
    cdef uint32_t i, work
    if now > m.now:  # time that goes back is ignored
        m.now = now
    work = calls_serve(m)
    for i in range(m.lane_count):
        work += _serve_lane(m, (m.next_lane + i) % m.lane_count)
    m.next_lane = (m.next_lane + 1) % m.lane_count if m.lane_count else 0
    early_expire(m)
    work += _serve_reports(m)
    for i in range(m.lane_count):
        _publish(m, &m.lanes[i])
    if m.events_dirty:
        m.events_dirty = False
        ring_publish(&m.events)
        count(m, DOORBELLS, doorbell_ring(&m.events_bell))
    count(m, TURNS, 1 if work else 0)
    segment_beat(&m.counters.header.segment, m.now)
    return work


cdef bint _has_work(media_thread *m) noexcept nogil:
    cdef uint32_t i
    if calls_waiting(m):
        return True
    for i in range(m.lane_count):
        if ring_pending(&m.lanes[i].incoming):
            return True
    return False


cdef void _arm(media_thread *m) noexcept nogil:
    cdef uint32_t i
    for i in range(m.lane_count):
        doorbell_arm(&m.lanes[i].own)
    doorbell_arm(&m.commands_bell)


cdef void _disarm(media_thread *m) noexcept nogil:
    cdef uint32_t i
    for i in range(m.lane_count):
        doorbell_disarm(&m.lanes[i].own)
    doorbell_disarm(&m.commands_bell)


cdef uint64_t _sleep(media_thread *m, int media_fd) noexcept nogil:
    """Arm, look again, wait. All lanes share one eventfd; commands have their own. Gives how long it was (ns)."""
    cdef pollfd fds[2]
    cdef timespec timeout
    cdef uint64_t since = 0, until = 0
    _arm(m)
    if not _has_work(m):
        timeout.tv_sec = 0
        timeout.tv_nsec = SLEEP_NS
        fds[0].fd = m.commands_bell.fd
        fds[1].fd = media_fd
        fds[0].events = fds[1].events = POLLIN
        fds[0].revents = fds[1].revents = 0
        count(m, SLEEPS, 1)
        since = _monotonic()
        if ppoll(fds, 2, &timeout, NULL) == 0 and _has_work(m):
            count(m, LOST_WAKEUPS, 1)
        until = _monotonic()
        if fds[0].revents:
            doorbell_clear(&m.commands_bell)
        if fds[1].revents and m.lane_count:
            doorbell_clear(&m.lanes[0].own)
    _disarm(m)
    return until - since


def nap_lengths(bound_ns, turns):
    """After each turn, (packets, time), how long the thread would nap (ns); for tests."""
    cdef nap_rule nap
    nap_open(&nap, bound_ns)
    found = []
    for packets, now in turns:
        nap_count(&nap, packets, now)
        found.append(nap_length(&nap))
    return found


cdef class MediaEngine:
    """The media thread of one transceiver; see engine.pyi for what each argument is."""

    def __init__(
        self, sessions, lanes, Counters counters, Channel channel, *, incarnation, ntp_offset_ns, seed,
        batch=64, early_calls=64, early_time_ns=500_000_000, report_interval_ns=5_000_000_000, coalesce_ns=0,
        follow_worker=False,
    ):
        cdef Segment segment = sessions
        if segment.kind != RINGLINE_SEGMENT_SESSIONS or not 1 <= batch <= BATCH_MAX or len(lanes) > LANES_MAX:
            raise ValueError("not a session segment, or a bound out of range")
        if len(counters.names) < COUNTERS:
            raise ValueError("the counter segment was not made with transceiverd.media.outcomes.COUNTER_NAMES")
        self.sessions, self.counters, self.channel, self.lanes = segment, counters, channel, []
        self.media_fd = -1
        self.coalesce_ns = coalesce_ns
        self.follow_worker = follow_worker
        self.thread.sessions = segment.base
        self.thread.slots = (<sessions_header *>segment.base).slots
        if RINGLINE_SESSIONS_OFFSET + <uint64_t>self.thread.slots * RINGLINE_SESSION_STRIDE > segment.size:
            raise ValueError("the session segment is smaller than it says")
        self.thread.counters = &counters.values
        self.thread.incarnation = incarnation
        self.thread.ntp_offset_ns = ntp_offset_ns
        self.thread.random = (seed & 0xFFFFFFFFFFFFFFFF) or 1
        self.thread.batch = batch
        self.thread.early_time_ns = early_time_ns
        self.thread.report_interval_ns = report_interval_ns
        self._allocate(early_calls)
        channel.open_media(&self.thread)
        for lane in lanes:
            self._open_lane(lane, len(self.lanes))
        self.thread.lane_count = len(self.lanes)

    cdef int _allocate(self, uint32_t early_calls) except -1:
        cdef media_thread *m = &self.thread
        m.early_blocks = early_calls
        m.lanes = <lane_end *>calloc(LANES_MAX, sizeof(lane_end))
        m.calls = <call **>calloc(m.slots, sizeof(call *))
        m.heap = <timer_entry *>calloc(m.slots, sizeof(timer_entry))
        m.early = <early_call *>calloc(max(early_calls, 1), sizeof(early_call))
        self.memory = calloc(2, PACKET_MAX + PACKET_TAIL)
        if m.lanes == NULL or m.calls == NULL or m.heap == NULL or m.early == NULL or self.memory == NULL:
            raise MemoryError
        m.packet = <uint8_t *>self.memory
        m.report = m.packet + PACKET_MAX + PACKET_TAIL
        return 0

    def __dealloc__(self):
        if self.thread.calls != NULL:
            calls_free(&self.thread)
        for memory in (<size_t>self.thread.lanes, <size_t>self.thread.calls, <size_t>self.thread.heap,
                       <size_t>self.thread.early, <size_t>self.memory):
            free(<void *><size_t>memory)

    cdef int _open_lane(self, lane, uint32_t place) except -1:
        cdef Lane opened = lane
        cdef lane_end *end = &self.thread.lanes[place]
        opened.open_consumer(RINGLINE_RING_MEDIA_IN, &end.incoming, True)
        opened.open_producer(RINGLINE_RING_MEDIA_OUT, &end.outgoing)
        opened.open_doorbell(1, &end.own)      # shm.doorbell.MEDIA
        opened.open_doorbell(2, &end.worker)   # shm.doorbell.WORKER
        end.worker_index = opened.worker
        if place == 0:
            self.media_fd = opened.media_fd
        self.lanes.append(opened)
        return 0

    def add_lane(self, lane):
        """Open one lane more and return how many there are; the thread uses it when it gets COMMAND_LANES with that."""
        if len(self.lanes) == LANES_MAX:
            raise ValueError(f"more than {LANES_MAX} lanes")
        self._open_lane(lane, len(self.lanes))
        return len(self.lanes)

    def turn(self, now):
        """One round at `now` (ns, monotonic); how much was done, 0: nothing. Never while `run` runs."""
        cdef uint64_t time = now
        cdef uint32_t work
        with nogil:
            work = _turn(&self.thread, time)
        return work

    def run(self):
        """Be the media thread until `stop`; holds no GIL meanwhile."""
        cdef timespec pause
        cdef uint32_t work
        cdef placement place
        cdef nap_rule nap
        nap_open(&nap, self.coalesce_ns)
        pause.tv_sec = 0
        with nogil:
            placement_begin(&place, self.follow_worker)
            while not load_acquire_u32(&self.stopping):
                work = _turn(&self.thread, _monotonic())
                if self.thread.now >= place.looked_ns + LOOK_NS:
                    placement_look(&place, &self.thread, self.thread.now)
                if work == 0:
                    place.asleep_ns += _sleep(&self.thread, self.media_fd)
                    continue
                nap_count(&nap, work, self.thread.now)
                pause.tv_nsec = <long>nap_length(&nap)
                if pause.tv_nsec and work < self.thread.batch:
                    nanosleep(&pause, NULL)

    def stop(self):
        """Ask `run` to return; from any thread."""
        store_release_u32(&self.stopping, 1)
        os.eventfd_write(self.channel.command_fd, 1)
