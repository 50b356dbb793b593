// SPDX-License-Identifier: Apache-2.0
/* heap, share, import, open: where the buffer comes from that the command's actions then work on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "tool.h"

static uint64_t wanted_bytes(const struct options *o)
{
    uint64_t bytes = 0;
    struct stat info;

    if (o->size) {
        if (!parse_number(o->size, &bytes) || !bytes) {
            die("\"%s\" is not a size", o->size);
        }
    } else if (o->file && strcmp(o->file, "-")) {
        if (stat(o->file, &info) < 0) {
            die("%s: %s", o->file, strerror(errno));
        }
        bytes = info.st_size > 0 ? (uint64_t)info.st_size : 1;
    } else {
        die("how large? --size SIZE, or --file FILE; see: lagoon --help");
    }
    return (bytes + 4095) / 4096 * 4096;
}

static struct buffer allocate(const struct options *o)
{
    struct buffer b = { .bytes = wanted_bytes(o) };
    char hex[SHA256_HEX_BYTES];
    uint64_t seed;

    b.fd = heap_alloc(b.bytes);
    buffer_map(&b);
    say("allocated %s (%llu pages) from /dev/dma_heap/lagoon", size_text(b.bytes),
        (unsigned long long)b.bytes / 4096);
    if (o->file) {
        buffer_load(&b, o->file);
    }
    if (o->fill) {
        if (!parse_number(o->fill, &seed)) {
            die("\"%s\" is not a seed (a number)", o->fill);
        }
        buffer_fill(&b, seed);
    }
    if (o->file || o->fill) {
        sha256(b.data, b.bytes, b.digest);
        sha256_hex(b.digest, hex);
        b.has_digest = true;
        say("filled it %s; SHA-256: %s", o->fill ? "with pseudo-random bytes" : "from a file", hex);
    }
    return b;
}

void cmd_heap(const struct options *o)
{
    struct buffer b = allocate(o);

    actions_run(&b, o->actions, o->action_count);
}

/* Each "NAME" or "NAME:ro" of the command line into the request; returns the names as one text. */
static const char *set_receivers(struct lagoon_ioc_share *req, const struct options *o)
{
    static char names[LAGOON_MAX_BORROWERS * (LAGOON_NAME_MAX + 2)];

    for (uint32_t i = 0; i < o->peer_count; i++) {
        struct lagoon_receiver *r = &req->receivers[i];
        char name[2 * LAGOON_NAME_MAX];
        char *end;

        snprintf(name, sizeof(name), "%s", o->peers[i]);
        end = strchr(name, ':');
        if (end && !strcmp(end, ":ro")) {
            *end = '\0';
            r->flags = LAGOON_RO;
        }
        copy_name(r->name, name, "peer");
        strcat(strcat(names, i ? ", " : ""), name);
    }
    req->receiver_count = o->peer_count;
    return names;
}

void cmd_share(const struct options *o)
{
    struct lagoon_ioc_share req = { .flags = (o->ro ? LAGOON_RO : 0) | (o->keep ? LAGOON_KEEP : 0) };
    const char *names = set_receivers(&req, o);
    struct buffer b;

    if (!o->peer_count) {
        die("with whom? --peer NAME; see: lagoon peers");
    }
    copy_name(req.label, o->label ? o->label : "", "label");
    device();
    b = allocate(o);
    meta_put(req.meta, &b);
    req.fd = b.fd;
    if (ioctl(device(), LAGOON_IOC_SHARE, &req) < 0) {
        die("cannot share with %s: %s", names,
            errno == ENOENT   ? "no such peer (see: lagoon peers)"
            : errno == E2BIG  ? "it is larger than the largest share (see: lagoon info)"
            : errno == EACCES ? "the hypervisor denies it (the manifest must allow both VMs to share)"
            : errno == ENOMEM ? "no memory for it, or this VM owns as many shares as it may (see: lagoon list)"
                              : strerror(errno));
    }
    b.handle = req.handle;
    b.ours = true;
    say("shared with %s as \"%s\", %s: %u pages in %u contiguous runs described to the hypervisor, 0 bytes copied "
        "(handle %#llx)",
        names, req.label, o->ro ? "read-only" : "read-write", req.pages, req.runs, (unsigned long long)req.handle);
    b.peer = o->peer_count == 1 ? req.receivers[0].peer : 0;
    actions_run(&b, o->actions, o->action_count);
}

void cmd_import(const struct options *o)
{
    struct lagoon_ioc_import req = { .timeout_ms = parse_timeout(o->timeout), .flags = o->ro ? LAGOON_RO : 0 };
    struct buffer b = { 0 };
    uint64_t handle = 0;

    if (o->handle && !parse_number(o->handle, &handle)) {
        die("\"%s\" is not a handle", o->handle);
    }
    if (!o->handle && !o->label) {
        die("what? --label LABEL, or --handle HANDLE; see: lagoon list");
    }
    req.handle = handle;
    if (o->peer_count > 1) {
        die("an offer has one owner: --peer NAME, once");
    }
    copy_name(req.peer_name, o->peer_count ? o->peers[0] : "", "peer");
    copy_name(req.label, o->label ? o->label : "", "label");
    while (ioctl(device(), LAGOON_IOC_IMPORT, &req) < 0) {
        if (errno == EINTR) {
            continue;
        }
        die("cannot import: %s", errno == ETIMEDOUT ? "nothing like it was offered in time"
                                 : errno == EBUSY   ? "it is imported already"
                                 : errno == ENOENT  ? "no such peer or offer"
                                 : errno == ENOMEM  ? "no room for it in the share window (see: lagoon info, lagoon list)"
                                                    : strerror(errno));
    }
    b.fd = req.fd;
    b.bytes = req.bytes;
    b.read_only = req.flags & LAGOON_RO;
    b.handle = req.handle;
    b.peer = req.peer;
    meta_get(req.meta, &b);
    buffer_map(&b);
    say("imported \"%s\" from %s, %s: %llu pages (%u runs at the owner) mapped as one range at window offset %#llx, "
        "0 bytes copied",
        req.label, peer_name(req.peer), b.read_only ? "read-only" : "read-write", (unsigned long long)b.bytes / 4096,
        req.runs, (unsigned long long)req.window_offset);
    actions_run(&b, o->actions, o->action_count);
}

void cmd_open(const char *name, const struct options *o)
{
    struct lagoon_entry e = find_entry(name, LAGOON_KIND_SHARE);
    struct lagoon_ioc_handle req = { .handle = e.handle };
    struct buffer b = { .bytes = e.bytes, .handle = e.handle, .ours = true, .count = e.count };

    if (ioctl(device(), LAGOON_IOC_OPEN, &req) < 0) {
        die("%s: %s", name, strerror(errno));
    }
    b.fd = req.fd;
    b.peer = e.party_count == 1 ? e.parties[0].peer : 0;
    meta_get(e.meta, &b);
    buffer_map(&b);
    actions_run(&b, o->actions, o->action_count);
}
