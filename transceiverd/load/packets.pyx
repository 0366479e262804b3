# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""The packet path of the load generator: all calls' UDP, in native batches, on a thread of its own without the GIL.

`run()` is the thread. Every tick it sends what is due and takes what came: RTP and RTCP are judged at once (`stream.pyx`),
STUN and DTLS go into an inbox for the control thread, which `event_fd` wakes. The control thread sends its own datagrams
directly (`send`). One lock, held for a batch, keeps the two apart.

Every call needs a client address of its own. On IPv4 loopback all calls share one socket and each has an address out of
127.64.0.0/10: sendmmsg and recvmmsg then take packets of many calls at once. Elsewhere each call has its own socket.

The wheel: a call sends every period (20 ms), so it stands in one slot of a wheel that turns once a period, and is never
put in again. Arrival times are the kernel's (SO_TIMESTAMPNS): over loopback they are when the server sent, and how busy
we are does not blur them.
"""
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME

from transceiverd.load.udp cimport EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLIN
from transceiverd.load.udp cimport epoll_create1, epoll_ctl, epoll_event, epoll_wait, htonl
from transceiverd.load.batches cimport (
    RECEIVE_BATCH,
    arrival,
    batch_add,
    batch_flush,
    batch_is_from,
    batch_read,
    batch_receive,
    batch_room,
    batches,
    batches_close,
    batches_open,
    endpoint_send,
    endpoint_set_server,
    read_clock,
)
from transceiverd.load.inbox cimport inbox, inbox_put, inbox_take, letter
from transceiverd.load.stream cimport (
    STAMP_SIZE,
    describe_books,
    describe_histograms,
    describe_stream,
    stream,
    stream_books,
    stream_next,
    stream_take,
)
from transceiverd.load.waiting cimport load_relaxed, lock_give, lock_let_others, lock_open, lock_take, polite_lock
from transceiverd.load.waiting cimport wait_exactly, wait_readable, wait_until
from transceiverd.media.srtp cimport SrtpContext

import ipaddress
import os
import secrets
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


cdef class PacketPath:
    """All calls' packets. `capacity`: calls at once; `payload_bytes`: of an RTP packet; `tick_ns`: how fine we send.

    Methods but `run` are the control thread's. Raises ValueError for numbers out of bounds, OSError from sockets.
    """

    cdef caller *_callers
    cdef uint32_t *_wheel        # for each slot the first call, place and one
    cdef inbox *_inbox
    cdef stream_books *_books
    cdef batches *_batches
    cdef polite_lock _lock
    cdef int _capacity, _slots, _payload_bytes, _epoll, _kick_fd, _shared_fd, _stop, _talkers
    cdef uint64_t _tick_ns, _turned_to, _late
    cdef uint32_t _shared_drops
    cdef readonly int event_fd
    cdef object _sockets, _contexts, _free, _shared

    def __cinit__(self, int capacity, *, int payload_bytes=80, uint64_t period_ns=20_000_000, uint64_t tick_ns=500_000):
        self._epoll = self.event_fd = self._kick_fd = self._shared_fd = -1
        if not 0 < capacity <= CAPACITY_MAX or not STAMP_SIZE <= payload_bytes <= 1200 or period_ns % tick_ns:
            raise ValueError("capacity, payload_bytes or tick_ns out of bounds")
        self._capacity, self._payload_bytes = capacity, payload_bytes
        self._tick_ns, self._slots = tick_ns, <int>(period_ns // tick_ns)
        self._callers = <caller *>calloc(capacity, sizeof(caller))
        self._wheel = <uint32_t *>calloc(self._slots, sizeof(uint32_t))
        self._inbox = <inbox *>calloc(1, sizeof(inbox))
        self._books = <stream_books *>calloc(1, sizeof(stream_books))
        self._batches = batches_open()
        if not (self._callers and self._wheel and self._inbox and self._books):
            raise MemoryError("packet path")
        lock_open(&self._lock)
        self._sockets, self._contexts, self._free, self._shared = {}, {}, deque(range(capacity)), None
        self.event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._kick_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            raise OSError("epoll_create1")
        self._watch(self._kick_fd, KICK)

    def __dealloc__(self):
        self.close()
        free(self._callers)
        free(self._wheel)
        free(self._inbox)
        free(self._books)
        batches_close(self._batches)

    # ------------------------------------------------------------------ calls, by the control thread

    def add(self, address, port):
        """A place for a call to this server; gives its number. Raises ValueError when all are taken."""
        if not self._free:
            raise ValueError(f"all {self._capacity} places are taken")
        place = self._free.popleft()
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
        c.in_use = True
        return place

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

    def local(self, place):
        """The call's own address and port."""
        if self._callers[place].end.shared:
            return str(ipaddress.IPv4Address(NETWORK + place + 1)), self._shared.getsockname()[1]
        return self._sockets[place].getsockname()[:2]

    def secure(self, place, SrtpContext outbound, SrtpContext inbound, ssrc, payload_type):
        """The call's keys are there; `outbound` was made for `ssrc`."""
        cdef stream *audio = &self._callers[place].audio
        self._contexts[place] = (outbound, inbound)
        random = secrets.randbits(48)
        self._acquire()
        audio.outbound, audio.inbound = outbound.context, inbound.context
        audio.ssrc, audio.payload_type = ssrc, payload_type
        audio.sequence = random & 0x7FFF  # RFC 3711 3.3.1: a first packet lost before the wrap must not hide it
        audio.timestamp = random >> 16
        audio.nonce = place + 1
        self._release()

    def talk(self, place, bint talking):
        """Send audio, or stop. A call without keys stays silent."""
        cdef caller *c = &self._callers[place]
        if talking == c.talking or (talking and c.audio.outbound == NULL):
            return
        self._acquire()
        if talking:
            self._put_into_wheel(place)
        else:
            self._take_out_of_wheel(place)
        c.talking = talking
        c.audio.last_sent = c.audio.last_received = 0  # a pause is not a gap
        self._release()
        os.eventfd_write(self._kick_fd, 1)

    cdef void _put_into_wheel(self, uint32_t place) noexcept:
        cdef caller *c = &self._callers[place]
        c.slot = (place * 17) % <uint32_t>self._slots  # neighbours stand apart, all slots fill alike
        c.next = self._wheel[c.slot]
        self._wheel[c.slot] = place + 1
        self._talkers += 1

    cdef void _take_out_of_wheel(self, uint32_t place) noexcept:
        cdef uint32_t *link = &self._wheel[self._callers[place].slot]
        while link[0] != place + 1:
            link = &self._callers[link[0] - 1].next
        link[0] = self._callers[place].next
        self._talkers -= 1

    def remove(self, place):
        """Give the place back. What the call counted is gone, except from the totals."""
        cdef caller *c = &self._callers[place]
        self.talk(place, False)
        self._acquire()
        c.in_use = False
        c.audio.inbound = c.audio.outbound = NULL
        self._release()
        self._contexts.pop(place, None)
        own = self._sockets.pop(place, None)
        if own is not None:
            epoll_ctl(self._epoll, EPOLL_CTL_DEL, own.fileno(), NULL)
            own.close()
        self._free.append(place)  # the longest time until its address is used again

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
        self._acquire()
        x = inbox_take(self._inbox)
        while x != NULL:
            found.append((x.place, (<char *>x.data)[:x.size]))
            x = inbox_take(self._inbox)
        self._release()
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
        self._acquire()
        found = describe_histograms(self._books)
        self._release()
        return {name: Histogram(*values) for name, values in found.items()}

    # ------------------------------------------------------------------ the thread

    def run(self):
        """Be the packet thread until `stop`."""
        with nogil:
            wait_exactly()
            self._turned_to = read_clock(CLOCK_MONOTONIC) // self._tick_ns
            while not load_relaxed(&self._stop):
                self._turn()
                lock_let_others(&self._lock)
                self._sleep()

    def stop(self):
        """Make `run` return."""
        self._stop = 1
        os.eventfd_write(self._kick_fd, 1)

    def close(self):
        """Close all sockets; only when `run` has returned."""
        for own in (self._sockets or {}).values():
            own.close()
        if self._shared is not None:
            self._shared.close()
        for fd in (self._epoll, self.event_fd, self._kick_fd):
            if fd >= 0:
                os.close(fd)
        self._sockets, self._shared = {}, None
        self._epoll = self.event_fd = self._kick_fd = self._shared_fd = -1

    cdef void _acquire(self) noexcept:
        with nogil:
            lock_take(&self._lock)

    cdef void _release(self) noexcept:
        lock_give(&self._lock)

    cdef void _turn(self) noexcept nogil:
        cdef uint64_t letters
        lock_take(&self._lock)
        letters = self._inbox.tail
        self._send_due()
        self._receive()
        letters = self._inbox.tail - letters
        lock_give(&self._lock)
        if letters:
            write(self.event_fd, &letters, sizeof(letters))

    cdef void _sleep(self) noexcept nogil:
        cdef uint64_t now = read_clock(CLOCK_MONOTONIC), next_tick = (self._turned_to + 1) * self._tick_ns
        cdef uint64_t ahead = 0, slots = self._slots
        if self._talkers >= QUIET_TALKERS:
            wait_until(next_tick)
            return
        if self._talkers:
            while ahead < slots and not self._wheel[(self._turned_to + 1 + ahead) % slots]:
                ahead += 1
            next_tick += ahead * self._tick_ns
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
            self._books.skipped += (tick - self._turned_to - bound) * self._talkers // self._slots
            self._turned_to = tick - bound
        if tick > self._turned_to + 1 and self._talkers >= QUIET_TALKERS:
            self._late += tick - self._turned_to - 1
        for at in range(self._turned_to + 1, tick + 1):
            link = self._wheel[at % <uint64_t>self._slots]
            while link:
                self._send_audio(&self._callers[link - 1])
                link = self._callers[link - 1].next
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
            else:
                self._receive_from(self._callers[events[i].data.u64].end.fd, <long>events[i].data.u64)

    cdef void _receive_from(self, int fd, long place) noexcept nogil:
        """All that waits in a socket; `place` -1: the shared one, where the address tells whose it is."""
        cdef int count = RECEIVE_BATCH, i
        cdef arrival x
        while count == RECEIVE_BATCH:
            count = batch_receive(self._batches, fd)
            for i in range(count):
                batch_read(self._batches, i, &x)
                if place < 0 and x.drops:
                    self._shared_drops = x.drops
                elif x.drops:
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
