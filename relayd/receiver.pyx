# cython: language_level=3, boundscheck=False, wraparound=False
"""Receiving: recvmmsg on one UDP socket, and what its control messages say (ip(7), ipv6(7), socket(7)).

Used by the worker, one receiver a socket. Everything is allocated when it is opened; a batch allocates nothing. The
datagrams are copied from here into ring records, because which ring a datagram goes to is known only from its bytes:
voice packets are 100-300 bytes, a copy is some 10 ns beside 2 us of kernel.

Left out: options of the socket (relayd/sockets.py sets them), and every decision about a datagram (relayd/inbound.pyx).
"""
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from relayd.udp cimport (
    CMSG_DATA,
    CMSG_FIRSTHDR,
    CMSG_NXTHDR,
    IP_PKTINFO,
    IP_TOS,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_PKTINFO,
    IPV6_TCLASS,
    MSG_DONTWAIT,
    MSG_TRUNC,
    SO_RXQ_OVFL,
    SOL_SOCKET,
    cmsghdr,
    getsockname,
    in6_pktinfo,
    in_pktinfo,
    iovec,
    mmsghdr,
    msghdr,
    ntohs,
    recvmmsg,
    sockaddr,
    sockaddr_in,
    sockaddr_in6,
)
from shm.layout cimport RINGLINE_TRANSPORT_UDP, flow_key

# ::ffff:0:0/96 (RFC 4291 section 2.5.5.2): how an IPv4 address stands in a flow key.
cdef const unsigned char *MAPPED = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"


cdef int receiver_open(receiver *socket, int fd, bint v6, unsigned int batch) except -1:
    """Buffers for `batch` datagrams. OSError when `fd` is not a bound socket, MemoryError."""
    cdef sockaddr_in6 name
    cdef unsigned int size = sizeof(name)
    memset(socket, 0, sizeof(receiver))
    socket.fd = fd
    if fd < 0:
        return 0
    if getsockname(fd, <sockaddr *>&name, &size) < 0:
        raise OSError(errno, "getsockname of a public socket")
    socket.v6 = v6
    socket.readable = True  # what waited before epoll was asked
    socket.local_port = ntohs(name.sin6_port)  # at the same place in both families
    socket.batch = batch
    socket.messages = <mmsghdr *>calloc(batch, sizeof(mmsghdr))
    socket.vectors = <iovec *>calloc(batch, sizeof(iovec))
    socket.sources = <sockaddr_in6 *>calloc(batch, sizeof(sockaddr_in6))
    socket.controls = <uint8_t *>calloc(batch, CONTROL_MAX)
    socket.buffers = <uint8_t *>calloc(batch, DATAGRAM_MAX)
    if not (socket.messages and socket.vectors and socket.sources and socket.controls and socket.buffers):
        receiver_close(socket)
        raise MemoryError("receive buffers")
    for i in range(batch):
        connect_buffers(socket, i)
    return 0


cdef void connect_buffers(receiver *socket, unsigned int i) noexcept nogil:
    """What stays the same for message `i` over all batches."""
    socket.vectors[i].iov_base = socket.buffers + i * DATAGRAM_MAX
    socket.vectors[i].iov_len = DATAGRAM_MAX
    socket.messages[i].msg_hdr.msg_name = socket.sources + i
    socket.messages[i].msg_hdr.msg_iov = socket.vectors + i
    socket.messages[i].msg_hdr.msg_iovlen = 1
    socket.messages[i].msg_hdr.msg_control = socket.controls + i * CONTROL_MAX
    socket.messages[i].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
    socket.messages[i].msg_hdr.msg_controllen = CONTROL_MAX


cdef void receiver_close(receiver *socket) noexcept:
    free(socket.messages)
    free(socket.vectors)
    free(socket.sources)
    free(socket.controls)
    free(socket.buffers)
    memset(socket, 0, sizeof(receiver))
    socket.fd = -1


cdef int receive_batch(receiver *socket) noexcept nogil:
    cdef int i
    # The kernel wrote the lengths of the last batch's control messages and names over ours.
    for i in range(socket.count):
        socket.messages[i].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
        socket.messages[i].msg_hdr.msg_controllen = CONTROL_MAX
    socket.kernel_drops_seen = False
    socket.count = recvmmsg(socket.fd, socket.messages, socket.batch, MSG_DONTWAIT, NULL)
    socket.readable = socket.count == <int>socket.batch
    if socket.count >= 0:
        return socket.count
    socket.count = 0
    if errno == EINTR:
        socket.readable = True
        return 0
    return 0 if errno == EAGAIN else -errno


cdef void read_datagram(receiver *socket, int i, datagram *packet) noexcept nogil:
    cdef mmsghdr *message = socket.messages + i
    packet.data = socket.buffers + i * DATAGRAM_MAX
    packet.size = message.msg_len
    packet.truncated = (message.msg_hdr.msg_flags & MSG_TRUNC) != 0
    packet.traffic_class = 0
    packet.has_destination = False
    memset(&packet.key, 0, sizeof(flow_key))
    packet.key.transport = RINGLINE_TRANSPORT_UDP
    packet.key.local_port = socket.local_port
    packet.answerable = read_source(socket, socket.sources + i, &packet.key)
    read_control_messages(socket, &message.msg_hdr, packet)


cdef bint read_source(receiver *socket, const sockaddr_in6 *source, flow_key *key) noexcept nogil:
    """The client's half of the key. False for a source that nobody can be: port 0, or IPv4-mapped on the wire."""
    if not socket.v6:
        memcpy(key.client_address, MAPPED, 12)
        memcpy(key.client_address + 12, &(<const sockaddr_in *>source).sin_addr, 4)
        key.client_port = ntohs((<const sockaddr_in *>source).sin_port)
        return key.client_port != 0
    memcpy(key.client_address, &source.sin6_addr, 16)
    key.client_port = ntohs(source.sin6_port)
    key.scope = source.sin6_scope_id  # the kernel sets it for link-local addresses only
    return key.client_port != 0 and memcmp(key.client_address, MAPPED, 12) != 0


cdef void read_control_messages(receiver *socket, msghdr *header, datagram *packet) noexcept nogil:
    """The local address, the traffic class and the kernel's count of drops."""
    cdef cmsghdr *item = CMSG_FIRSTHDR(header)
    while item != NULL:
        if item.cmsg_level == IPPROTO_IP and item.cmsg_type == IP_PKTINFO:
            memcpy(packet.key.local_address, MAPPED, 12)
            memcpy(packet.key.local_address + 12, &(<in_pktinfo *>CMSG_DATA(item)).ipi_addr, 4)
            packet.has_destination = True
        elif item.cmsg_level == IPPROTO_IPV6 and item.cmsg_type == IPV6_PKTINFO:
            memcpy(packet.key.local_address, &(<in6_pktinfo *>CMSG_DATA(item)).ipi6_addr, 16)
            packet.has_destination = True
        elif item.cmsg_level == IPPROTO_IP and item.cmsg_type == IP_TOS:
            packet.traffic_class = CMSG_DATA(item)[0]
        elif item.cmsg_level == IPPROTO_IPV6 and item.cmsg_type == IPV6_TCLASS:
            packet.traffic_class = <uint8_t>(<int *>CMSG_DATA(item))[0]
        elif item.cmsg_level == SOL_SOCKET and item.cmsg_type == SO_RXQ_OVFL:
            memcpy(&socket.kernel_drops, CMSG_DATA(item), 4)
            socket.kernel_drops_seen = True
        item = CMSG_NXTHDR(header, item)
