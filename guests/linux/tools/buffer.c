// SPDX-License-Identifier: Apache-2.0
/* One dma-buf, mapped into this process: filling it, and the digest that travels with an offer. */
#include <errno.h>
#include <linux/dma-buf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tool.h"

static const uint8_t meta_magic[8] = "SHA-256:";

void buffer_map(struct buffer *b)
{
    int prot = b->read_only ? PROT_READ : PROT_READ | PROT_WRITE;

    b->data = mmap(NULL, b->bytes, prot, MAP_SHARED, b->fd, 0);
    if (b->data == MAP_FAILED) {
        die("cannot map %s: %s", size_text(b->bytes), strerror(errno));
    }
}

void buffer_sync(const struct buffer *b, bool begin)
{
    struct dma_buf_sync sync = {
        .flags = (begin ? DMA_BUF_SYNC_START : DMA_BUF_SYNC_END) |
                 (b->read_only ? DMA_BUF_SYNC_READ : DMA_BUF_SYNC_RW),
    };

    if (ioctl(b->fd, DMA_BUF_IOCTL_SYNC, &sync) < 0 && begin) {
        die("the buffer is not accessible: %s", strerror(errno));
    }
}

/* splitmix64: the same seed gives the same bytes everywhere. */
void buffer_fill(struct buffer *b, uint64_t seed)
{
    buffer_sync(b, true);
    for (uint64_t at = 0; at < b->bytes; at += 8) {
        uint64_t z = seed += 0x9e3779b97f4a7c15;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        z ^= z >> 31;
        memcpy(b->data + at, &z, b->bytes - at < 8 ? b->bytes - at : 8);
    }
    buffer_sync(b, false);
}

void buffer_load(struct buffer *b, const char *file)
{
    FILE *in = strcmp(file, "-") ? fopen(file, "rb") : stdin;
    size_t got;

    if (!in) {
        die("%s: %s", file, strerror(errno));
    }
    buffer_sync(b, true);
    got = fread(b->data, 1, b->bytes, in);
    buffer_sync(b, false);
    if (ferror(in)) {
        die("%s: cannot be read", file);
    }
    if (fgetc(in) != EOF) {
        die("%s: longer than the buffer of %s", file, size_text(b->bytes));
    }
    say("loaded %zu bytes of %s", got, file);
    if (in != stdin) {
        fclose(in);
    }
}

void meta_put(uint8_t meta[LAGOON_META_MAX], const struct buffer *b)
{
    memset(meta, 0, LAGOON_META_MAX);
    if (b->has_digest) {
        memcpy(meta, meta_magic, sizeof(meta_magic));
        memcpy(meta + sizeof(meta_magic), b->digest, SHA256_BYTES);
    }
}

void meta_get(const uint8_t meta[LAGOON_META_MAX], struct buffer *b)
{
    b->has_digest = !memcmp(meta, meta_magic, sizeof(meta_magic));
    if (b->has_digest) {
        memcpy(b->digest, meta + sizeof(meta_magic), SHA256_BYTES);
    }
}
