# cython: language_level=3, boundscheck=False, wraparound=False
"""The relay worker: the packet loop of one CPU (DESIGN 1, 2.1, 2.6, 2.9). For Python see worker.pyi.

Owned by a worker process of relayd (relayd/child.py), which makes one and calls `run` again and again; tests drive it
in a thread. This file is the loop and its books; the parts are

    receiver.pyx     recvmmsg and control messages        inbound.pyx    datagram -> call -> ring record
    transmitter.pyx  sendmmsg                             outbound.pyx   ring record -> flow table, datagram
    lane_ends.pyx    rings and doorbells of all lanes     keyring.pyx    ufrag tags
    waiting.pyx      sleeping until there is something

A turn: receive a batch from each readable socket, route it, show the records, book the outcomes, ring the doorbells;
then take a batch from the out rings, apply and send it. A turn that found nothing arms the doorbells, looks at the out
rings once more and sleeps in epoll. No lock, no allocation, no GIL; no spinning.

What a death costs, and how it is booked. `received` is counted right after recvmmsg, the outcomes after the records are
shown: so a death between leaves received > sum(outcomes), and the successor books the difference as `lost_in_restart`.
Between recvmmsg and `received` the packets are in nobody's book: `batch_in_hand` says how many that can be, and the
successor adds it to `lost_bound`. Out records likewise: `out_records` before sending, outcomes after it.
"""
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.unistd cimport close

from relayd.check_gate cimport CheckGate
from relayd.inbound cimport route_batch
from relayd.keyring cimport Keyring
from relayd.lane_ends cimport LaneEnds, publish_touched, refresh_incarnations, ring_touched
from relayd.loop cimport TALLIES, packet_loop
from relayd.outbound cimport release_drained, take_batch
from relayd.outcomes cimport (
    COUNTERS,
    DOORBELLS,
    FORWARDED_STUN,
    KERNEL_DROPPED_V4,
    KERNEL_DROPPED_V6,
    LOST_BOUND,
    LOST_IN_RESTART,
    OUT_IN_DOUBT_IN_RESTART,
    OUT_RECORDS,
    OUT_SENT_CONTROL,
    RECEIVE_CALLS,
    RECEIVE_ERROR,
    RECEIVED,
    tally_add,
)
from relayd.receiver cimport receive_batch, receiver, receiver_close, receiver_open
from relayd.transmitter cimport send_batch, transmitter_close, transmitter_open
from relayd.udp cimport (
    EPOLL_CLOEXEC,
    EPOLL_CTL_ADD,
    EPOLL_CTL_DEL,
    EPOLLET,
    EPOLLIN,
    epoll_create1,
    epoll_ctl,
    epoll_event,
)
from relayd.waiting cimport CONTROL, DOORBELL, SOCKET_V4, SOCKET_V6, book, monotonic_ns, poll_events, sleep
from shm.atomics cimport fence_compiler, load_relaxed_u64, store_relaxed_u64
from shm.counters cimport counter_add, counter_read, counters, counters_open, counters_set_batch_in_hand
from shm.flows cimport flow_table_open
from shm.layout cimport (
    RINGLINE_COUNTER_NAME,
    RINGLINE_SEGMENT_COUNTERS,
    RINGLINE_SEGMENT_FLOWS,
    counter,
    segment_header,
)
from shm.segment cimport Segment, segment_beat

from relayd.outcomes import COUNTER_NAMES

cdef enum:
    BATCH_MAX = 1024        # UIO_MAXIOV: what sendmmsg and recvmmsg take in one call
    # Out batches a turn: two sockets can bring two batches in.
    OUT_BATCHES = 2

if <int>COUNTERS > <int>TALLIES:
    raise ImportError("more counters than a tally holds: raise TALLIES in loop.pxd")


# ------------------------------------------------------------------------------------------------- a turn


cdef int run_loop(packet_loop *loop) noexcept nogil:
    """Until the control descriptor is readable: 0. Or an errno of epoll_wait, EINTR among them."""
    cdef int failure = 0
    cdef unsigned int handled
    loop.told_to_return = False
    while not loop.told_to_return and not failure:
        handled = turn(loop)
        loop.unpolled += handled
        if handled == 0:
            failure = sleep(loop)
        elif loop.unpolled >= loop.batch:
            # Busy: the other socket and the supervisor are looked after once in a batch's worth of packets.
            failure = poll_events(loop, 0, NULL)
    return failure


cdef unsigned int turn(packet_loop *loop) noexcept nogil:
    """Once in and once out. Gives how many packets and records were handled."""
    cdef uint64_t now = monotonic_ns()
    cdef unsigned int handled = 0, taken
    cdef int i
    segment_beat(<segment_header *>loop.counted.header, now)
    refresh_incarnations(loop.way_in.lanes)
    for i in range(2):
        if loop.receivers[i].readable:
            handled += take_in(loop, i)
    if handled:
        show_batch(loop)
    for i in range(OUT_BATCHES):
        taken = send_out(loop, now)
        handled += taken
        if taken < loop.batch:
            break
    return handled


cdef unsigned int take_in(packet_loop *loop, int which) noexcept nogil:
    """One batch of one socket, up to committed records."""
    cdef receiver *socket = &loop.receivers[which]
    cdef int count
    counters_set_batch_in_hand(&loop.counted, loop.batch)
    count = receive_batch(socket)
    counter_add(&loop.counted, RECEIVED, count if count > 0 else 0)
    fence_compiler()  # what a successor reads must not be cleared before what it is compared with is there
    counters_set_batch_in_hand(&loop.counted, 0)
    tally_add(loop.tally, RECEIVE_CALLS, 1)
    if count <= 0:
        tally_add(loop.tally, RECEIVE_ERROR, count != 0)
        return 0
    route_batch(&loop.way_in, socket, monotonic_ns())
    if socket.kernel_drops_seen:
        book_kernel_drops(loop, which, socket.kernel_drops)
    return count


cdef void book_kernel_drops(packet_loop *loop, int which, uint32_t running_total) noexcept nogil:
    """SO_RXQ_OVFL is the socket's running total in 32 bits; the counter goes on from it, over wraps and our deaths.

    Socket and counter are made together by the supervisor and both outlive us, so the counter alone remembers what was
    booked. A total a little lower than the last one is reordering between the kernel's CPUs and means nothing new.
    """
    cdef int place = KERNEL_DROPPED_V6 if which == SOCKET_V6 else KERNEL_DROPPED_V4
    cdef int32_t news = <int32_t>(running_total - <uint32_t>counter_read(&loop.counted, place))
    if news > 0:
        counter_add(&loop.counted, place, news)


cdef void show_batch(packet_loop *loop) noexcept nogil:
    """Records first, then the books, then the doorbells: a death in between costs counts, never makes them lie."""
    publish_touched(loop.way_in.lanes)
    fence_compiler()
    book(loop)
    tally_add(loop.tally, DOORBELLS, ring_touched(loop.way_in.lanes))


cdef unsigned int send_out(packet_loop *loop, uint64_t now) noexcept nogil:
    """One batch of records from the out rings, applied and sent."""
    cdef unsigned int taken = take_batch(&loop.way_out, now)
    if taken == 0:
        return 0
    counter_add(&loop.counted, OUT_RECORDS, taken)
    fence_compiler()
    send_batch(&loop.transmitters[SOCKET_V4], loop.tally)
    send_batch(&loop.transmitters[SOCKET_V6], loop.tally)
    release_drained(&loop.way_out)
    book(loop)
    return taken


# ------------------------------------------------------------------------------------------------- the object


def worker_counter_names():
    """The counters that a worker's segment must have, in order."""
    return COUNTER_NAMES


cdef class Worker:
    """See worker.pyi."""

    def __cinit__(self):
        memset(&self.loop, 0, sizeof(packet_loop))
        self.loop.epoll = self.loop.receivers[0].fd = self.loop.receivers[1].fd = -1

    def __init__(self, int index, sockets, Segment flows not None, Segment counters not None, keys, *, int machine,
                 int batch=64, CheckGate gate=None):
        if not 1 <= batch <= BATCH_MAX:
            raise ValueError(f"batch {batch}: allowed are 1 to {BATCH_MAX}")
        self.index = index
        self.loop.batch = batch
        self.lanes = LaneEnds()
        self._open_segments(flows, counters)
        self._open_sockets(sockets)
        self.loop.way_in.worker = index
        self.loop.way_in.machine = machine
        self.loop.way_in.flows = self.loop.way_out.flows = &self.loop.flows
        self.loop.way_in.lanes = self.loop.way_out.lanes = &self.lanes.set
        self.loop.way_in.tally = self.loop.way_out.tally = self.loop.tally
        self.loop.way_out.v4 = &self.loop.transmitters[SOCKET_V4]
        self.loop.way_out.v6 = &self.loop.transmitters[SOCKET_V6]
        self.loop.way_out.batch = batch
        self.gate = gate
        self.loop.way_in.gate = NULL if gate is None else &gate.native
        self.set_keys(keys)

    def _open_segments(self, Segment flows, Segment counters):
        if flows.kind != RINGLINE_SEGMENT_FLOWS or counters.kind != RINGLINE_SEGMENT_COUNTERS:
            raise ValueError("a worker needs a segment of flows and one of counters, in this order")
        flows.hold()
        self.flow_segment = flows
        counters.hold()
        self.counter_segment = counters
        if counters_open(&self.loop.counted, counters.base, counters.size) < 0:
            raise ValueError("the counters' header makes no sense")
        if self._names() != COUNTER_NAMES:
            raise ValueError("the counter segment was not made with worker_counter_names()")

    def _names(self):
        cdef uint64_t i
        cdef counter *items = self.loop.counted.items
        count = self.loop.counted.count
        return tuple([items[i].name[:RINGLINE_COUNTER_NAME].rstrip(b"\0").decode("ascii") for i in range(count)])

    def _open_sockets(self, sockets):
        cdef int which, fd
        self.loop.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.loop.epoll < 0:
            raise OSError(errno, "epoll_create1")
        for which, fd in enumerate(sockets):
            receiver_open(&self.loop.receivers[which & 1], fd, which == SOCKET_V6, self.loop.batch)
            transmitter_open(
                &self.loop.transmitters[which & 1], fd, which == SOCKET_V6,
                self.loop.receivers[which & 1].local_port, self.loop.batch,
            )
            if fd >= 0:
                self._watch(fd, EPOLLIN, which)

    def __dealloc__(self):
        cdef int which
        for which in range(2):
            receiver_close(&self.loop.receivers[which])
            transmitter_close(&self.loop.transmitters[which])
        if self.loop.epoll >= 0:
            close(self.loop.epoll)
        if self.flow_segment is not None:
            self.flow_segment.let_go()
        if self.counter_segment is not None:
            self.counter_segment.let_go()

    def _watch(self, int fd, uint32_t events, uint64_t whose):
        cdef epoll_event event
        event.events = events
        event.data.u64 = whose
        if epoll_ctl(self.loop.epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(errno, f"epoll_ctl of descriptor {fd}")

    def _unwatch(self, int fd):
        cdef epoll_event unused
        epoll_ctl(self.loop.epoll, EPOLL_CTL_DEL, fd, &unused)

    def attach_lane(self, lane):
        """See worker.pyi. Edge-triggered, so that a doorbell that rang needs no read to be quiet again."""
        earlier = self.lanes.get(lane.transceiver)
        self.lanes.attach(lane)
        if earlier is not None:
            self._unwatch(earlier.worker_fd)
        self._watch(lane.worker_fd, EPOLLIN | EPOLLET, DOORBELL)

    def detach(self, transceiver):
        """See worker.pyi."""
        lane = self.lanes.detach(transceiver)
        if lane is not None:
            self._unwatch(lane.worker_fd)

    def set_keys(self, keys):
        """See worker.pyi."""
        self.keyring = Keyring(keys)
        self.loop.way_in.keys = &self.keyring.native

    def run(self, int control_fd):
        """See worker.pyi."""
        cdef int failure
        if not self.took_over:
            self._take_over()
            self.took_over = True
        self._watch(control_fd, EPOLLIN, CONTROL)
        try:
            while True:
                with nogil:
                    failure = run_loop(&self.loop)
                if failure == 0:
                    return
                if failure != EINTR:
                    raise OSError(failure, "epoll_wait")
                PyErr_CheckSignals()
        finally:
            self._unwatch(control_fd)

    def _take_over(self):
        """Repair and book what a predecessor left in the middle of something. It has been reaped."""
        cdef counters *counted = &self.loop.counted
        if flow_table_open(&self.loop.flows, self.flow_segment.base, self.flow_segment.size, True) < 0:
            raise ValueError("the flow table's header makes no sense")
        counter_add(counted, LOST_IN_RESTART, unbooked(counted, RECEIVED, FORWARDED_STUN, LOST_IN_RESTART))
        counter_add(
            counted, OUT_IN_DOUBT_IN_RESTART, unbooked(counted, OUT_RECORDS, OUT_SENT_CONTROL, OUT_IN_DOUBT_IN_RESTART)
        )
        counter_add(counted, LOST_BOUND, load_relaxed_u64(&counted.header.batch_in_hand))
        counters_set_batch_in_hand(counted, 0)

    @staticmethod
    def worker_counter_names():
        """The counters that a worker's segment must have, in order."""
        return COUNTER_NAMES


cdef uint64_t unbooked(const counters *counted, int total, int first, int last) noexcept:
    """What stands in `total` and in none of its outcomes from `first` to `last`."""
    cdef uint64_t booked = 0
    cdef int place
    for place in range(first, last + 1):
        booked += counter_read(counted, place)
    return counter_read(counted, total) - booked
