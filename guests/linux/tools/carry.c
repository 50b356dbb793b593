// SPDX-License-Identifier: Apache-2.0
/*
 * Other ways to bring a disk's bytes to a network card, for comparison with a shared buffer, and what each costs by the
 * kernel's own counters. hint #0x61 and #0x62 (a NOP on every machine) mark begin and end for tools/elcount.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "tool.h"

#define HALF_BYTES (32u << 10) /* the ring's data are two halves; the page before them holds the counters */
#define PRIVATE_BYTES (1u << 20)

/* ---- counters ---- */

static struct {
    uint64_t own_switches, all_switches;
} from;

/* How often this VM's CPUs have changed from one thread to another. */
static uint64_t vm_switches(void)
{
    FILE *in = fopen("/proc/stat", "r");
    unsigned long long count = 0;
    char line[4096];

    while (in && fgets(line, sizeof(line), in) && sscanf(line, "ctxt %llu", &count) != 1) {
    }
    if (!in || !count) {
        die("/proc/stat has no ctxt line");
    }
    fclose(in);
    return count;
}

static uint64_t own_switches(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_nvcsw + (uint64_t)usage.ru_nivcsw;
}

static void counts_begin(bool marked)
{
    from.all_switches = vm_switches();
    from.own_switches = own_switches();
    if (marked) {
        __asm__ volatile("hint #0x61" ::: "memory");
    }
}

static void counts_end(bool marked, const char *way, uint64_t bytes)
{
    if (marked) {
        __asm__ volatile("hint #0x62" ::: "memory");
    }
    say("counts %s: bytes %llu, context switches %llu in this VM, %llu of this process", way,
        (unsigned long long)bytes, (unsigned long long)(vm_switches() - from.all_switches),
        (unsigned long long)(own_switches() - from.own_switches));
}

/* The owner's are the marks: it begins when the borrower is there, and ends when the borrower has rung. */
void do_counts(struct buffer *b, char **args)
{
    if (!strcmp(args[1], "begin")) {
        counts_begin(b->ours);
    } else {
        counts_end(b->ours, args[1], b->bytes);
    }
}

/* ---- (a) private copies in both VMs and a small ring between them ---- */

struct ring {
    uint64_t produced, consumed; /* bytes; each is written by one side */
};

static uint64_t ring_load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE); /* the data behind it are read, or overwritten, after it */
}

static void ring_add(struct buffer *b, uint64_t *counter)
{
    struct lagoon_ioc_handle req = { .handle = b->handle };

    __atomic_store_n(counter, *counter + HALF_BYTES, __ATOMIC_RELEASE); /* the data are written, or read, before it */
    if (ioctl(device(), LAGOON_IOC_NOTIFY, &req) < 0) {
        die("cannot ring: %s", strerror(errno));
    }
}

static void ring_wait(struct buffer *b)
{
    uint32_t state;
    int error = wait_for_ring(b, 60000, &state);

    if (error) {
        die("waiting for the doorbell: %s", strerror(error));
    }
}

static uint64_t ring_total(const struct buffer *b, const char *text)
{
    uint64_t total;

    if (b->bytes != 4096 + 2 * HALF_BYTES) {
        die("the ring is a buffer of 68K");
    }
    if (!parse_number(text, &total) || !total || total % PRIVATE_BYTES) {
        die("\"%s\" is not a number of MiB", text);
    }
    return total;
}

static uint8_t *private_memory(void)
{
    uint8_t *memory = malloc(PRIVATE_BYTES);

    if (!memory) {
        die("no memory");
    }
    memset(memory, 0, PRIVATE_BYTES);
    return memory;
}

void do_ring_out(struct buffer *b, char **args)
{
    struct ring *ring = (struct ring *)b->data;
    uint64_t total = ring_total(b, args[2]), copied = 0;
    uint8_t *mine = private_memory();
    int fd = open(args[1], O_RDONLY | O_CLOEXEC);

    while (copied < total) {
        if (copied % PRIVATE_BYTES == 0 && read(fd, mine, PRIVATE_BYTES) != PRIVATE_BYTES) {
            die("%s: %s", args[1], strerror(errno));
        }
        while (copied - ring_load(&ring->consumed) >= 2 * HALF_BYTES) {
            ring_wait(b);
        }
        memcpy(b->data + 4096 + copied % (2 * HALF_BYTES), mine + copied % PRIVATE_BYTES, HALF_BYTES);
        copied += HALF_BYTES;
        ring_add(b, &ring->produced);
    }
    while (ring_load(&ring->consumed) < total) {
        ring_wait(b);
    }
    close(fd);
    free(mine);
    say("read %llu bytes of %s into private memory and copied them into the ring", (unsigned long long)copied, args[1]);
}

void do_ring_in(struct buffer *b, char **args)
{
    struct ring *ring = (struct ring *)b->data;
    uint64_t total = ring_total(b, args[2]), copied = 0;
    uint8_t *mine = private_memory();
    int fd = connect_to(args[1]);
    char text[ANSWER_BYTES];

    while (copied < total) {
        while (ring_load(&ring->produced) <= copied) {
            ring_wait(b);
        }
        memcpy(mine + copied % PRIVATE_BYTES, b->data + 4096 + copied % (2 * HALF_BYTES), HALF_BYTES);
        copied += HALF_BYTES;
        if (copied < total) {
            ring_add(b, &ring->consumed);
        }
        if (copied % PRIVATE_BYTES == 0) {
            socket_send(fd, args[1], mine, PRIVATE_BYTES);
        }
    }
    socket_answer(fd, args[1], text);
    ring_add(b, &ring->consumed); /* only now is the owner to go on */
    close(fd);
    free(mine);
    say("copied %llu bytes out of the ring into private memory and sent them; the peer answers: %s",
        (unsigned long long)copied, text);
}

/* ---- (b), (c): one VM owns both devices ---- */

void cmd_carry(const char *way, char **args, int count)
{
    char text[ANSWER_BYTES];
    uint64_t bytes;
    int fd, to;

    if (count != 3 || !parse_number(args[2], &bytes) || !bytes) {
        die("carry what? lagoon carry mmap|sendfile DEVICE ADDRESS:PORT SIZE");
    }
    fd = open(args[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || device_bytes(fd, args[0]) < bytes) {
        die("%s: %s", args[0], fd < 0 ? strerror(errno) : "it is smaller than that");
    }
    to = connect_to(args[1]);
    counts_begin(true);
    if (!strcmp(way, "mmap")) {
        uint8_t *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED) {
            die("%s: %s", args[0], strerror(errno));
        }
        socket_send(to, args[1], map, bytes);
    } else if (!strcmp(way, "sendfile")) {
        for (uint64_t left = bytes; left;) {
            ssize_t sent = sendfile(to, fd, NULL, left);

            if (sent <= 0) {
                die("%s to %s: %s", args[0], args[1], sent < 0 ? strerror(errno) : "it ended early");
            }
            left -= (uint64_t)sent;
        }
    } else {
        die("\"%s\" is no way to carry; see: lagoon --help", way);
    }
    socket_answer(to, args[1], text);
    counts_end(true, way, bytes);
    say("carried by %s; the peer answers: %s", way, text);
}
