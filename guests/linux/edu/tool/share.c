// SPDX-License-Identifier: Apache-2.0
/* edu pull, edu push: the device reads or writes memory that is shared with another VM, in place. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "edu_tool.h"

struct arguments {
    const char *peer, *label, *own, *timeout, *fill;
};

static struct buffer import_shared(const struct arguments *a, bool push)
{
    struct lagoon_ioc_import req = { .flags = push ? 0 : LAGOON_RO, .timeout_ms = parse_timeout(a->timeout) };
    struct buffer b = { .fd = -1 };

    copy_name(req.peer_name, a->peer ? a->peer : "", "peer");
    copy_name(req.label, a->label, "label");
    if (ioctl(device(), LAGOON_IOC_IMPORT, &req) < 0) {
        fail("cannot import \"%s\": %s", a->label, strerror(errno));
    }
    b.fd = req.fd;
    b.bytes = req.bytes;
    b.read_only = req.flags & LAGOON_RO;
    b.handle = req.handle;
    b.peer = req.peer;
    copy_name(b.label, req.label, "label");
    meta_get(req.meta, &b);
    return b;
}

static struct buffer open_own(const struct arguments *a)
{
    struct lagoon_entry entry = find_entry(a->own, LAGOON_KIND_SHARE);
    struct lagoon_ioc_handle req = { .handle = entry.handle };
    struct buffer b = { .fd = -1, .bytes = entry.bytes, .handle = entry.handle, .ours = true };

    if (ioctl(device(), LAGOON_IOC_OPEN, &req) < 0) {
        fail("cannot open the share \"%s\": %s", a->own, strerror(errno));
    }
    b.fd = req.fd;
    b.peer = entry.party_count == 1 ? entry.parties[0].peer : 0;
    copy_name(b.label, entry.label, "label");
    meta_get(entry.meta, &b);
    return b;
}

static void digest_of(struct buffer *b, uint8_t digest[SHA256_BYTES], char hex[SHA256_HEX_BYTES])
{
    buffer_sync(b, true);
    sha256(b->data, b->bytes, digest);
    buffer_sync(b, false);
    sha256_hex(digest, hex);
}

void cmd_shared(bool push, char **args, int count)
{
    struct arguments a = { .timeout = "10", .fill = "1" };
    uint8_t digest[SHA256_BYTES], other[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES], other_hex[SHA256_HEX_BYTES];
    struct edu_ioc_info before, after;
    struct buffer shared, local;
    int edu = edu_open();

    for (int i = 0; i < count; i++) {
        if (!option(args, count, &i, "--peer", &a.peer) && !option(args, count, &i, "--label", &a.label) &&
            !option(args, count, &i, "--own", &a.own) && !option(args, count, &i, "--timeout", &a.timeout) &&
            !(push && option(args, count, &i, "--fill", &a.fill))) {
            fail("\"%s\" is not understood; see: edu --help", args[i]);
        }
    }
    if (!a.label == !a.own) {
        fail("one of --label (a peer's buffer) and --own (a share of ours) is needed");
    }
    shared = a.own ? open_own(&a) : import_shared(&a, push);
    local = heap_buffer(shared.bytes);
    if (push) {
        buffer_fill(&local, number(a.fill, 0, UINT64_MAX, "seed"));
    }
    before = edu_info(edu);
    must_finish(edu, start_copy(edu, push ? &local : &shared, 0, push ? &shared : &local, 0, shared.bytes, -1),
                push ? "push" : "pull");
    after = edu_info(edu);
    /* Only now does the CPU look at the shared buffer, to check. */
    buffer_map(&shared);
    digest_of(&local, digest, hex);
    digest_of(&shared, other, other_hex);
    if (memcmp(digest, other, sizeof(digest))) {
        fail("our buffer has SHA-256 %s, the shared one %s", hex, other_hex);
    }
    if (!push && shared.has_digest && memcmp(digest, shared.digest, sizeof(digest))) {
        fail("SHA-256 is %s, another one came with the offer", hex);
    }
    say("PASS %s \"%s\" of %s: %s by DMA, %llu transfers, %llu interrupts, SHA-256 %s%s", push ? "push to" : "pull from",
        shared.label, peer_name(shared.peer), size_text(shared.bytes),
        (unsigned long long)(after.transfers - before.transfers),
        (unsigned long long)(after.interrupts - before.interrupts), hex,
        !push && shared.has_digest ? ", as announced" : "");
    if (push && shared.handle) {
        struct lagoon_ioc_handle ring = { .handle = shared.handle };

        if (ioctl(device(), LAGOON_IOC_NOTIFY, &ring) < 0 && errno != ENOTCONN) {
            fail("the doorbell: %s", strerror(errno));
        }
    }
}
