# cython: language_level=3
"""Datagrams in batches: the arguments of sendmmsg and recvmmsg, made once, and what their control messages say."""
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from transceiverd.load.udp cimport in_addr, iovec, mmsghdr, sockaddr_in6
from transceiverd.load.stream cimport PACKET_MAX

cdef enum:
    SEND_BATCH = 16              # packets: more would make the last one's send time too early
    RECEIVE_BATCH = 64
    CONTROL_MAX = 128            # bytes of control messages: packet info, time stamp, drop count
    SEND_SIZE = 1600 + 64        # bytes: a packet and what protection adds

# Where a call's datagrams go and come from.
cdef struct endpoint:
    int fd
    bint shared                  # through the shared socket, from an address of its own
    unsigned int server_size
    sockaddr_in6 server          # either family
    in_addr source               # 127.x.y.z on the shared socket
    uint32_t kernel_drops        # of a socket of its own

cdef struct batches:
    int fd                       # that the outgoing batch is for
    int waiting                  # packets in the outgoing batch
    uint64_t send_errors
    uint64_t refused             # ICMP port unreachable
    mmsghdr out[SEND_BATCH]
    iovec out_vectors[SEND_BATCH]
    uint8_t out_controls[SEND_BATCH][CONTROL_MAX]
    uint8_t out_data[SEND_BATCH][SEND_SIZE]
    mmsghdr incoming[RECEIVE_BATCH]
    iovec in_vectors[RECEIVE_BATCH]
    sockaddr_in6 in_names[RECEIVE_BATCH]
    uint8_t in_controls[RECEIVE_BATCH][CONTROL_MAX]
    uint8_t in_data[RECEIVE_BATCH][PACKET_MAX]

cdef struct arrival:
    uint8_t *data
    int size
    uint64_t received_at         # CLOCK_REALTIME, ns; the kernel's
    uint32_t drops               # of the socket, ever; 0: not told
    uint32_t destination         # host byte order; 0: not told

cdef batches *batches_open() except NULL
cdef void batches_close(batches *b) noexcept
cdef int endpoint_set_server(endpoint *end, server, port) except -1
cdef bint endpoint_send(endpoint *end, const uint8_t *data, size_t size) noexcept nogil

# Room for the next outgoing packet of `end`; flushes what is in the way.
cdef uint8_t *batch_room(batches *b, endpoint *end) noexcept nogil
cdef void batch_add(batches *b, endpoint *end, int size) noexcept nogil
cdef void batch_flush(batches *b) noexcept nogil

# How many came; RECEIVE_BATCH: there may be more.
cdef int batch_receive(batches *b, int fd) noexcept nogil
cdef void batch_read(batches *b, int place, arrival *x) noexcept nogil
cdef bint batch_is_from(batches *b, int place, const endpoint *end) noexcept nogil
cdef uint64_t read_clock(int clock) noexcept nogil
