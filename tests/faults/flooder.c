/* Sends packets as fast as asked: flooder FILE PORT RATE SECONDS FD...
 *
 * FILE holds records of one byte (which FD), two bytes (length, little-endian) and the packet. They are sent in turn to
 * 127.0.0.1:PORT, RATE a second in steps of a millisecond. Prints how many left, and the seconds it took. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define PACKETS_MAX 65536
#define STEP_NS 1000000L

static unsigned char memory[1 << 26];
static struct { unsigned char fd; unsigned short size; unsigned char *data; } packets[PACKETS_MAX];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    FILE *file = argc > 5 ? fopen(argv[1], "rb") : NULL;
    if (!file) return 2;
    size_t size = fread(memory, 1, sizeof memory, file), at = 0, count = 0;
    while (at + 3 <= size && count < PACKETS_MAX) {
        packets[count].fd = memory[at];
        packets[count].size = memory[at + 1] | memory[at + 2] << 8;
        packets[count].data = memory + at + 3;
        at += 3 + packets[count++].size;
    }
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    double rate = atof(argv[3]), seconds = atof(argv[4]), start = now();
    unsigned long sent = 0, due;
    if (!count) return 2;
    while (now() - start < seconds) {
        due = (unsigned long)((now() - start) * rate);
        for (; sent < due && now() - start < seconds; sent++) {
            size_t i = sent % count;
            sendto(atoi(argv[5 + packets[i].fd]), packets[i].data, packets[i].size, MSG_DONTWAIT,
                   (struct sockaddr *)&server, sizeof server);
        }
        struct timespec step = {0, STEP_NS};
        nanosleep(&step, NULL);
    }
    printf("%lu %.3f\n", sent, now() - start);
    return 0;
}
