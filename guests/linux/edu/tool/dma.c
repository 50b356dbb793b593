// SPDX-License-Identifier: Apache-2.0
/* /dev/edu-dma and buffers for it. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "edu_tool.h"

void fail(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    fputs("edu: FAIL: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

int edu_open(void)
{
    int edu = open("/dev/edu-dma", O_RDWR | O_CLOEXEC);

    if (edu < 0) {
        fail("/dev/edu-dma: %s (is there an edu device, and is edu.ko loaded?)", strerror(errno));
    }
    return edu;
}

struct edu_ioc_info edu_info(int edu)
{
    struct edu_ioc_info info;

    if (ioctl(edu, EDU_IOC_INFO, &info) < 0) {
        fail("info: %s", strerror(errno));
    }
    return info;
}

struct buffer heap_buffer(uint64_t bytes)
{
    struct buffer b = { .fd = heap_alloc(bytes), .bytes = bytes, .ours = true };

    buffer_map(&b);
    return b;
}

uint32_t start_copy(int edu, const struct buffer *from, uint64_t from_offset, const struct buffer *to,
                    uint64_t to_offset, uint64_t bytes, int eventfd)
{
    struct edu_ioc_copy copy = {
        .src_fd = from->fd,
        .dst_fd = to->fd,
        .src_offset = from_offset,
        .dst_offset = to_offset,
        .bytes = bytes,
        .eventfd = eventfd,
    };

    if (ioctl(edu, EDU_IOC_COPY, &copy) < 0) {
        fail("a copy of %s did not start: %s", size_text(bytes), strerror(errno));
    }
    return copy.job;
}

uint32_t start_buffer(int edu, bool put, const struct buffer *b, uint64_t offset, uint32_t bytes)
{
    struct edu_ioc_buffer req = { .fd = b->fd, .offset = offset, .bytes = bytes, .eventfd = -1 };

    if (ioctl(edu, put ? EDU_IOC_PUT : EDU_IOC_GET, &req) < 0) {
        fail("%s of %u bytes did not start: %s", put ? "put" : "get", bytes, strerror(errno));
    }
    return req.job;
}

bool wait_job(int edu, uint32_t job, int timeout_ms, struct edu_ioc_wait *result)
{
    *result = (struct edu_ioc_wait){ .job = job, .timeout_ms = timeout_ms };
    if (ioctl(edu, EDU_IOC_WAIT, result) == 0) {
        return true;
    }
    if (errno != ETIMEDOUT) {
        fail("waiting for job %u: %s", job, strerror(errno));
    }
    return false;
}

void must_finish(int edu, uint32_t job, const char *what)
{
    struct edu_ioc_wait result;

    wait_job(edu, job, -1, &result);
    if (result.error || result.residue) {
        fail("%s: %s, %llu of %llu bytes not moved", what, strerror(-result.error),
             (unsigned long long)result.residue, (unsigned long long)result.bytes);
    }
}
