# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""Datagrams in batches: sendmmsg and recvmmsg with everything they need, and nothing allocated for a packet.

A leaf of `packets.pyx`. A packet sent over the shared socket says which of our addresses it leaves from (IP_PKTINFO,
ip(7)); one received says which it came to, when (socket(7) SO_TIMESTAMPNS), and what the kernel dropped before it.
"""
from libc.errno cimport ECONNREFUSED, EINTR, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from transceiverd.load.udp cimport (
    AF_INET,
    CMSG_DATA,
    CMSG_FIRSTHDR,
    CMSG_LEN,
    CMSG_NXTHDR,
    CMSG_SPACE,
    IP_PKTINFO,
    IPPROTO_IP,
    MSG_DONTWAIT,
    SO_RXQ_OVFL,
    SOL_SOCKET,
    cmsghdr,
    htons,
    in_pktinfo,
    ntohl,
    recvmmsg,
    sendmmsg,
    sockaddr_in,
)

cdef enum:
    SO_TIMESTAMPNS = 35          # asm-generic/socket.h; also the type of the control message


cdef uint64_t read_clock(int clock) noexcept nogil:
    cdef timespec at
    clock_gettime(clock, &at)
    return <uint64_t>at.tv_sec * 1_000_000_000 + <uint64_t>at.tv_nsec


cdef batches *batches_open() except NULL:
    cdef batches *b = <batches *>calloc(1, sizeof(batches))
    cdef int i
    if b == NULL:
        raise MemoryError("batches")
    for i in range(RECEIVE_BATCH):
        b.in_vectors[i].iov_base = b.in_data[i]
        b.in_vectors[i].iov_len = PACKET_MAX
        b.incoming[i].msg_hdr.msg_iov = &b.in_vectors[i]
        b.incoming[i].msg_hdr.msg_iovlen = 1
        b.incoming[i].msg_hdr.msg_name = &b.in_names[i]
        b.incoming[i].msg_hdr.msg_control = b.in_controls[i]
    for i in range(SEND_BATCH):
        b.out_vectors[i].iov_base = b.out_data[i]
        b.out[i].msg_hdr.msg_iov = &b.out_vectors[i]
        b.out[i].msg_hdr.msg_iovlen = 1
    return b


cdef void batches_close(batches *b) noexcept:
    free(b)


cdef int endpoint_set_server(endpoint *end, server, port) except -1:
    """`server` as ipaddress has it. A socket of its own is connected and needs no name."""
    cdef sockaddr_in *four = <sockaddr_in *>&end.server
    cdef bytes packed = server.packed
    if server.version == 4:
        four.sin_family = AF_INET
        four.sin_port = htons(port)
        memcpy(&four.sin_addr, <const char *>packed, 4)
        end.server_size = sizeof(sockaddr_in)
    return 0


cdef void address_message(endpoint *end, mmsghdr *message, uint8_t *control) noexcept nogil:
    """To the server; on the shared socket also from which address of ours."""
    cdef cmsghdr *item
    cdef in_pktinfo *info
    if not end.shared:
        message.msg_hdr.msg_name = NULL
        message.msg_hdr.msg_namelen = 0
        message.msg_hdr.msg_control = NULL
        message.msg_hdr.msg_controllen = 0
        return
    message.msg_hdr.msg_name = &end.server
    message.msg_hdr.msg_namelen = end.server_size
    message.msg_hdr.msg_control = control
    message.msg_hdr.msg_controllen = CMSG_SPACE(sizeof(in_pktinfo))
    item = CMSG_FIRSTHDR(&message.msg_hdr)
    item.cmsg_level = IPPROTO_IP
    item.cmsg_type = IP_PKTINFO
    item.cmsg_len = CMSG_LEN(sizeof(in_pktinfo))
    info = <in_pktinfo *>CMSG_DATA(item)
    memset(info, 0, sizeof(in_pktinfo))
    info.ipi_spec_dst = end.source


cdef bint endpoint_send(endpoint *end, const uint8_t *data, size_t size) noexcept nogil:
    """One datagram, now. False: the kernel did not take it."""
    cdef mmsghdr message
    cdef iovec vector
    cdef uint8_t control[CONTROL_MAX]
    vector.iov_base = <void *>data
    vector.iov_len = size
    memset(&message, 0, sizeof(message))
    message.msg_hdr.msg_iov = &vector
    message.msg_hdr.msg_iovlen = 1
    address_message(end, &message, control)
    return sendmmsg(end.fd, &message, 1, MSG_DONTWAIT) == 1


cdef uint8_t *batch_room(batches *b, endpoint *end) noexcept nogil:
    if b.waiting == SEND_BATCH or (b.waiting and b.fd != end.fd):
        batch_flush(b)
    return b.out_data[b.waiting]


cdef void batch_add(batches *b, endpoint *end, int size) noexcept nogil:
    b.fd = end.fd
    b.out_vectors[b.waiting].iov_len = size
    address_message(end, &b.out[b.waiting], b.out_controls[b.waiting])
    b.waiting += 1


cdef void batch_flush(batches *b) noexcept nogil:
    """Send all. A packet that the kernel refuses is counted and the rest goes on."""
    cdef int done = 0, sent
    while done < b.waiting:
        sent = sendmmsg(b.fd, &b.out[done], b.waiting - done, 0)
        if sent > 0:
            done += sent
        elif errno == ECONNREFUSED:
            b.refused += 1  # the answer to an earlier packet; this one was not tried
        elif errno != EINTR:
            b.send_errors += 1
            done += 1
    b.waiting = 0


cdef int batch_receive(batches *b, int fd) noexcept nogil:
    cdef int i, count
    for i in range(RECEIVE_BATCH):
        b.incoming[i].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
        b.incoming[i].msg_hdr.msg_controllen = CONTROL_MAX
    count = recvmmsg(fd, b.incoming, RECEIVE_BATCH, MSG_DONTWAIT, NULL)
    if count < 0:
        if errno == ECONNREFUSED:
            b.refused += 1
        return 0
    return count


cdef void batch_read(batches *b, int place, arrival *x) noexcept nogil:
    cdef cmsghdr *item = CMSG_FIRSTHDR(&b.incoming[place].msg_hdr)
    cdef timespec *at
    x.data = b.in_data[place]
    x.size = b.incoming[place].msg_len
    x.received_at = 0
    x.drops = x.destination = 0
    while item != NULL:
        if item.cmsg_level == IPPROTO_IP and item.cmsg_type == IP_PKTINFO:
            x.destination = ntohl((<in_pktinfo *>CMSG_DATA(item)).ipi_addr.s_addr)
        elif item.cmsg_level == SOL_SOCKET and item.cmsg_type == SO_TIMESTAMPNS:
            at = <timespec *>CMSG_DATA(item)
            x.received_at = <uint64_t>at.tv_sec * 1_000_000_000 + <uint64_t>at.tv_nsec
        elif item.cmsg_level == SOL_SOCKET and item.cmsg_type == SO_RXQ_OVFL:
            memcpy(&x.drops, CMSG_DATA(item), 4)
        item = CMSG_NXTHDR(&b.incoming[place].msg_hdr, item)
    if x.received_at == 0:
        x.received_at = read_clock(CLOCK_REALTIME)


cdef bint batch_is_from(batches *b, int place, const endpoint *end) noexcept nogil:
    """Whether the packet came from the call's server (IPv4; a connected socket takes nothing else)."""
    cdef const sockaddr_in *source = <const sockaddr_in *>&b.in_names[place]
    cdef const sockaddr_in *server = <const sockaddr_in *>&end.server
    return source.sin_port == server.sin_port and source.sin_addr.s_addr == server.sin_addr.s_addr
