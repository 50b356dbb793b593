// SPDX-License-Identifier: Apache-2.0
/* The lagoon command: shares dma-bufs with other VMs, imports theirs, and shows what is shared. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "tool.h"

static const char help[] =
    "lagoon: share memory with other VMs of the Atoll hypervisor, in place, without a copy\n"
    "\n"
    "  lagoon info                       this VM, its share window, its limits\n"
    "  lagoon peers                      the VMs that we may share with\n"
    "  lagoon list                       what we share, what we are offered, what we imported\n"
    "  lagoon watch                      the same, again whenever something changes (until Ctrl-C)\n"
    "  lagoon heap --size SIZE [--fill SEED | --file FILE] [actions]\n"
    "        allocate a dma-buf, share it with nobody\n"
    "  lagoon share --peer NAME[:ro] [--peer NAME[:ro] ...] --label LABEL\n"
    "               (--size SIZE [--fill SEED] | --file FILE) [--ro] [--keep] [actions]\n"
    "        allocate a dma-buf from /dev/dma_heap/lagoon, fill it (with bytes made from SEED, or with\n"
    "        a file), share it. It ends with this command, or with --keep: stays until lagoon reclaim.\n"
    "        --ro: the borrowers may only read; NAME:ro: that one may. There can be four.\n"
    "  lagoon import (--label LABEL [--peer NAME] | --handle HANDLE) [--timeout SECONDS] [--ro] [actions]\n"
    "        wait for the offer (10 seconds, or: forever), map it; it is given back when this command ends\n"
    "  lagoon open SHARE [actions]       map a share of ours that was made with --keep\n"
    "  lagoon wait SHARE [SECONDS]       wait until its doorbell rings or its state changes\n"
    "  lagoon notify SHARE               ring the other side's doorbell\n"
    "  lagoon reclaim SHARE [--timeout SECONDS] [--force]\n"
    "        take it back; --force: after the time-out take it although the borrower uses it\n"
    "  lagoon carry mmap|sendfile DEVICE ADDRESS:PORT SIZE   a disk's bytes over TCP, without lagoon, to compare\n"
    "\n"
    "SHARE is a label, or a handle as in lagoon list. SIZE may end in K, M or G.\n"
    "Before the command: --story NAME prints lines as \"NAME: step N: ...\", --step N starts at N.\n"
    "\n";

static const char example[] =
    "\n"
    "Example, in alpha:  lagoon share --peer beta --label tide --size 16M --fill 1 --wait 60 --read 0\n"
    "         in beta:   lagoon import --peer alpha --label tide --verify --write 0 hello --ring\n";

static bool take(char **args, int count, int *i, const char *name, const char **value)
{
    if (strcmp(args[*i], name)) {
        return false;
    }
    if (*i + 1 >= count) {
        die("%s needs a value; see: lagoon --help", name);
    }
    *value = args[++*i];
    return true;
}

static bool flag(const char *arg, const char *name, bool *value)
{
    *value |= !strcmp(arg, name);
    return !strcmp(arg, name);
}

static struct options parse(char **args, int count)
{
    struct options o = { .timeout = "10" };
    const char *peer;

    o.actions = calloc((size_t)count + 1, sizeof(*o.actions));
    if (!o.actions) {
        die("no memory");
    }
    for (int i = 0; i < count; i++) {
        int words = action_words(args + i, count - i);

        if (words) {
            memcpy(o.actions + o.action_count, args + i, (size_t)words * sizeof(*args));
            o.action_count += words;
            i += words - 1;
        } else if (take(args, count, &i, "--peer", &peer)) {
            if (o.peer_count == LAGOON_MAX_BORROWERS) {
                die("a share has at most %d borrowers", LAGOON_MAX_BORROWERS);
            }
            o.peers[o.peer_count++] = peer;
        } else if (!take(args, count, &i, "--label", &o.label) &&
                   !take(args, count, &i, "--handle", &o.handle) && !take(args, count, &i, "--file", &o.file) &&
                   !take(args, count, &i, "--size", &o.size) && !take(args, count, &i, "--fill", &o.fill) &&
                   !take(args, count, &i, "--timeout", &o.timeout) && !flag(args[i], "--ro", &o.ro) &&
                   !flag(args[i], "--keep", &o.keep) && !flag(args[i], "--force", &o.force)) {
            die("\"%s\" is not understood; see: lagoon --help", args[i]);
        }
    }
    return o;
}

/* ---- what is there ---- */

static void cmd_info(void)
{
    struct lagoon_ioc_info info;

    if (ioctl(device(), LAGOON_IOC_INFO, &info) < 0) {
        die("info: %s", strerror(errno));
    }
    say("VM %u, FF-A %u.%u, %u peers, largest share %s", info.vm_id, info.ffa_version >> 16,
        info.ffa_version & 0xffff, info.peers, size_text(info.max_share_bytes));
    say("share window: %s at %#llx", size_text(info.window_bytes), (unsigned long long)info.window_base);
}

static void cmd_peers(void)
{
    static const char *const states[] = { "absent", "present", "up", "down" };
    struct lagoon_peer_entry list[64];
    struct lagoon_ioc_peers req = { .entries = (uintptr_t)list, .count = 64 };

    if (ioctl(device(), LAGOON_IOC_PEERS, &req) < 0) {
        die("peers: %s", strerror(errno));
    }
    for (uint32_t i = 0; i < req.count && i < 64; i++) {
        say("%-3u %-16s %s", list[i].id, list[i].name, list[i].state < 4 ? states[list[i].state] : "?");
    }
}

static void cmd_list(void)
{
    uint32_t count;
    struct lagoon_entry *list = list_all(&count);

    for (uint32_t i = 0; i < count; i++) {
        const struct lagoon_entry *e = &list[i];

        for (uint32_t k = 0; k < e->party_count; k++) {
            const struct lagoon_party *p = &e->parties[k];

            say("%#llx %s %-12s %-12s %s, %s, %u runs, rung %llu times, %s", (unsigned long long)e->handle,
                e->kind == LAGOON_KIND_SHARE ? "to  " : "from", peer_name(p->peer), e->label, size_text(e->bytes),
                p->flags & LAGOON_RO ? "read-only" : "read-write", e->runs, (unsigned long long)p->count,
                state_name(p->state));
        }
    }
    free(list);
}

static void cmd_watch(void)
{
    struct pollfd changes = { .fd = device(), .events = POLLIN };

    for (;;) {
        cmd_list();
        say("--");
        if (poll(&changes, 1, -1) < 0 && errno != EINTR) {
            die("watch: %s", strerror(errno));
        }
    }
}

/* ---- signals ---- */

static void cmd_wait(const char *name, const char *seconds)
{
    struct lagoon_entry e = find_entry(name, 0);
    struct lagoon_ioc_wait req = {
        .handle = e.handle,
        .count = e.count,
        .state = e.state,
        .timeout_ms = parse_timeout(seconds ? seconds : "forever"),
    };

    if (ioctl(device(), LAGOON_IOC_WAIT, &req) < 0) {
        die("waiting for %s: %s", name, strerror(errno));
    }
    say("%s: rung %llu times, %s", name, (unsigned long long)req.count, state_name(req.state));
}

static void cmd_notify(const char *name)
{
    struct lagoon_ioc_handle req = { .handle = find_entry(name, 0).handle };

    if (ioctl(device(), LAGOON_IOC_NOTIFY, &req) < 0) {
        die("cannot ring: %s", errno == ENOTCONN ? "nobody at the other end has it imported" : strerror(errno));
    }
}

static void cmd_reclaim(const char *name, const struct options *o)
{
    struct lagoon_entry e = find_entry(name, LAGOON_KIND_SHARE);
    struct lagoon_ioc_reclaim req = {
        .handle = e.handle,
        .flags = o->force ? LAGOON_FORCE : 0,
        .timeout_ms = parse_timeout(o->timeout),
    };

    if (ioctl(device(), LAGOON_IOC_RECLAIM, &req) < 0) {
        die("cannot reclaim %s: %s", name,
            errno == ETIMEDOUT ? "a borrower still uses its pages (--force takes them)" : strerror(errno));
    }
    say("reclaimed %s: its %llu pages are ours alone again", name, (unsigned long long)e.bytes / 4096);
}

int main(int argc, char **argv)
{
    const char *story = NULL, *step = "1", *command, *name = NULL;
    uint64_t first = 1;
    struct options o;
    int i = 1;

    while (i < argc && (take(argv, argc, &i, "--story", &story) || take(argv, argc, &i, "--step", &step))) {
        i++;
    }
    command = i < argc ? argv[i++] : "--help";
    if (!strcmp(command, "--help") || !strcmp(command, "-h") || !strcmp(command, "help")) {
        printf("%s%s%s", help, actions_help, example);
        return 0;
    }
    if (!parse_number(step, &first)) {
        die("\"%s\" is not a step number", step);
    }
    if (story) {
        story_begin(story, (unsigned)first);
    }
    if (!strcmp(command, "open") || !strcmp(command, "wait") || !strcmp(command, "notify") ||
        !strcmp(command, "reclaim")) {
        if (i >= argc) {
            die("%s what? A label or a handle; see: lagoon list", command);
        }
        name = argv[i++];
    }
    if (name && !strcmp(command, "wait")) {
        cmd_wait(name, i < argc ? argv[i] : NULL);
        return 0;
    }
    if (!strcmp(command, "carry")) {
        cmd_carry(i < argc ? argv[i] : "", argv + i + 1, argc - i - 1);
        return 0;
    }
    o = parse(argv + i, argc - i);
    if (!strcmp(command, "info")) {
        cmd_info();
    } else if (!strcmp(command, "peers")) {
        cmd_peers();
    } else if (!strcmp(command, "list")) {
        cmd_list();
    } else if (!strcmp(command, "watch")) {
        cmd_watch();
    } else if (!strcmp(command, "heap")) {
        cmd_heap(&o);
    } else if (!strcmp(command, "share")) {
        cmd_share(&o);
    } else if (!strcmp(command, "import")) {
        cmd_import(&o);
    } else if (!strcmp(command, "open")) {
        cmd_open(name, &o);
    } else if (!strcmp(command, "notify")) {
        cmd_notify(name);
    } else if (!strcmp(command, "reclaim")) {
        cmd_reclaim(name, &o);
    } else {
        die("there is no command \"%s\"; see: lagoon --help", command);
    }
    return 0;
}
