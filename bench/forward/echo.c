/* The floor: a bare forwarder in C, recvmmsg and sendmmsg in batches, with the relay worker's socket options.
 *
 *   echo PORT BATCH      sends every datagram back to where it came from, from the address it came to
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
static struct sockaddr_in names[BATCH_MAX];
static char buffers[BATCH_MAX][SIZE], controls[BATCH_MAX][CONTROL];

static int open_socket(int port) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), one = 1, room = 8 << 20;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
    setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
        perror("bind");
        exit(1);
    }
    return fd;
}

/* Turn the control messages of what was received into those of what is sent: the source address only. */
static void answer_from(struct msghdr *header) {
    struct in_addr local = {0};
    for (struct cmsghdr *item = CMSG_FIRSTHDR(header); item; item = CMSG_NXTHDR(header, item))
        if (item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO)
            local = ((struct in_pktinfo *)CMSG_DATA(item))->ipi_addr;
    header->msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
    struct cmsghdr *item = CMSG_FIRSTHDR(header);
    item->cmsg_level = IPPROTO_IP;
    item->cmsg_type = IP_PKTINFO;
    item->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(item);
    memset(info, 0, sizeof *info);
    info->ipi_spec_dst = local;
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
    int fd = open_socket(atoi(argv[1])), batch = argc > 2 ? atoi(argv[2]) : 64, epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    puts("ready");
    fflush(stdout);
    for (;;)
        if (forward(fd, batch) <= 0)
            epoll_wait(epoll, &event, 1, 20);
}
