// SPDX-License-Identifier: Apache-2.0
/* edu test, cancel, refuse, hold: the driver is right about bytes, turns, residue, cancellation, and says no. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "edu_tool.h"

/* Not multiples of anything: neither a page nor a piece nor a cache line begins there. */
#define FROM_OFFSET 17
#define TO_OFFSET 4093
#define GUARD 0x3c
#define MAX_CHANNELS 8

struct lane {
    int edu, event;
    struct buffer from, to;
    uint32_t job;
    uint64_t residue;
    bool done;
};

/* Nothing but the range was written, and the range is right. */
static void check_lane(const struct lane *l, uint64_t bytes, uint64_t moved)
{
    buffer_sync(&l->to, true);
    if (memcmp(l->to.data + TO_OFFSET, l->from.data + FROM_OFFSET, moved)) {
        fail("what the device wrote differs from what it read");
    }
    for (uint64_t at = 0; at < l->to.bytes; at++) {
        if ((at < TO_OFFSET || at >= TO_OFFSET + bytes) && l->to.data[at] != GUARD) {
            fail("byte %llu, outside of the copy, was written", (unsigned long long)at);
        }
    }
    buffer_sync(&l->to, false);
}

static struct lane lane_start(uint64_t bytes, uint64_t seed)
{
    struct lane l = { .edu = edu_open(), .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .residue = bytes };

    l.from = heap_buffer(bytes + 4096);
    l.to = heap_buffer(bytes + 2 * 4096);
    buffer_fill(&l.from, seed);
    buffer_sync(&l.to, true);
    memset(l.to.data, GUARD, l.to.bytes);
    buffer_sync(&l.to, false);
    l.job = start_copy(l.edu, &l.from, FROM_OFFSET, &l.to, TO_OFFSET, bytes, l.event);
    return l;
}

/* The channels take turns piece by piece: no lane may be more than two pieces ahead of another one that still runs. */
static void watch(struct lane *lanes, unsigned count)
{
    struct pollfd polled[MAX_CHANNELS];
    unsigned left = count;

    while (left) {
        uint64_t least = UINT64_MAX, most = 0;

        for (unsigned i = 0; i < count; i++) {
            polled[i] = (struct pollfd){ .fd = lanes[i].done ? -1 : lanes[i].edu, .events = POLLIN };
        }
        if (poll(polled, count, 150) < 0) {
            fail("poll: %s", strerror(errno));
        }
        for (unsigned i = 0; i < count; i++) {
            struct lane *l = &lanes[i];
            struct edu_ioc_wait result;
            uint64_t rung = 0;

            if (l->done) {
                continue;
            }
            if (wait_job(l->edu, l->job, 0, &result)) {
                if (result.error || result.residue) {
                    fail("lane %u: %s, %llu bytes left", i, strerror(-result.error),
                         (unsigned long long)result.residue);
                }
                if (read(l->event, &rung, sizeof(rung)) != sizeof(rung) || rung != 1) {
                    fail("lane %u: the eventfd was signalled %llu times", i, (unsigned long long)rung);
                }
                l->done = true;
                left--;
                continue;
            }
            if (polled[i].revents) {
                fail("lane %u: poll says finished, wait says running", i);
            }
            if (result.residue > l->residue || result.residue > result.bytes) {
                fail("lane %u: the residue grew", i);
            }
            l->residue = result.residue;
            least = result.residue < least ? result.residue : least;
            most = result.residue > most ? result.residue : most;
        }
        if (most > least && most - least > 3 * EDU_BUFFER_BYTES) {
            fail("one channel has %llu bytes left and another %llu: they do not take turns",
                 (unsigned long long)most, (unsigned long long)least);
        }
    }
}

/* In through the device's buffer and out to another place. */
static void put_and_get(void)
{
    int edu = edu_open();
    struct buffer b = heap_buffer(3 * 4096);

    buffer_fill(&b, 77);
    must_finish(edu, start_buffer(edu, true, &b, 100, 3000), "put");
    must_finish(edu, start_buffer(edu, false, &b, 8000, 3000), "get");
    buffer_sync(&b, true);
    if (memcmp(b.data + 100, b.data + 8000, 3000)) {
        fail("what came out of the device's buffer is not what went in");
    }
    buffer_sync(&b, false);
    close(edu);
}

void cmd_test(char **args, int count)
{
    const char *size = "64K", *channels = "1";
    struct lane lanes[MAX_CHANNELS];
    struct edu_ioc_info before, after;
    uint64_t bytes, transfers;
    unsigned lane_count;
    int edu = edu_open();

    for (int i = 0; i < count; i++) {
        if (!option(args, count, &i, "--size", &size) && !option(args, count, &i, "--channels", &channels)) {
            fail("\"%s\" is not understood; see: edu --help", args[i]);
        }
    }
    bytes = number(size, 1, EDU_MAX_COPY_BYTES, "size");
    lane_count = (unsigned)number(channels, 1, MAX_CHANNELS, "number of channels");
    before = edu_info(edu);
    for (unsigned i = 0; i < lane_count; i++) {
        lanes[i] = lane_start(bytes, i + 1);
    }
    watch(lanes, lane_count);
    for (unsigned i = 0; i < lane_count; i++) {
        check_lane(&lanes[i], bytes, bytes);
        close(lanes[i].edu); /* and with it the channel */
    }
    put_and_get();
    after = edu_info(edu);
    transfers = after.transfers - before.transfers;
    if (after.failed != before.failed || transfers < 2 * lane_count * ((bytes + 4095) / 4096)) {
        fail("%llu transfers, %llu failed ones", (unsigned long long)transfers,
             (unsigned long long)(after.failed - before.failed));
    }
    say("PASS %u x %s by DMA, compared: %llu bytes over the bus, %llu transfers, %llu interrupts, %llu lost", lane_count,
        size_text(bytes), (unsigned long long)(after.bytes - before.bytes), (unsigned long long)transfers,
        (unsigned long long)(after.interrupts - before.interrupts), (unsigned long long)(after.lost - before.lost));
}

/* ---- cancel ---- */

void cmd_cancel(char **args, int count)
{
    struct lane l = lane_start(64 << 10, 5);
    uint32_t second = start_copy(l.edu, &l.from, 0, &l.to, TO_OFFSET, 100, -1);
    struct edu_ioc_wait result;
    uint64_t moved;

    (void)args;
    if (count) {
        fail("cancel takes nothing more");
    }
    do { /* until it is under way */
        if (wait_job(l.edu, l.job, 50, &result)) {
            fail("64 KiB are through before they could be cancelled: %s", strerror(-result.error));
        }
    } while (result.residue == result.bytes);
    if (ioctl(l.edu, EDU_IOC_CANCEL) < 0) {
        fail("cancel: %s", strerror(errno));
    }
    if (!wait_job(l.edu, l.job, 0, &result) || result.error != -ECANCELED) {
        fail("the cancelled job says %s", strerror(-result.error));
    }
    if (!wait_job(l.edu, second, 0, &result) || result.error != -ECANCELED || result.residue != 100) {
        fail("the job behind it says %s, %llu bytes left", strerror(-result.error),
             (unsigned long long)result.residue);
    }
    /* The device has let go: what it has not written by now stays so. */
    moved = 0;
    buffer_sync(&l.to, true);
    while (moved < 64 << 10 && l.to.data[TO_OFFSET + moved] == l.from.data[FROM_OFFSET + moved]) {
        moved++;
    }
    for (uint64_t at = TO_OFFSET + moved + 2 * EDU_BUFFER_BYTES; at < l.to.bytes; at++) {
        if (l.to.data[at] != GUARD) {
            fail("byte %llu was written, far behind the cancellation", (unsigned long long)at);
        }
    }
    buffer_sync(&l.to, false);
    must_finish(l.edu, start_copy(l.edu, &l.from, FROM_OFFSET, &l.to, TO_OFFSET, 5000, -1), "a copy after it");
    say("PASS cancel: %llu of 65536 bytes had arrived, the channel works on", (unsigned long long)moved);
}

/* ---- refuse ---- */

static void expect(int got, int error, const char *what)
{
    int saved = errno;

    if (got >= 0 || saved != error) {
        fail("%s: %s instead of %s", what, got >= 0 ? "accepted" : strerror(saved), strerror(error));
    }
}

static int try_copy(int edu, struct edu_ioc_copy copy)
{
    copy.eventfd = -1;
    return ioctl(edu, EDU_IOC_COPY, &copy);
}

static void refuse_copies(int edu, int a, int b)
{
    struct edu_ioc_buffer buffer = { .fd = a, .bytes = 4096, .buffer_offset = 1, .eventfd = -1 };
    struct edu_ioc_copy copy = { .src_fd = a, .dst_fd = b, .bytes = 16, .eventfd = 0 };

#define COPY(...) try_copy(edu, (struct edu_ioc_copy){ .src_fd = a, .dst_fd = b, __VA_ARGS__ })
    expect(COPY(.bytes = 0), EINVAL, "a copy of nothing");
    expect(COPY(.bytes = 8193), EINVAL, "a copy beyond both buffers");
    expect(COPY(.bytes = 1, .src_offset = 8192), EINVAL, "a copy from behind the buffer");
    expect(COPY(.bytes = 4096, .dst_offset = UINT64_MAX - 4095), EINVAL, "a copy to an offset that wraps");
    expect(COPY(.bytes = UINT64_MAX), EINVAL, "a copy of 2^64-1 bytes");
    expect(COPY(.bytes = 16, .flags = 1), EINVAL, "an unknown flag");
    expect(try_copy(edu, (struct edu_ioc_copy){ .src_fd = a, .dst_fd = a, .bytes = 5000, .dst_offset = 100 }),
           EINVAL, "overlapping ranges of one buffer");
    expect(try_copy(edu, (struct edu_ioc_copy){ .src_fd = a, .dst_fd = -1, .bytes = 16 }), EBADF, "no buffer");
    expect(try_copy(edu, (struct edu_ioc_copy){ .src_fd = a, .dst_fd = edu, .bytes = 16 }), EINVAL,
           "a file that is no dma-buf");
    copy.eventfd = a;
    expect(ioctl(edu, EDU_IOC_COPY, &copy), EINVAL, "an eventfd that is none");
    expect(ioctl(edu, EDU_IOC_PUT, &buffer), EINVAL, "a put beyond the device's buffer");
    buffer.buffer_offset = UINT32_MAX;
    expect(ioctl(edu, EDU_IOC_GET, &buffer), EINVAL, "a get from an offset that wraps");
#undef COPY
}

void cmd_refuse(char **args, int count)
{
    int edu = edu_open(), others[MAX_CHANNELS + 1];
    struct buffer a = heap_buffer(8192), b = heap_buffer(8192);
    struct edu_ioc_wait wait = { .job = 12345 };
    struct edu_ioc_value value = { .in = 13 };
    struct edu_ioc_copy copy = { .src_fd = a.fd, .dst_fd = b.fd, .bytes = 1, .eventfd = -1 };
    struct edu_ioc_raw raw = { .address = 0, .bytes = 1, .flags = EDU_RAW_READ, .data = (uintptr_t)&value };
    unsigned n;

    (void)args;
    if (count) {
        fail("refuse takes nothing more");
    }
    refuse_copies(edu, a.fd, b.fd);
    expect(ioctl(edu, EDU_IOC_WAIT, &wait), ENOENT, "waiting for a job that never was");
    expect(ioctl(edu, EDU_IOC_FACT, &value), ERANGE, "13!");
    expect(ioctl(edu, _IO(0xed, 0x7f)), ENOTTY, "an unknown request");
    if (!(edu_info(edu).flags & EDU_INFO_UNSAFE)) {
        expect(ioctl(edu, EDU_IOC_RAW, &raw), EPERM, "a raw address without unsafe=1");
    }
    for (n = 0; n < EDU_MAX_JOBS; n++) {
        start_copy(edu, &a, 0, &b, 0, 1, -1);
    }
    expect(ioctl(edu, EDU_IOC_COPY, &copy), EBUSY, "one job too many");
    /* The first file has a channel already; the others want one each. */
    for (n = 0; n < MAX_CHANNELS - 1; n++) {
        others[n] = edu_open();
        start_copy(others[n], &a, 0, &b, 0, 1, -1);
    }
    others[n] = edu_open();
    expect(ioctl(others[n], EDU_IOC_COPY, &copy), EBUSY, "one channel too many");
    close(edu);
    start_copy(others[n], &a, 0, &b, 0, 1, -1);
    say("PASS refuse: bad ranges, files, flags, jobs and channels too many");
}

/* ---- hold: something in flight for whoever takes the device away ---- */

void cmd_hold(char **args, int count)
{
    struct lane l;
    struct edu_ioc_wait result;
    struct edu_ioc_info info;
    struct pollfd polled;

    if (count != 1) {
        fail("hold takes a size");
    }
    l = lane_start(number(args[0], 1, EDU_MAX_COPY_BYTES, "size"), 9);
    say("holding");
    wait_job(l.edu, l.job, -1, &result);
    say("held: the job ended with %s, %s", result.error ? strerror(-result.error) : "success",
        result.residue ? "not all was moved" : "all was moved");
    polled = (struct pollfd){ .fd = l.edu, .events = POLLIN };
    poll(&polled, 1, 0);
    if (ioctl(l.edu, EDU_IOC_INFO, &info) < 0) {
        say("held: the file says %s%s", strerror(errno), polled.revents & POLLHUP ? ", hung up" : "");
    }
}
