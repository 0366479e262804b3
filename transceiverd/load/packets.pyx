# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""The packet path of the load generator: all calls' UDP, in native batches, on a thread of its own without the GIL.

`run()` is the thread. Every tick it sends what is due and takes what came: RTP and RTCP are judged at once (`stream.pyx`),
STUN and DTLS go into an inbox for the control thread, which `event_fd` wakes. The control thread sends its own datagrams
directly (`send`), and says by orders (`orders.pxd`) what becomes of a call. Neither ever waits for the other: on a machine
with more to do than CPUs, who waits for a thread that was put aside in the middle of a batch waits for all the others.

Whose a call's fields are: all are the control thread's while the place is free, that is until ORDER_ADD and after
ORDER_REMOVE; in between the packet thread's, but for the address in `end`, which nobody changes. Counters are read by the control thread as they stand: they are whole
words, and off by what is happening at that moment.

Every call needs a client address of its own. On IPv4 loopback all calls share one socket and each has an address out of
127.64.0.0/10: sendmmsg and recvmmsg then take packets of many calls at once. Elsewhere each call has its own socket.

Arrival times are the kernel's (SO_TIMESTAMPNS): over loopback they are when the server sent, however busy we are.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME

from shm.atomics cimport load_relaxed_u32, store_relaxed_u32
from transceiverd.load.udp cimport EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN
from transceiverd.load.udp cimport epoll_create1, epoll_ctl, epoll_event, epoll_wait, htonl
from transceiverd.load.batches cimport (
    RECEIVE_BATCH, arrival, batch_add, batch_flush, batch_is_from, batch_read, batch_receive, batch_room,
    batches, batches_close, batches_open, endpoint_send, endpoint_set_server, read_clock,
)
from transceiverd.load.inbox cimport inbox, inbox_done, inbox_next, inbox_put, letter
from transceiverd.load.orders cimport (
    ORDER_ADD, ORDER_HUSH, ORDER_REMOVE, ORDER_SECURE, ORDER_TALK, order, order_kind, orders, orders_close,
    orders_done, orders_next, orders_obeyed, orders_open, orders_put,
)
from transceiverd.load.stream cimport (
    STAMP_SIZE, describe_books, describe_histograms, describe_stream, stream, stream_books, stream_next, stream_take,
)
from transceiverd.load.waiting cimport wait_exactly, wait_readable, wait_until
from transceiverd.load.wheel cimport wheel, wheel_close, wheel_open, wheel_pause, wheel_put, wheel_take
from transceiverd.media.srtp cimport SrtpContext

import ipaddress
import os
import secrets
import time
from collections import deque
from contextlib import suppress

from transceiverd.load.histogram import Histogram
from transceiverd.load.sockets import SHARED_NETWORK, open_own, open_shared

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *buffer, size_t size)
    ssize_t write(int fd, const void *buffer, size_t size)

cdef uint64_t SECOND = 1_000_000_000
cdef uint64_t KICK = <uint64_t>1 << 63       # epoll data that is no call's place
cdef uint64_t SHARED = <uint64_t>1 << 62
# With fewer talkers the thread wakes for each arrival; with more it looks every tick, in larger batches.
cdef int QUIET_TALKERS = 64
cdef uint64_t QUIET_SLEEP = 50_000_000       # ns
cdef uint32_t NETWORK = SHARED_NETWORK
CAPACITY_MAX = 1 << 20                       # calls: well inside 127.64.0.0/10
ORDERS_OF_A_CALL = 8                         # twice what its life needs: room for all while the thread is not there yet
LEAVING_SECONDS = 5.0                        # for the packet thread's next turn, however busy the machine


cdef class PacketPath:
    """All calls' packets. `capacity`: calls at once; `payload_bytes`: of an RTP packet; `tick_ns`: how fine we send.

    Methods but `run` are the control thread's. Raises ValueError for numbers out of bounds, OSError from sockets.
    """

    cdef caller *_callers
    cdef inbox *_inbox
    cdef stream_books *_books
    cdef batches *_batches
    cdef orders _orders
    cdef wheel _wheel
    cdef int _capacity, _slots, _payload_bytes, _epoll, _kick_fd, _shared_fd
    cdef uint32_t _stop
    cdef uint64_t _tick_ns, _turned_to, _late
    cdef uint32_t _shared_drops
    cdef readonly int event_fd
    cdef object _sockets, _contexts, _talking, _free, _leaving, _shared

    def __cinit__(self, int capacity, *, int payload_bytes=80, uint64_t period_ns=20_000_000, uint64_t tick_ns=500_000):
        self._epoll = self.event_fd = self._kick_fd = self._shared_fd = -1
        if not 0 < capacity <= CAPACITY_MAX or not STAMP_SIZE <= payload_bytes <= 1200 or period_ns % tick_ns:
            raise ValueError("capacity, payload_bytes or tick_ns out of bounds")
        self._capacity, self._payload_bytes = capacity, payload_bytes
        self._tick_ns, self._slots = tick_ns, <int>(period_ns // tick_ns)
        self._callers = <caller *>calloc(capacity, sizeof(caller))
        self._inbox = <inbox *>calloc(1, sizeof(inbox))
        self._books = <stream_books *>calloc(1, sizeof(stream_books))
        self._batches = batches_open()
        if not (self._callers and self._inbox and self._books and wheel_open(&self._wheel, self._slots, capacity)
                and orders_open(&self._orders, ORDERS_OF_A_CALL * capacity)):
            raise MemoryError("packet path")
        self._sockets, self._contexts, self._talking, self._shared = {}, {}, set(), None
        self._free, self._leaving = deque(range(capacity)), deque()
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._kick_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        self._watch(self._kick_fd, KICK)  # says too when there is no epoll

    def __dealloc__(self):
        self.close()
        free(self._callers)
        wheel_close(&self._wheel)
        free(self._inbox)
        free(self._books)
        orders_close(&self._orders)
        batches_close(self._batches)

    # ------------------------------------------------------------------ calls, by the control thread

    def add(self, address, port):
        """A place for a call to this server; gives its number. Raises ValueError when all are taken."""
        place = self._free_place()
        cdef caller *c = &self._callers[place]
        memset(c, 0, sizeof(caller))
        server = ipaddress.ip_address(address)
        endpoint_set_server(&c.end, server, port)
        c.end.shared = server.version == 4 and server.is_loopback
        if c.end.shared:
            self._use_shared()
            c.end.fd = self._shared_fd
            c.end.source.s_addr = htonl(NETWORK + place + 1)
        else:
            self._sockets[place] = own = open_own(server, port)
            c.end.fd = own.fileno()
            self._watch(c.end.fd, place)
        self._order_plainly(ORDER_ADD, place)
        return place

    cdef _order(self, const order *x):
        if not orders_put(&self._orders, x):
            raise RuntimeError("the packet thread has obeyed no order for a long time")

    cdef _order_plainly(self, order_kind kind, place):
        """And at once, though nothing may be due."""
        cdef order x
        x.kind, x.place = kind, place
        self._order(&x)
        os.eventfd_write(self._kick_fd, 1)

    def _free_place(self):
        deadline = time.monotonic() + LEAVING_SECONDS
        self._let_go()
        while not self._free and self._leaving and time.monotonic() < deadline:
            time.sleep(0.001)
            self._let_go()
        if not self._free:
            raise ValueError(f"all {self._capacity} places are taken")
        return self._free.popleft()

    def _let_go(self):  # of removed calls that the packet thread has forgotten
        while self._leaving and orders_obeyed(&self._orders, self._leaving[0][0]):
            _, place, _, own = self._leaving.popleft()
            if own is not None:
                own.close()
            self._free.append(place)  # the longest time until its address is used again

    cdef _use_shared(self):
        if self._shared is None:
            self._shared = open_shared()
            self._shared_fd = self._shared.fileno()
            self._watch(self._shared_fd, SHARED)

    cdef _watch(self, int fd, uint64_t data):
        cdef epoll_event event
        event.events = EPOLLIN
        event.data.u64 = data
        if epoll_ctl(self._epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError("epoll_ctl")

    @property
    def talkers(self):
        """Calls that send: the packet thread has heard of it."""
        return self._wheel.talkers

    def local(self, place):
        """The call's own address and port."""
        if self._callers[place].end.shared:
            return str(ipaddress.IPv4Address(NETWORK + place + 1)), self._shared.getsockname()[1]
        return self._sockets[place].getsockname()[:2]

    def secure(self, place, SrtpContext outbound, SrtpContext inbound, ssrc, payload_type):
        """The call's keys are there; `outbound` was made for `ssrc`."""
        cdef order x
        self._contexts[place] = (outbound, inbound)
        random = secrets.randbits(48)
        x.kind, x.place = ORDER_SECURE, place
        x.outbound, x.inbound = outbound.context, inbound.context
        x.ssrc, x.payload_type = ssrc, payload_type
        # RFC 3711 3.3.1: a first packet lost before the sequence wraps must not hide that it did.
        x.sequence, x.timestamp = random & 0x7FFF, random >> 16
        self._order(&x)

    def talk(self, place, bint talking):
        """Send audio, or stop. A call without keys stays silent."""
        if talking == (place in self._talking) or place not in self._contexts:
            return
        (self._talking.add if talking else self._talking.remove)(place)
        self._order_plainly(ORDER_TALK if talking else ORDER_HUSH, place)

    def remove(self, place):
        """Give the place back. What the call counted is gone, except from the totals."""
        self._let_go()
        self.talk(place, False)
        self._order_plainly(ORDER_REMOVE, place)
        self._leaving.append((self._orders.tail, place, self._contexts.pop(place, None), self._sockets.pop(place, None)))

    def send(self, place, bytes data):
        """A datagram of the control path. False: the kernel did not take it, which UDP allows."""
        cdef caller *c = &self._callers[place]
        cdef const uint8_t *start = data
        cdef size_t size = len(data)
        cdef bint sent
        with nogil:
            sent = endpoint_send(&c.end, start, size)
        return sent

    def poll(self):
        """STUN and DTLS datagrams that came, as (place, bytes)."""
        cdef letter *x
        found = []
        with suppress(BlockingIOError):
            os.eventfd_read(self.event_fd)
        x = inbox_next(self._inbox)
        while x != NULL:
            found.append((x.place, (<char *>x.data)[:x.size]))
            inbox_done(self._inbox)
            x = inbox_next(self._inbox)
        return found

    # ------------------------------------------------------------------ what was counted

    def caller(self, place):
        """One call's counters; times in ns."""
        return describe_stream(&self._callers[place].audio)

    def totals(self):
        """All counters together."""
        cdef int place
        cdef uint64_t drops = self._shared_drops
        for place in range(self._capacity):
            drops += self._callers[place].end.kernel_drops
        return describe_books(self._books) | {
            "refused": self._batches.refused, "send_errors": self._batches.send_errors, "late_ticks": self._late,
            "inbox_full": self._inbox.full, "kernel_drops": drops,
        }

    def histograms(self):
        """Copies of the histograms."""
        return {name: Histogram(*values) for name, values in describe_histograms(self._books).items()}

    # ------------------------------------------------------------------ the thread

    def run(self):
        """Be the packet thread until `stop`."""
        with nogil:
            wait_exactly()
            self._turned_to = read_clock(CLOCK_MONOTONIC) // self._tick_ns
            while not load_relaxed_u32(&self._stop):
                self._turn()
                self._sleep()

    def stop(self):
        """Make `run` return."""
        store_relaxed_u32(&self._stop, 1)
        os.eventfd_write(self._kick_fd, 1)

    def close(self):
        """Close all sockets; only when `run` has returned."""
        for own in (*(self._sockets or {}).values(), *(each[3] for each in self._leaving or ())):
            if own is not None:
                own.close()
        if self._shared is not None:
            self._shared.close()
        for fd in (self._epoll, self.event_fd, self._kick_fd):
            if fd >= 0:
                os.close(fd)
        self._sockets, self._shared, self._leaving = {}, None, deque()
        self._epoll = self.event_fd = self._kick_fd = self._shared_fd = -1

    cdef void _turn(self) noexcept nogil:
        cdef uint64_t letters
        letters = self._inbox.tail
        self._obey()
        self._send_due()
        self._receive()
        letters = self._inbox.tail - letters
        if letters:
            write(self.event_fd, &letters, sizeof(letters))

    cdef void _obey(self) noexcept nogil:
        """Every order there is."""
        cdef const order *x = orders_next(&self._orders)
        while x != NULL:
            self._obey_one(x, &self._callers[x.place])
            orders_done(&self._orders)
            x = orders_next(&self._orders)

    cdef void _obey_one(self, const order *x, caller *c) noexcept nogil:
        if x.kind == ORDER_ADD:
            c.in_use = True
        elif x.kind == ORDER_SECURE:
            c.audio.outbound, c.audio.inbound = x.outbound, x.inbound
            c.audio.ssrc, c.audio.payload_type = x.ssrc, x.payload_type
            c.audio.sequence, c.audio.timestamp = x.sequence, x.timestamp
            c.audio.nonce = x.place + 1
        elif x.kind == ORDER_REMOVE:
            c.in_use = False
            c.audio.inbound = c.audio.outbound = NULL
            if not c.end.shared:
                epoll_ctl(self._epoll, EPOLL_CTL_DEL, c.end.fd, NULL)
        elif x.kind == ORDER_TALK:
            c.audio.last_sent = c.audio.last_received = 0  # a pause is not a gap
            wheel_put(&self._wheel, x.place)
        else:
            wheel_take(&self._wheel, x.place)

    cdef void _sleep(self) noexcept nogil:
        cdef uint64_t now = read_clock(CLOCK_MONOTONIC), next_tick = (self._turned_to + 1) * self._tick_ns
        if self._wheel.talkers >= QUIET_TALKERS:
            wait_until(next_tick)
            return
        if self._wheel.talkers:
            next_tick += wheel_pause(&self._wheel, self._turned_to + 1) * self._tick_ns
        else:
            next_tick = now + QUIET_SLEEP
        if next_tick > now:
            wait_readable(self._epoll, next_tick - now)

    cdef void _send_due(self) noexcept nogil:
        """Every slot whose time has come since the last turn, once a turn of the wheel; beyond a second we give up."""
        cdef uint64_t tick = read_clock(CLOCK_MONOTONIC) // self._tick_ns, at
        cdef uint64_t bound = SECOND // self._tick_ns
        cdef uint32_t link
        if tick > self._turned_to + bound:
            self._books.skipped += (tick - self._turned_to - bound) * self._wheel.talkers // self._slots
            self._turned_to = tick - bound
        if tick > self._turned_to + 1 and self._wheel.talkers >= QUIET_TALKERS:
            self._late += tick - self._turned_to - 1
        for at in range(self._turned_to + 1, tick + 1):
            link = self._wheel.first[at % self._wheel.slots]
            while link:
                self._send_audio(&self._callers[link - 1])
                link = self._wheel.next[link - 1]
        batch_flush(self._batches)
        if tick > self._turned_to:
            self._turned_to = tick

    cdef void _send_audio(self, caller *c) noexcept nogil:
        cdef uint8_t *room = batch_room(self._batches, &c.end)
        cdef int size = stream_next(&c.audio, self._books, room, self._payload_bytes, read_clock(CLOCK_REALTIME))
        if size > 0:
            batch_add(self._batches, &c.end, size)

    cdef void _receive(self) noexcept nogil:
        cdef epoll_event events[EVENTS_MAX]
        cdef int ready = epoll_wait(self._epoll, events, EVENTS_MAX, 0), i
        cdef uint64_t ignored
        for i in range(ready):
            if events[i].data.u64 == KICK:
                read(self._kick_fd, &ignored, sizeof(ignored))
            elif events[i].data.u64 == SHARED:
                self._receive_from(self._shared_fd, -1)
            elif self._callers[events[i].data.u64].in_use:
                self._receive_from(self._callers[events[i].data.u64].end.fd, <long>events[i].data.u64)

    cdef void _receive_from(self, int fd, long place) noexcept nogil:
        """All that waits in a socket; `place` -1: the shared one. One that is not in use may be closed, its number another's."""
        cdef int count = RECEIVE_BATCH, i
        cdef arrival x
        while count == RECEIVE_BATCH and (place < 0 or self._callers[place].in_use):
            count = batch_receive(self._batches, fd)
            self._obey()  # an answer may be here before the turn after its call was added
            for i in range(count):
                batch_read(self._batches, i, &x)
                if place < 0 and x.drops:
                    self._shared_drops = x.drops
                elif x.drops and self._callers[place].in_use:
                    self._callers[place].end.kernel_drops = x.drops
                self._take(i, <long>x.destination - <long>NETWORK - 1 if place < 0 else place, &x)

    cdef void _take(self, int i, long place, arrival *x) noexcept nogil:
        cdef caller *c
        if place < 0 or place >= self._capacity or not self._callers[place].in_use or x.size < 2:
            return
        c = &self._callers[place]
        if c.end.shared and not batch_is_from(self._batches, i, &c.end):
            return
        if 128 <= x.data[0] <= 191:
            stream_take(&c.audio, self._books, x.data, x.size, x.received_at)
        else:
            inbox_put(self._inbox, <uint32_t>place, x.data, x.size)
