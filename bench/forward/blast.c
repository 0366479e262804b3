/* The other side: RTP-sized datagrams from many client addresses out of 127.64.0.0/10, through one socket.
 *
 *   blast PORT CLIENTS SIZE      then commands on stdin, one answer a line on stdout:
 *     fill N        send N datagrams as fast as possible, read nothing         -> "sent N"
 *     drain N MS    read until N came back in all since the last fill, or MS   -> "got N"
 *     aim PORT      send to another port from now on                           -> "at PORT"
 *     pace N RATE   send N at RATE a second in batches of a millisecond's worth, read what comes back -> "got N"
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BATCH = 64, SIZE_MAX_BYTES = 1500, CONTROL = 64, NETWORK = 0x7F400000 };

static struct mmsghdr out[BATCH], in[BATCH];
static struct iovec out_vectors[BATCH], in_vectors[BATCH];
static char data[BATCH][SIZE_MAX_BYTES], received[BATCH][SIZE_MAX_BYTES], controls[BATCH][CONTROL];
static struct sockaddr_in server = {.sin_family = AF_INET};
static int fd, clients, next_client;

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void prepare(int size) {
    for (int i = 0; i < BATCH; i++) {
        data[i][0] = (char)0x80;
        data[i][1] = 111;
        out_vectors[i] = (struct iovec){data[i], size};
        in_vectors[i] = (struct iovec){received[i], SIZE_MAX_BYTES};
        out[i].msg_hdr = (struct msghdr){&server, sizeof server, &out_vectors[i], 1, controls[i],
                                         CMSG_SPACE(sizeof(struct in_pktinfo)), 0};
        in[i].msg_hdr = (struct msghdr){NULL, 0, &in_vectors[i], 1, NULL, 0, 0};
        struct cmsghdr *item = CMSG_FIRSTHDR(&out[i].msg_hdr);
        item->cmsg_level = IPPROTO_IP;
        item->cmsg_type = IP_PKTINFO;
        item->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
    }
}

static void send_some(int count) {
    while (count > 0) {
        int batch = count < BATCH ? count : BATCH;
        for (int i = 0; i < batch; i++) {
            struct in_pktinfo *info = (struct in_pktinfo *)CMSG_DATA(CMSG_FIRSTHDR(&out[i].msg_hdr));
            info->ipi_spec_dst.s_addr = htonl(NETWORK + 1 + next_client);
            next_client = (next_client + 1) % clients;
        }
        for (int done = 0; done < batch;) {
            int sent = sendmmsg(fd, out + done, batch - done, 0);
            done += sent > 0 ? sent : 1;
        }
        count -= batch;
    }
}

static int read_some(void) {
    int all = 0, count;
    while ((count = recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL)) > 0)
        all += count;
    return all;
}

static int drain(int wanted, double seconds) {
    double end = now() + seconds;
    int got = 0;
    while (got < wanted && now() < end) {
        struct timespec pause = {0, 2000000}; /* do not disturb whoever is measured */
        nanosleep(&pause, NULL);
        got += read_some();
    }
    return got;
}

static int pace(int count, double rate) {
    double start = now();
    int sent = 0, got = 0;
    while (sent < count) {
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
        int due = (int)((now() - start) * rate);
        if (due > count)
            due = count;
        send_some(due - sent);
        sent = due;
        got += read_some();
    }
    return got + drain(count - got, 5.0);
}

int main(int argc, char **argv) {
    char line[128];
    int room = 32 << 20, count;
    double number;
    struct sockaddr_in any = {.sin_family = AF_INET};
    (void)argc;
    server.sin_port = htons(atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    clients = atoi(argv[2]);
    prepare(atoi(argv[3]));
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    bind(fd, (struct sockaddr *)&any, sizeof any);
    socklen_t length = sizeof any;
    getsockname(fd, (struct sockaddr *)&any, &length);
    printf("port %d\n", ntohs(any.sin_port));
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "fill %d", &count) == 1) {
            send_some(count);
            printf("sent %d\n", count);
        } else if (sscanf(line, "drain %d %lf", &count, &number) == 2)
            printf("got %d\n", drain(count, number / 1000));
        else if (sscanf(line, "aim %d", &count) == 1) {
            server.sin_port = htons(count);
            printf("at %d\n", count);
        } else if (sscanf(line, "pace %d %lf", &count, &number) == 2)
            printf("got %d\n", pace(count, number));
        fflush(stdout);
    }
}
