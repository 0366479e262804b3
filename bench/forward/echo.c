/* The floor: a bare forwarder in C, recvmmsg and sendmmsg in batches, with the relay worker's socket options.
 *
 *   echo PORT BATCH 4|6   sends every datagram back to where it came from, from the address it came to
 *
 * Like the worker it reads the destination address of each datagram and says it again when sending (IP_PKTINFO), takes
 * the traffic class and the kernel's drop count, and sleeps in epoll when there is nothing. It looks at no byte.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH_MAX = 256, SIZE = 2048, CONTROL = 256 };

static struct mmsghdr messages[BATCH_MAX];
static struct iovec vectors[BATCH_MAX];
static struct sockaddr_in6 names[BATCH_MAX]; /* room for either family */
static char buffers[BATCH_MAX][SIZE], controls[BATCH_MAX][CONTROL];

static int open_socket(int port, int version) {
    int fd = socket(version == 4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0), one = 1, room = 8 << 20;
    struct sockaddr_in6 address = {.sin6_family = version == 4 ? AF_INET : AF_INET6, .sin6_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (version == 4) {
        setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
        setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof one);
    } else {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
        setsockopt(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, &one, sizeof one);
    }
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, version == 4 ? sizeof(struct sockaddr_in) : sizeof address)) {
        perror("bind");
        exit(1);
    }
    return fd;
}

static void *put(struct msghdr *header, int level, int type, size_t size) {
    header->msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    *item = (struct cmsghdr){CMSG_LEN(size), level, type};
    return memset(CMSG_DATA(item), 0, size);
}

/* Turn the control messages of what was received into those of what is sent: the source address only. */
static void answer_from(struct msghdr *header) {
    struct in_addr four = {0};
    struct in6_pktinfo six = {0};
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item))
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO)
            four = ((struct in_pktinfo *)CMSG_DATA(item))->ipi_addr;
        else if (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO)
            memcpy(&six.ipi6_addr, &((struct in6_pktinfo *)CMSG_DATA(item))->ipi6_addr, sizeof six.ipi6_addr);
    if (((struct sockaddr *)header->msg_name)->sa_family == AF_INET)
        ((struct in_pktinfo *)put(header, IPPROTO_IP, IP_PKTINFO, sizeof(struct in_pktinfo)))->ipi_spec_dst = four;
    else
        memcpy(put(header, IPPROTO_IPV6, IPV6_PKTINFO, sizeof six), &six, sizeof six);
}

static int forward(int fd, int batch) {
    for (int i = 0; i < batch; i++) {
        vectors[i] = (struct iovec){buffers[i], SIZE};
        messages[i].msg_hdr = (struct msghdr){&names[i], sizeof names[i], &vectors[i], 1, controls[i], CONTROL, 0};
    }
    int count = recvmmsg(fd, messages, batch, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        vectors[i].iov_len = messages[i].msg_len;
        answer_from(&messages[i].msg_hdr);
    }
    for (int done = 0; done < count;) {
        int sent = sendmmsg(fd, messages + done, count - done, 0);
        done += sent > 0 ? sent : errno != EINTR;
    }
    return count;
}

int main(int argc, char **argv) {
    int fd = open_socket(atoi(argv[1]), atoi(argv[3])), batch = atoi(argv[2]), epoll = epoll_create1(0);
    (void)argc;
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    puts("ready");
    fflush(stdout);
    for (;;)
        if (forward(fd, batch) <= 0)
            epoll_wait(epoll, &event, 1, 20);
}
