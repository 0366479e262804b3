# cython: language_level=3, boundscheck=False, wraparound=False
"""Sending: sendmmsg on one UDP socket, payloads taken where they lie in the rings.

Used by the worker, one transmitter a socket. Everything is allocated when it is opened. IP_PKTINFO and IPV6_PKTINFO
name the address a datagram leaves from: bound to a wildcard, the kernel's own choice could be another than the client
wrote to (ip(7), ipv6(7)).

sendmmsg stops at the first datagram that fails and says why only when that one comes first: so a failed one is counted
by its errno and skipped, and the rest goes on. A full send buffer (EAGAIN) is waited for once a batch and at most
SEND_WAIT_MS; what still does not go is dropped and counted. Waiting longer would stop receiving, which costs other
calls' packets; a buffer drains at line rate, so 1 ms is some 100 kB at 1 Gb/s, half of a default buffer; STUN and DTLS
are repeated by their protocols, and late voice is worth nothing.

Left out: who may send where (relayd/outbound.pyx), GSO, pacing.
"""
from libc.errno cimport (
    EACCES,
    EADDRNOTAVAIL,
    EAGAIN,
    EHOSTUNREACH,
    EINTR,
    EINVAL,
    EMSGSIZE,
    ENETUNREACH,
    ENOBUFS,
    EPERM,
    errno,
)
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from relayd.outcomes cimport (
    OUT_BLOCKED,
    OUT_ERROR_ACCES,
    OUT_ERROR_ADDRNOTAVAIL,
    OUT_ERROR_HOSTUNREACH,
    OUT_ERROR_INVAL,
    OUT_ERROR_MSGSIZE,
    OUT_ERROR_NETUNREACH,
    OUT_ERROR_NOBUFS,
    OUT_ERROR_OTHER,
    OUT_ERROR_PERM,
    SEND_CALLS,
    SEND_WAITS,
    tally_add,
)
from relayd.udp cimport (
    AF_INET,
    AF_INET6,
    CMSG_DATA,
    CMSG_LEN,
    CMSG_SPACE,
    IP_PKTINFO,
    IP_TOS,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_PKTINFO,
    IPV6_TCLASS,
    MSG_DONTWAIT,
    POLLOUT,
    cmsghdr,
    htons,
    in6_pktinfo,
    in_pktinfo,
    iovec,
    mmsghdr,
    poll,
    pollfd,
    sendmmsg,
    sockaddr_in,
    sockaddr_in6,
)

# ::ffff:0:0/96 (RFC 4291 section 2.5.5.2): how an IPv4 address stands in a flow key.
cdef const unsigned char *MAPPED = b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"


cdef int transmitter_open(transmitter *socket, int fd, bint v6, uint16_t local_port, unsigned int capacity) except -1:
    """Headers for `capacity` datagrams. MemoryError."""
    memset(socket, 0, sizeof(transmitter))
    socket.fd = fd
    if fd < 0:
        return 0
    socket.v6 = v6
    socket.local_port = local_port
    socket.capacity = capacity
    socket.messages = <mmsghdr *>calloc(capacity, sizeof(mmsghdr))
    socket.vectors = <iovec *>calloc(capacity, sizeof(iovec))
    socket.destinations = <sockaddr_in6 *>calloc(capacity, sizeof(sockaddr_in6))
    socket.controls = <uint8_t *>calloc(capacity, SEND_CONTROL_MAX)
    socket.outcomes = <uint8_t *>calloc(capacity, 1)
    if not (socket.messages and socket.vectors and socket.destinations and socket.controls and socket.outcomes):
        transmitter_close(socket)
        raise MemoryError("send headers")
    for i in range(capacity):
        connect_headers(socket, i)
    return 0


cdef void connect_headers(transmitter *socket, unsigned int i) noexcept nogil:
    """What stays the same for message `i` over all batches."""
    socket.messages[i].msg_hdr.msg_name = socket.destinations + i
    socket.messages[i].msg_hdr.msg_namelen = sizeof(sockaddr_in6) if socket.v6 else sizeof(sockaddr_in)
    socket.messages[i].msg_hdr.msg_iov = socket.vectors + i
    socket.messages[i].msg_hdr.msg_iovlen = 1
    socket.messages[i].msg_hdr.msg_control = socket.controls + i * SEND_CONTROL_MAX


cdef void transmitter_close(transmitter *socket) noexcept:
    free(socket.messages)
    free(socket.vectors)
    free(socket.destinations)
    free(socket.controls)
    free(socket.outcomes)
    memset(socket, 0, sizeof(transmitter))
    socket.fd = -1


cdef bint is_mapped(const uint8_t *address) noexcept nogil:
    """Whether 16 bytes of a flow key are an IPv4 address."""
    return memcmp(address, MAPPED, 12) == 0


cdef void add_datagram(transmitter *socket, const flow_key *key, const uint8_t *payload, uint32_t size,
                       uint8_t traffic_class, uint8_t outcome) noexcept nogil:
    cdef unsigned int i = socket.count
    socket.vectors[i].iov_base = <void *>payload
    socket.vectors[i].iov_len = size
    socket.outcomes[i] = outcome
    if socket.v6:
        address_v6(socket, i, key, traffic_class)
    else:
        address_v4(socket, i, key, traffic_class)
    socket.count = i + 1


cdef void address_v4(transmitter *socket, unsigned int i, const flow_key *key, uint8_t traffic_class) noexcept nogil:
    cdef sockaddr_in *destination = <sockaddr_in *>(socket.destinations + i)
    cdef cmsghdr *item = <cmsghdr *>(socket.controls + i * SEND_CONTROL_MAX)
    cdef in_pktinfo *source = <in_pktinfo *>CMSG_DATA(item)
    destination.sin_family = AF_INET
    destination.sin_port = htons(key.client_port)
    memcpy(&destination.sin_addr, key.client_address + 12, 4)
    set_header(item, IPPROTO_IP, IP_PKTINFO, sizeof(in_pktinfo))
    memset(source, 0, sizeof(in_pktinfo))
    memcpy(&source.ipi_spec_dst, key.local_address + 12, 4)
    socket.messages[i].msg_hdr.msg_controllen = CMSG_SPACE(sizeof(in_pktinfo)) + set_traffic_class(
        <uint8_t *>item + CMSG_SPACE(sizeof(in_pktinfo)), IPPROTO_IP, IP_TOS, traffic_class
    )


cdef void address_v6(transmitter *socket, unsigned int i, const flow_key *key, uint8_t traffic_class) noexcept nogil:
    cdef sockaddr_in6 *destination = socket.destinations + i
    cdef cmsghdr *item = <cmsghdr *>(socket.controls + i * SEND_CONTROL_MAX)
    cdef in6_pktinfo *source = <in6_pktinfo *>CMSG_DATA(item)
    destination.sin6_family = AF_INET6
    destination.sin6_port = htons(key.client_port)
    memcpy(&destination.sin6_addr, key.client_address, 16)
    destination.sin6_scope_id = key.scope
    set_header(item, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(in6_pktinfo))
    memcpy(&source.ipi6_addr, key.local_address, 16)
    source.ipi6_ifindex = key.scope
    socket.messages[i].msg_hdr.msg_controllen = CMSG_SPACE(sizeof(in6_pktinfo)) + set_traffic_class(
        <uint8_t *>item + CMSG_SPACE(sizeof(in6_pktinfo)), IPPROTO_IPV6, IPV6_TCLASS, traffic_class
    )


cdef inline void set_header(cmsghdr *item, int level, int kind, size_t size) noexcept nogil:
    item.cmsg_level = level
    item.cmsg_type = kind
    item.cmsg_len = CMSG_LEN(size)


cdef size_t set_traffic_class(uint8_t *place, int level, int kind, uint8_t traffic_class) noexcept nogil:
    """Bytes of control message used: none for 0, which is what a socket sends anyway."""
    if traffic_class == 0:
        return 0
    set_header(<cmsghdr *>place, level, kind, sizeof(int))
    (<int *>CMSG_DATA(<cmsghdr *>place))[0] = traffic_class
    return CMSG_SPACE(sizeof(int))


cdef void send_batch(transmitter *socket, uint64_t *tally) noexcept nogil:
    cdef unsigned int first = 0
    cdef bint waited = False
    cdef int sent
    while first < socket.count:
        tally_add(tally, SEND_CALLS, 1)
        sent = sendmmsg(socket.fd, socket.messages + first, socket.count - first, MSG_DONTWAIT)
        if sent > 0:
            count_sent(socket, first, sent, tally)
            first += sent
        elif errno == EAGAIN and not waited:
            waited = True
            tally_add(tally, SEND_WAITS, 1)
            wait_writable(socket.fd)
        elif errno == EAGAIN:
            tally_add(tally, OUT_BLOCKED, socket.count - first)
            break
        elif errno != EINTR:
            tally_add(tally, error_place(errno), 1)
            first += 1
    socket.count = 0


cdef void count_sent(transmitter *socket, unsigned int first, int sent, uint64_t *tally) noexcept nogil:
    cdef unsigned int i
    for i in range(first, first + sent):
        tally_add(tally, socket.outcomes[i], 1)


cdef void wait_writable(int fd) noexcept nogil:
    """Until there is room or SEND_WAIT_MS are over; the next sendmmsg tells which."""
    cdef pollfd waiting
    waiting.fd = fd
    waiting.events = POLLOUT
    waiting.revents = 0
    poll(&waiting, 1, SEND_WAIT_MS)


cdef int error_place(int code) noexcept nogil:
    """The counter of an errno."""
    if code == EACCES:
        return OUT_ERROR_ACCES
    if code == EPERM:
        return OUT_ERROR_PERM
    if code == EINVAL:
        return OUT_ERROR_INVAL
    if code == EMSGSIZE:
        return OUT_ERROR_MSGSIZE
    if code == EADDRNOTAVAIL:
        return OUT_ERROR_ADDRNOTAVAIL
    if code == ENETUNREACH:
        return OUT_ERROR_NETUNREACH
    if code == EHOSTUNREACH:
        return OUT_ERROR_HOSTUNREACH
    return OUT_ERROR_NOBUFS if code == ENOBUFS else OUT_ERROR_OTHER
