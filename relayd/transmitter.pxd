# cython: language_level=3
# One UDP socket's sending side: a batch of datagrams gathered from ring memory. Described in transmitter.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from relayd.udp cimport iovec, mmsghdr, sockaddr_in6
from shm.layout cimport flow_key

cdef enum:
    # Bytes of control messages: PKTINFO and a traffic class.
    SEND_CONTROL_MAX = 80
    # How long a full send buffer is waited for, once a batch. See transmitter.pyx.
    SEND_WAIT_MS = 1

cdef struct transmitter:
    int fd                      # -1: this family is off
    bint v6
    uint16_t local_port         # host order; what a record's key must say
    unsigned int capacity       # datagrams a batch may have
    unsigned int count          # datagrams gathered
    mmsghdr *messages
    iovec *vectors
    sockaddr_in6 *destinations  # large enough for both families
    uint8_t *controls
    uint8_t *outcomes           # what to count when message i was sent


cdef int transmitter_open(transmitter *socket, int fd, bint v6, uint16_t local_port, unsigned int capacity) except -1
cdef void transmitter_close(transmitter *socket) noexcept

cdef bint is_mapped(const uint8_t *address) noexcept nogil

# One more datagram; `payload` must stay until the batch was sent. The caller saw that count < capacity.
cdef void add_datagram(transmitter *socket, const flow_key *key, const uint8_t *payload, uint32_t size,
                       uint8_t traffic_class, uint8_t outcome) noexcept nogil

# Sends what was gathered and counts one outcome for each datagram in `tally`.
cdef void send_batch(transmitter *socket, uint64_t *tally) noexcept nogil
