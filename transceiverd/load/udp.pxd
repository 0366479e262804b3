# cython: language_level=3
# The system calls and structs of the load generator's packet path that Cython's own declarations leave out.
# From sendmmsg(2), recvmmsg(2), ip(7), epoll(7), epoll_pwait2(2); declarations only.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from posix.time cimport timespec

cdef extern from "<sys/socket.h>" nogil:
    cdef struct iovec:
        void *iov_base
        size_t iov_len

    cdef struct msghdr:
        void *msg_name
        unsigned int msg_namelen
        iovec *msg_iov
        size_t msg_iovlen
        void *msg_control
        size_t msg_controllen

    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

    cdef struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type

    int recvmmsg(int fd, mmsghdr *messages, unsigned int count, int flags, timespec *timeout)
    int sendmmsg(int fd, mmsghdr *messages, unsigned int count, int flags)
    cmsghdr *CMSG_FIRSTHDR(msghdr *message)
    cmsghdr *CMSG_NXTHDR(msghdr *message, cmsghdr *item)
    unsigned char *CMSG_DATA(cmsghdr *item)
    size_t CMSG_SPACE(size_t size)
    size_t CMSG_LEN(size_t size)
    int AF_INET, SOL_SOCKET, SO_RXQ_OVFL, MSG_DONTWAIT

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        uint32_t s_addr

    cdef struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr

    cdef struct sockaddr_in6:
        pass

    cdef struct in_pktinfo:
        in_addr ipi_spec_dst    # the source address when sending
        in_addr ipi_addr        # the destination of what was received

    int IPPROTO_IP, IP_PKTINFO
    uint16_t htons(uint16_t value)
    uint32_t htonl(uint32_t value)
    uint32_t ntohl(uint32_t value)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint64_t u64

    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data

    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout_ms)
    int epoll_pwait2(int epoll, epoll_event *events, int count, const timespec *timeout, const void *signals)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL
    uint32_t EPOLLIN
