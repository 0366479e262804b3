/* The other side: RTP-sized datagrams from many client addresses, through one socket.
 *
 *   blast 4|6 PORT CLIENTS SIZE [PREFIX]   SIZE bytes of RTP behind the prefix (hexadecimal); then commands on stdin,
 *                                          one answer a line on stdout:
 *     fill N        send N datagrams as fast as possible, read nothing         -> "sent N"
 *     drain N MS    read until N came back in all since the last fill, or MS   -> "got N"
 *     pace N RATE   send N at RATE a second in batches of a millisecond's worth, read what comes back
 *                                                                  -> "got N P50 P99", times in ns from send to arrival
 *     say HEX       these bytes once from every client; count the answers      -> "got N"
 *     aim PORT      send to another port from now on                           -> "at PORT"
 *     port I PORT   client I sends to a port of its own                        -> "at PORT"
 *
 * Clients are 127.64.0.1 and up, or fd00:6c6f:6164::1 and up (routed to the loopback device, see `loopback.py`). The
 * last 8 bytes of a datagram are the time it was sent; the kernel stamps arrivals, so when we look does not matter.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef IPV6_FREEBIND
#define IPV6_FREEBIND 78
#endif

enum { BATCH = 64, SIZE_MAX_BYTES = 1500, CONTROL = 256, NETWORK = 0x7F400000, CLIENTS_MAX = 20000, TIMES = 1 << 18 };

static struct mmsghdr out[BATCH], in[BATCH];
static struct iovec out_vectors[BATCH], in_vectors[BATCH];
static unsigned char data[BATCH][SIZE_MAX_BYTES], received[BATCH][SIZE_MAX_BYTES];
static char controls[BATCH][CONTROL], in_controls[BATCH][CONTROL];
static struct sockaddr_in6 targets[CLIENTS_MAX]; /* room for either family */
static uint16_t sequences[CLIENTS_MAX];
static uint64_t times[TIMES];
static unsigned char prefix[16], words[1024];
static int fd, clients, next_client, prefix_size, size, version, timed;

static uint64_t clock_ns(clockid_t which) {
    struct timespec at;
    clock_gettime(which, &at);
    return at.tv_sec * 1000000000ull + at.tv_nsec;
}

static double now(void) { return clock_ns(CLOCK_MONOTONIC) / 1e9; }

static int unhex(const char *text, unsigned char *bytes, int most) {
    int count = 0;
    unsigned value;
    while (count < most && sscanf(text + 2 * count, "%2x", &value) == 1)
        bytes[count++] = value;
    return count;
}

static void set_port(int client, int port) {
    struct sockaddr_in *four = (struct sockaddr_in *)&targets[client];
    if (version == 4)
        *four = (struct sockaddr_in){AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    else
        targets[client] = (struct sockaddr_in6){AF_INET6, htons(port), 0, IN6ADDR_LOOPBACK_INIT, 0};
}

static void say_source(int place, int client) {
    struct msghdr *header = &out[place].msg_hdr;
    struct cmsghdr *item = (struct cmsghdr *)controls[place];
    header->msg_control = controls[place];
    header->msg_name = &targets[client];
    header->msg_namelen = version == 4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (version == 4) {
        struct in_pktinfo info = {.ipi_spec_dst.s_addr = htonl(NETWORK + 1 + client)};
        header->msg_controllen = CMSG_SPACE(sizeof info);
        *item = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IP, IP_PKTINFO};
        memcpy(CMSG_DATA(item), &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_addr.s6_addr = {0xFD, 0, 'l', 'o', 'a', 'd'}};
        info.ipi6_addr.s6_addr[14] = (client + 1) >> 8;
        info.ipi6_addr.s6_addr[15] = (client + 1) & 0xFF;
        header->msg_controllen = CMSG_SPACE(sizeof info);
        *item = (struct cmsghdr){CMSG_LEN(sizeof info), IPPROTO_IPV6, IPV6_PKTINFO};
        memcpy(CMSG_DATA(item), &info, sizeof info);
    }
}

static void prepare(void) {
    for (int i = 0; i < BATCH; i++) {
        memcpy(data[i], prefix, prefix_size);
        data[i][prefix_size] = 0x80;
        data[i][prefix_size + 1] = 111;
        out_vectors[i] = (struct iovec){data[i], prefix_size + size};
        in_vectors[i] = (struct iovec){received[i], SIZE_MAX_BYTES};
        out[i].msg_hdr = (struct msghdr){.msg_iov = &out_vectors[i], .msg_iovlen = 1};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &in_vectors[i], .msg_iovlen = 1, .msg_control = in_controls[i]};
    }
}

static void flush(int batch) {
    for (int done = 0; done < batch;) {
        int sent = sendmmsg(fd, out + done, batch - done, 0);
        done += sent > 0 ? sent : 1;
    }
}

static void send_some(int count) {
    while (count > 0) {
        int batch = count < BATCH ? count : BATCH;
        for (int i = 0; i < batch; i++) {
            unsigned char *rtp = data[i] + prefix_size;
            uint16_t sequence = htons(sequences[next_client]++);
            uint32_t stream[2] = {htonl(960u * sequences[next_client]), htonl(next_client + 1)};
            uint64_t at = clock_ns(CLOCK_REALTIME);
            memcpy(rtp + 2, &sequence, 2);
            memcpy(rtp + 4, stream, 8);
            memcpy(rtp + size - 8, &at, 8);
            say_source(i, next_client);
            next_client = (next_client + 1) % clients;
        }
        flush(batch);
        count -= batch;
    }
}

static void book_time(int place) {
    uint64_t sent;
    int length = in[place].msg_len;
    if (length < 20 || timed >= TIMES)
        return;
    memcpy(&sent, received[place] + length - 8, 8);
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&in[place].msg_hdr); item; item = CMSG_NXTHDR(&in[place].msg_hdr, item))
        if (item->cmsg_level == SOL_SOCKET && item->cmsg_type == SO_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(item), sizeof at);
            times[timed++] = at.tv_sec * 1000000000ull + at.tv_nsec - sent;
        }
}

static int read_some(void) {
    int all = 0, count;
    for (;;) {
        for (int i = 0; i < BATCH; i++)
            in[i].msg_hdr.msg_controllen = CONTROL;
        count = recvmmsg(fd, in, BATCH, MSG_DONTWAIT, NULL);
        if (count <= 0)
            return all;
        for (int i = 0; i < count; i++)
            book_time(i);
        all += count;
    }
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
    timed = 0;
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
    return got + drain(count - got, 2.0);
}

static int say(int length) {
    int got = 0;
    for (int client = 0; client < clients; client++) {
        struct timespec pause = {0, 500000};
        memcpy(data[0], words, length);
        out_vectors[0].iov_len = length;
        say_source(0, client);
        flush(1);
        nanosleep(&pause, NULL);
        got += read_some();
    }
    got += drain(clients - got, 2.0);
    prepare();
    return got;
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static int open_socket(void) {
    int room = 32 << 20, one = 1, end = socket(version == 4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
    struct sockaddr_in6 any = {.sin6_family = version == 4 ? AF_INET : AF_INET6};
    socklen_t length = sizeof any;
    if (setsockopt(end, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room))
        setsockopt(end, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(end, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3);
    setsockopt(end, SOL_SOCKET, SO_TIMESTAMPNS, &one, sizeof one);
    if (version == 6) {
        setsockopt(end, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
        setsockopt(end, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof one);
    }
    bind(end, (struct sockaddr *)&any, version == 4 ? sizeof(struct sockaddr_in) : sizeof any);
    getsockname(end, (struct sockaddr *)&any, &length);
    printf("port %d\n", ntohs(any.sin6_port)); /* at the same place in either family */
    return end;
}

int main(int argc, char **argv) {
    char line[2200], text[2100];
    int count, other;
    double number;
    version = atoi(argv[1]);
    clients = atoi(argv[3]);
    size = atoi(argv[4]);
    prefix_size = argc > 5 ? unhex(argv[5], prefix, sizeof prefix) : 0;
    for (int client = 0; client < clients; client++)
        set_port(client, atoi(argv[2]));
    prepare();
    fd = open_socket();
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "fill %d", &count) == 1) {
            send_some(count);
            printf("sent %d\n", count);
        } else if (sscanf(line, "drain %d %lf", &count, &number) == 2)
            printf("got %d\n", drain(count, number / 1000));
        else if (sscanf(line, "aim %d", &count) == 1) {
            for (int client = 0; client < clients; client++)
                set_port(client, count);
            printf("at %d\n", count);
        } else if (sscanf(line, "port %d %d", &count, &other) == 2) {
            set_port(count, other);
            printf("at %d\n", other);
        } else if (sscanf(line, "say %2099s", text) == 1)
            printf("got %d\n", say(unhex(text, words, sizeof words)));
        else if (sscanf(line, "pace %d %lf", &count, &number) == 2) {
            count = pace(count, number);
            qsort(times, timed, sizeof times[0], compare);
            printf("got %d %llu %llu\n", count, (unsigned long long)(timed ? times[timed / 2] : 0),
                   (unsigned long long)(timed ? times[(long)timed * 99 / 100] : 0));
        }
        fflush(stdout);
    }
}
