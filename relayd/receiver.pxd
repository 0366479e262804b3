# cython: language_level=3
# One UDP socket's receiving side: a batch of datagrams in buffers of its own. Described in receiver.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from relayd.udp cimport iovec, mmsghdr, sockaddr_in6
from shm.layout cimport flow_key

cdef enum:
    # Bytes a datagram may have. WebRTC keeps below 1,500 (the path MTU of the internet); twice that and no page is wasted.
    DATAGRAM_MAX = 2048
    # Bytes of control messages: PKTINFO (36 at most), TOS or TCLASS (20), SO_RXQ_OVFL (20), each padded to 8.
    CONTROL_MAX = 128

cdef struct receiver:
    int fd                      # -1: this family is off
    bint v6
    bint readable               # epoll said so, and no short batch since
    uint16_t local_port         # host order
    unsigned int batch          # datagrams a call may give
    int count                   # datagrams of the batch at hand
    uint32_t kernel_drops       # SO_RXQ_OVFL as read_datagram last saw it in this batch: the socket's running total ...
    bint kernel_drops_seen      # ... if it saw it
    mmsghdr *messages
    iovec *vectors
    sockaddr_in6 *sources       # large enough for both families
    uint8_t *controls
    uint8_t *buffers


# What is known of one datagram besides its bytes.
cdef struct datagram:
    const uint8_t *data
    uint32_t size
    uint8_t traffic_class
    bint truncated
    bint has_destination        # the kernel said which address it came to
    bint answerable             # its source is an address and port that can be
    flow_key key


cdef int receiver_open(receiver *socket, int fd, bint v6, unsigned int batch) except -1
cdef void receiver_close(receiver *socket) noexcept

# One recvmmsg. Sets `count`, and `readable` to whether more may wait. Gives `count`, 0 for none, or minus an errno.
cdef int receive_batch(receiver *socket) noexcept nogil

# Datagram `i` of the batch at hand.
cdef void read_datagram(receiver *socket, int i, datagram *packet) noexcept nogil
