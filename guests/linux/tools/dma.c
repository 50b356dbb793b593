// SPDX-License-Identifier: Apache-2.0
/*
 * The actions that let a device of this VM move the bytes: a disk writes into the buffer (O_DIRECT), a network card reads
 * out of it (MSG_ZEROCOPY). Each says what the kernel's own counters tell about copies. Does not own: the buffer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

#define CHUNK_BYTES (1u << 20) /* one system call moves so much */

/* ---- disk ---- */

uint64_t cached_pages(int fd, uint64_t bytes)
{
    size_t pages = (bytes + 4095) / 4096;
    unsigned char *in_cache = calloc(pages, 1);
    void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    uint64_t count = 0;

    if (!in_cache || map == MAP_FAILED || mincore(map, bytes, in_cache) < 0) {
        die("cannot ask for the page cache: %s", strerror(errno));
    }
    for (size_t i = 0; i < pages; i++) {
        count += in_cache[i] & 1;
    }
    munmap(map, bytes);
    free(in_cache);
    return count;
}

uint64_t device_bytes(int fd, const char *name)
{
    struct stat info;
    uint64_t bytes = 0;

    if (fstat(fd, &info) < 0) {
        die("%s: %s", name, strerror(errno));
    }
    if (!S_ISBLK(info.st_mode)) {
        return (uint64_t)info.st_size;
    }
    if (ioctl(fd, BLKGETSIZE64, &bytes) < 0) {
        die("%s: %s", name, strerror(errno));
    }
    return bytes;
}

/* O_DIRECT needs addresses, offsets and lengths in whole blocks of the device. Ours are whole pages. */
static void check_alignment(int fd, const char *name)
{
    struct stat info;
    int block = 512;

    if (!fstat(fd, &info) && S_ISBLK(info.st_mode) && ioctl(fd, BLKSSZGET, &block) < 0) {
        die("%s: %s", name, strerror(errno));
    }
    if (block <= 0 || 4096 % block) {
        die("%s: its blocks of %d bytes do not fit into pages", name, block);
    }
}

void do_read_from(struct buffer *b, char **args)
{
    int fd = open(args[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
    uint64_t done = 0, before, cached;

    if (fd < 0) {
        die("%s: %s", args[1], strerror(errno));
    }
    if (b->read_only) {
        die("the buffer is read-only here");
    }
    check_alignment(fd, args[1]);
    if (device_bytes(fd, args[1]) < b->bytes) {
        die("%s is smaller than the buffer of %s", args[1], size_text(b->bytes));
    }
    before = cached_pages(fd, b->bytes);
    while (done < b->bytes) {
        size_t want = b->bytes - done < CHUNK_BYTES ? b->bytes - done : CHUNK_BYTES;
        ssize_t got = pread(fd, b->data + done, want, (off_t)done);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || got % 4096) {
            die("%s, offset %llu: %s", args[1], (unsigned long long)done,
                got < 0 ? strerror(errno) : "the device gave less than it has");
        }
        done += (uint64_t)got;
    }
    cached = cached_pages(fd, b->bytes);
    close(fd);
    if (cached > before) {
        die("%s: %llu pages went through the page cache", args[1], (unsigned long long)(cached - before));
    }
    say("%s: the device wrote %llu bytes into the buffer itself (O_DIRECT; pages of it in the page cache: %llu)", args[1],
        (unsigned long long)done, (unsigned long long)cached);
}

/* ---- network ---- */

int connect_to(const char *where)
{
    struct sockaddr_in peer = { .sin_family = AF_INET };
    const char *colon = strrchr(where, ':');
    char host[64];
    uint64_t port;
    int fd;

    snprintf(host, sizeof(host), "%.*s", colon ? (int)(colon - where) : 0, where);
    if (!colon || !parse_number(colon + 1, &port) || !port || port > 65535 ||
        inet_pton(AF_INET, host, &peer.sin_addr) != 1) {
        die("\"%s\" is not ADDRESS:PORT (as 10.0.2.2:7)", where);
    }
    peer.sin_port = htons((uint16_t)port);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof(peer)) < 0) {
        die("%s: %s", where, strerror(errno));
    }
    return fd;
}

/* What the other end answers after all was sent: one line. */
void socket_answer(int fd, const char *where, char text[ANSWER_BYTES])
{
    size_t have = 0;

    if (shutdown(fd, SHUT_WR) < 0) {
        die("%s: %s", where, strerror(errno));
    }
    while (have < ANSWER_BYTES - 1 && !memchr(text, '\n', have)) {
        ssize_t got = recv(fd, text + have, ANSWER_BYTES - 1 - have, 0);

        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            die("%s: %s", where, got < 0 ? strerror(errno) : "it closed the connection without an answer");
        }
        have += (size_t)got;
    }
    text[have] = 0;
    text[strcspn(text, "\r\n")] = 0;
    for (char *at = text; *at; at++) {
        *at = *at < ' ' || *at > '~' ? '?' : *at; /* the network wrote it */
    }
}

void socket_send(int fd, const char *where, const uint8_t *data, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t sent = send(fd, data + done, bytes - done < CHUNK_BYTES ? bytes - done : CHUNK_BYTES, MSG_NOSIGNAL);

        if (sent < 0 && errno != EINTR) {
            die("%s: %s", where, strerror(errno));
        }
        done += sent > 0 ? (uint64_t)sent : 0;
    }
}

void do_send(struct buffer *b, char **args)
{
    char text[ANSWER_BYTES];
    int fd = connect_to(args[1]);

    socket_send(fd, args[1], b->data, b->bytes);
    socket_answer(fd, args[1], text);
    close(fd);
    say("sent %llu bytes to %s, copied by the kernel; it answers: %s", (unsigned long long)b->bytes, args[1], text);
}

struct completions {
    uint32_t sends;       /* made so far: the kernel numbers them from 0 */
    uint32_t done;        /* reported complete */
    uint32_t copied;      /* of these: the kernel made a copy after all */
    uint32_t next;        /* TCP reports them in order */
};

/* Takes one report off the error queue; waits for it. Until then the kernel may still read the pages. */
static void reap(int fd, const char *where, struct completions *c)
{
    struct pollfd queue = { .fd = fd };
    char control[128];
    struct msghdr message = { .msg_control = control, .msg_controllen = sizeof(control) };
    struct sock_extended_err error;

    while (recvmsg(fd, &message, MSG_ERRQUEUE) < 0) {
        if (errno != EAGAIN && errno != EINTR) {
            die("%s: completions: %s", where, strerror(errno));
        }
        if (poll(&queue, 1, 30000) == 0) {
            die("%s: nothing was acknowledged for 30 seconds", where);
        }
        message.msg_controllen = sizeof(control);
    }
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&message); at; at = CMSG_NXTHDR(&message, at)) {
        if (at->cmsg_level != SOL_IP || at->cmsg_type != IP_RECVERR) {
            continue;
        }
        memcpy(&error, CMSG_DATA(at), sizeof(error));
        if (error.ee_errno || error.ee_origin != SO_EE_ORIGIN_ZEROCOPY) {
            die("%s: %s", where, error.ee_errno ? strerror((int)error.ee_errno) : "an unknown report");
        }
        /* One report is for the sends from ee_info to ee_data. */
        if (error.ee_info != c->next || error.ee_data - error.ee_info >= c->sends - c->done) {
            die("%s: completion of sends %u to %u, but %u was next", where, error.ee_info, error.ee_data, c->next);
        }
        c->next = error.ee_data + 1;
        c->done += error.ee_data - error.ee_info + 1;
        if (error.ee_code & SO_EE_CODE_ZEROCOPY_COPIED) {
            c->copied += error.ee_data - error.ee_info + 1;
        }
    }
}

void do_send_zerocopy(struct buffer *b, char **args)
{
    struct completions c = { 0 };
    char text[ANSWER_BYTES];
    int fd = connect_to(args[1]), one = 1;

    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) < 0) {
        die("%s: SO_ZEROCOPY: %s", args[1], strerror(errno));
    }
    for (uint64_t at = 0; at < b->bytes;) {
        size_t want = b->bytes - at < CHUNK_BYTES ? b->bytes - at : CHUNK_BYTES;
        ssize_t sent = send(fd, b->data + at, want, MSG_ZEROCOPY | MSG_NOSIGNAL);

        if (sent > 0) {
            c.sends++;
            at += (uint64_t)sent;
        } else if (sent < 0 && errno == ENOBUFS && c.done < c.sends) {
            reap(fd, args[1], &c); /* so many reports may wait, and no more */
        } else if (sent < 0 && errno != EINTR) {
            die("%s: %s", args[1], strerror(errno));
        }
    }
    while (c.done < c.sends) {
        reap(fd, args[1], &c);
    }
    socket_answer(fd, args[1], text);
    close(fd);
    if (c.copied) {
        die("%s: the kernel reports that it copied %u of %u sends", args[1], c.copied, c.sends);
    }
    say("sent %llu bytes to %s: the kernel reports %u of %u sends zero-copied, 0 copied; it answers: %s",
        (unsigned long long)b->bytes, args[1], c.done, c.sends, text);
}
