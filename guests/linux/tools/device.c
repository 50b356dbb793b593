// SPDX-License-Identifier: Apache-2.0
/* /dev/lagoon and /dev/dma_heap/lagoon: opening, looking up handles, labels and peers. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dma-heap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tool.h"

int device(void)
{
    static int fd = -1;

    if (fd < 0) {
        fd = open("/dev/lagoon", O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            die("/dev/lagoon: %s (is lagoon.ko loaded, and is this a guest of Atoll with a share window?)",
                strerror(errno));
        }
    }
    return fd;
}

int heap_alloc(uint64_t bytes)
{
    struct dma_heap_allocation_data data = { .len = bytes, .fd_flags = O_RDWR | O_CLOEXEC };
    int heap = open("/dev/dma_heap/lagoon", O_RDWR | O_CLOEXEC);

    if (heap < 0) {
        die("/dev/dma_heap/lagoon: %s (is lagoon.ko loaded?)", strerror(errno));
    }
    if (ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data) < 0) {
        die("cannot allocate %s from /dev/dma_heap/lagoon: %s", size_text(bytes), strerror(errno));
    }
    return (int)data.fd;
}

const char *peer_name(uint32_t id)
{
    static char name[LAGOON_NAME_MAX];
    struct lagoon_peer_entry list[64];
    struct lagoon_ioc_peers req = { .entries = (uintptr_t)list, .count = 64 };

    if (!id) {
        return "its borrowers";
    }
    snprintf(name, sizeof(name), "vm%u", id);
    if (ioctl(device(), LAGOON_IOC_PEERS, &req) == 0) {
        for (uint32_t i = 0; i < req.count && i < 64; i++) {
            if (list[i].id == id) {
                memcpy(name, list[i].name, sizeof(name));
            }
        }
    }
    return name;
}

const char *state_name(uint32_t state)
{
    static const char *const names[] = { "?",         "offered",  "borrowed",  "returning",
                                         "revoked", "orphaned", "peer-gone", "reclaimed" };

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : names[0];
}

void copy_name(char to[LAGOON_NAME_MAX], const char *from, const char *what)
{
    if (strlen(from) >= LAGOON_NAME_MAX) {
        die("%s \"%s\" is longer than %d characters", what, from, LAGOON_NAME_MAX - 1);
    }
    memset(to, 0, LAGOON_NAME_MAX);
    memcpy(to, from, strlen(from));
}

struct lagoon_entry *list_all(uint32_t *count)
{
    uint32_t room = 64;

    for (;;) {
        struct lagoon_entry *list = calloc(room, sizeof(*list));
        struct lagoon_ioc_list req = { .entries = (uintptr_t)list, .count = room };

        if (!list) {
            die("no memory for a list of %u entries", room);
        }
        if (ioctl(device(), LAGOON_IOC_LIST, &req) < 0) {
            die("list: %s", strerror(errno));
        }
        if (req.count <= room) {
            *count = req.count;
            return list;
        }
        free(list);
        room = req.count + 16;
    }
}

struct lagoon_entry find_entry(const char *text, uint32_t kind)
{
    struct lagoon_entry found = { .handle = 0 };
    uint64_t handle = 0;
    bool digits = parse_number(text, &handle);
    uint32_t count, hits = 0;
    struct lagoon_entry *list = list_all(&count);

    for (uint32_t i = 0; i < count; i++) {
        if (kind && list[i].kind != kind) {
            continue;
        }
        if (digits ? list[i].handle == handle : !strncmp(list[i].label, text, LAGOON_NAME_MAX)) {
            found = list[i];
            hits++;
        }
    }
    free(list);
    if (!hits) {
        die("there is no %s with the %s %s (see: lagoon list)", kind ? "share of ours" : "share and no offer",
            digits ? "handle" : "label", text);
    }
    if (hits > 1) {
        die("%u shares have the label %s: name one by its handle (see: lagoon list)", hits, text);
    }
    return found;
}

int parse_timeout(const char *seconds)
{
    uint64_t value;

    if (!strcmp(seconds, "-") || !strcmp(seconds, "forever")) {
        return -1;
    }
    if (!parse_number(seconds, &value) || value > 1000000) {
        die("\"%s\" is not a number of seconds (or: forever)", seconds);
    }
    return (int)(value * 1000);
}
