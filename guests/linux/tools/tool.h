/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the lagoon command share: output, the device, one mapped buffer, and actions on it. */
#ifndef LAGOON_TOOL_H
#define LAGOON_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../lagoon/lagoon_uapi.h"
#include "sha256.h"

/* output.c: lines for people; with --story they carry "NAME: step N: ". die() ends with status 1. */
void story_begin(const char *name, unsigned first_step);
void say_on_stderr(void); /* standard output carries data */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
const char *size_text(uint64_t bytes);
bool parse_number(const char *text, uint64_t *value); /* decimal, 0x.., with K, M, G */

/* device.c */
int device(void); /* /dev/lagoon, opened at the first use */
int heap_alloc(uint64_t bytes);
const char *peer_name(uint32_t id); /* "beta", or "vm3"; 0: "its borrowers" */
const char *state_name(uint32_t state);
void copy_name(char to[LAGOON_NAME_MAX], const char *from, const char *what);
struct lagoon_entry *list_all(uint32_t *count);
/* A handle in digits or a label, of one enum lagoon_kind or (0) of any; dies unless there is exactly one. */
struct lagoon_entry find_entry(const char *text, uint32_t kind);
/* Milliseconds of a time-out in seconds; "-" or "forever" is -1. */
int parse_timeout(const char *seconds);

/* buffer.c: one dma-buf, mapped */
struct buffer {
    int fd;
    uint8_t *data;
    uint64_t bytes;
    bool read_only;
    uint64_t handle; /* 0: not shared */
    uint64_t count;  /* of its doorbell, last seen */
    bool ours;       /* we own it */
    uint32_t peer;   /* the other side; 0: several borrowers */
    char label[LAGOON_NAME_MAX];
    bool has_digest; /* the one that travels with the offer, or that we computed before sharing */
    uint8_t digest[SHA256_BYTES];
};
void buffer_map(struct buffer *b);
void buffer_sync(const struct buffer *b, bool begin); /* around CPU accesses */
void buffer_fill(struct buffer *b, uint64_t seed);
void buffer_load(struct buffer *b, const char *file);
/* The first 40 bytes of an offer's meta: magic, then the digest of the contents when it was shared. */
void meta_put(uint8_t meta[LAGOON_META_MAX], const struct buffer *b);
void meta_get(const uint8_t meta[LAGOON_META_MAX], struct buffer *b);

/* obtain.c: the commands that get a buffer and then run actions on it */
struct options {
    const char *peers[LAGOON_MAX_BORROWERS];
    uint32_t peer_count;
    const char *label, *handle, *file, *size, *fill, *timeout;
    bool ro, keep, force;
    char **actions;
    int action_count;
};
void cmd_heap(const struct options *o);
void cmd_share(const struct options *o);
void cmd_import(const struct options *o);
void cmd_open(const char *name, const struct options *o);

/* actions.c */
/* If args[0] is an action, checks its arguments and returns how many words it takes; else 0. */
int action_words(char **args, int left);
void actions_run(struct buffer *b, char **args, int count);
/* kernel.c: the actions that let the kernel hold on to a buffer */
void do_kernel(struct buffer *b, char **args);
void do_pin(struct buffer *b, char **args);
void do_unpin(struct buffer *b, char **args);
/* dma.c: devices of this VM move the bytes */
#define ANSWER_BYTES 256
void do_read_from(struct buffer *b, char **args);
void do_send(struct buffer *b, char **args);
void do_send_zerocopy(struct buffer *b, char **args);
uint64_t cached_pages(int fd, uint64_t bytes); /* of so many bytes of a file from its start: in the page cache */
uint64_t device_bytes(int fd, const char *name);
int connect_to(const char *where); /* ADDRESS:PORT */
void socket_send(int fd, const char *where, const uint8_t *data, uint64_t bytes);
void socket_answer(int fd, const char *where, char text[ANSWER_BYTES]); /* ends our direction, waits for one line */
/* carry.c: other ways, and counters */
void do_counts(struct buffer *b, char **args);
void do_ring_out(struct buffer *b, char **args);
void do_ring_in(struct buffer *b, char **args);
void cmd_carry(const char *way, char **args, int count);
extern const char actions_help[];
int wait_for_ring(struct buffer *b, int timeout_ms, uint32_t *state);

#endif
