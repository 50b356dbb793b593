/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the edu command share. Buffers, output and numbers are the lagoon command's, ../../tools/tool.h. */
#ifndef EDU_TOOL_H
#define EDU_TOOL_H

#include "../../tools/tool.h"
#include "../edu_uapi.h"

void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* dma.c: each open file has a DMA channel of its own */
int edu_open(void);
struct edu_ioc_info edu_info(int edu);
struct buffer heap_buffer(uint64_t bytes); /* of /dev/dma_heap/lagoon, mapped, zeroed */
/* They return the job; fail() when it cannot be started. */
uint32_t start_copy(int edu, const struct buffer *from, uint64_t from_offset, const struct buffer *to,
                    uint64_t to_offset, uint64_t bytes, int eventfd);
uint32_t start_buffer(int edu, bool put, const struct buffer *b, uint64_t offset, uint32_t bytes);
/* As EDU_IOC_WAIT; false when the time is over. */
bool wait_job(int edu, uint32_t job, int timeout_ms, struct edu_ioc_wait *result);
void must_finish(int edu, uint32_t job, const char *what);

/* Commands: what follows their name on the command line. */
void cmd_test(char **args, int count);
void cmd_cancel(char **args, int count);
void cmd_refuse(char **args, int count);
void cmd_hold(char **args, int count);
void cmd_shared(bool push, char **args, int count);
void cmd_raw(char **args, int count);

/* --name VALUE at args[*i]; false when it is something else. */
bool option(char **args, int count, int *i, const char *name, const char **value);
uint64_t number(const char *text, uint64_t least, uint64_t most, const char *what);

#endif
