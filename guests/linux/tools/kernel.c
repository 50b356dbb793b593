// SPDX-License-Identifier: Apache-2.0
/*
 * The actions that let the kernel hold on to a buffer. --kernel STEP: what drivers do, done by the test module
 * lagoon_check. --pin, --unpin: a page on its way through a pipe.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../check/lagoon_check.h"
#include "tool.h"

static int check_device(void)
{
    static int fd = -1; /* one for the whole command: it keeps what "vmap" and "map" have mapped */

    if (fd < 0) {
        fd = open("/dev/lagoon_check", O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            die("/dev/lagoon_check: %s (modprobe lagoon_check loads the test module)", strerror(errno));
        }
    }
    return fd;
}

/* As lagoon_check.c computes it. */
static uint64_t sum_words(const struct buffer *b)
{
    uint64_t sum = 0;

    buffer_sync(b, true);
    for (uint64_t at = 0; at + 8 <= b->bytes; at += 8) {
        uint64_t word;

        memcpy(&word, b->data + at, sizeof(word));
        sum = (sum ^ word) * 0x100000001b3;
    }
    buffer_sync(b, false);
    return sum;
}

static uint32_t step_number(const char *name)
{
    static const char *const names[] = { "", "check", "vmap", "map", "touch", "drop", "refused" };

    for (uint32_t i = 1; i < sizeof(names) / sizeof(names[0]); i++) {
        if (!strcmp(name, names[i])) {
            return i;
        }
    }
    die("--kernel does not know the step \"%s\"; see: lagoon --help", name);
}

void do_kernel(struct buffer *b, char **args)
{
    struct lagoon_check c = {
        .fd = b->fd,
        .step = step_number(args[1]),
        .read_only = b->read_only,
        .write_at = b->bytes - 4096 + 1024, /* in the last page */
    };

    if (c.step == LAGOON_CHECK_ALL) {
        c.sum = sum_words(b);
    }
    if (ioctl(check_device(), LAGOON_IOC_CHECK, &c) < 0) {
        die("the kernel's %s: %s", args[1], errno == EILSEQ ? c.text : strerror(errno));
    }
    say("the kernel's %s: %s", args[1], c.text);
    if (c.step == LAGOON_CHECK_ALL && !b->read_only) {
        if (memcmp(b->data + c.write_at, LAGOON_CHECK_TEXT, sizeof(LAGOON_CHECK_TEXT)) != 0) {
            die("what the kernel wrote at offset %#llx is not there", (unsigned long long)c.write_at);
        }
        say("what it wrote is in place at offset %#llx: \"%s\"", (unsigned long long)c.write_at, LAGOON_CHECK_TEXT);
    }
}

static int pin_pipe[2] = { -1, -1 };

void do_pin(struct buffer *b, char **args)
{
    struct iovec page = { .iov_base = b->data, .iov_len = 4096 };

    (void)args;
    if (pin_pipe[0] >= 0) {
        die("--pin: the pipe holds a page already");
    }
    if (pipe2(pin_pipe, O_CLOEXEC) < 0 || vmsplice(pin_pipe[1], &page, 1, 0) != 4096) {
        die("--pin: %s", strerror(errno));
    }
    say("the first page is in a pipe");
}

void do_unpin(struct buffer *b, char **args)
{
    uint8_t bytes[4096];
    unsigned not_zero = 0;

    (void)b;
    (void)args;
    if (pin_pipe[0] < 0 || read(pin_pipe[0], bytes, sizeof(bytes)) != sizeof(bytes)) {
        die("--unpin: there is no page in the pipe");
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        not_zero += bytes[i] != 0;
    }
    close(pin_pipe[0]);
    close(pin_pipe[1]);
    pin_pipe[0] = pin_pipe[1] = -1;
    say("read the page out of the pipe: %u of its 4096 bytes are not zero", not_zero);
}
