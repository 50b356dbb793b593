// SPDX-License-Identifier: Apache-2.0
/* What can be done with a mapped buffer, in the order in which the command line names it. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tool.h"

const char actions_help[] =
    "Actions, done in the order given, each reported by one line; the first that fails ends the command:\n"
    "  --sha256             compute and print the SHA-256 of the contents\n"
    "  --verify             the same, and compare it with the digest that came with the offer\n"
    "  --write OFFSET TEXT  write TEXT in place (in TEXT, {sha256} is the last digest computed)\n"
    "  --read OFFSET        print the text found there\n"
    "  --expect OFFSET TEXT fail unless TEXT is there ({sha256} as above)\n"
    "  --dump OFFSET        print 64 bytes in hexadecimal\n"
    "  --out FILE           write the contents to FILE (-: standard output, and the lines go to standard error)\n"
    "  --ring               ring the other side's doorbell\n"
    "  --wait SECONDS       wait until our doorbell rings (or: forever)\n"
    "  --reclaim SECONDS    take the share back; the borrower has so long to give it back\n"
    "  --gone SECONDS       wait until an access faults because the owner took the buffer back\n"
    "  --try-write          write one byte and report whether it faults (it must on a read-only import)\n"
    "  --say TEXT           print TEXT\n"
    "  --hold               stay until a signal comes; SIGUSR1 goes on with the next action\n"
    "  --pin                keep the first page in a pipe, as a program does that sends it on without a copy\n"
    "  --unpin              read it out of the pipe: the page is free again\n"
    "  --read-from DEVICE   a disk writes into the buffer itself (O_DIRECT); fails if the page cache had a part in it\n"
    "  --send ADDRESS:PORT  send the contents over TCP, print the line that is answered\n"
    "  --send-zerocopy ADDRESS:PORT\n"
    "                       the same out of the buffer itself (MSG_ZEROCOPY); fails if the kernel made a copy\n"
    "  --ring-out DEVICE SIZE, --ring-in ADDRESS:PORT SIZE\n"
    "                       for comparison: through private memory on both sides and this buffer (68K) as a ring\n"
    "  --counts begin, --counts NAME   context switches from here, to here\n"
    "  --kernel STEP        use the buffer as a driver in the kernel would (needs the test module lagoon_check):\n"
    "                       check (everything), vmap, map (and keep it), touch, drop, refused (it must be)\n";

struct action {
    const char *name;
    int words;
    void (*run)(struct buffer *b, char **args);
};

static uint64_t offset_of(const struct buffer *b, const char *text, uint64_t bytes)
{
    uint64_t at;

    if (!parse_number(text, &at)) {
        die("\"%s\" is not an offset", text);
    }
    if (at > b->bytes || bytes > b->bytes - at) {
        die("offset %s and %llu bytes exceed the buffer of %s", text, (unsigned long long)bytes, size_text(b->bytes));
    }
    return at;
}

/* TEXT with {sha256} replaced. */
static const char *expand(const struct buffer *b, const char *text)
{
    static char out[512];
    const char *mark = strstr(text, "{sha256}");
    char hex[SHA256_HEX_BYTES];

    if (!mark) {
        return text;
    }
    sha256_hex(b->digest, hex);
    snprintf(out, sizeof(out), "%.*s%s%s", (int)(mark - text), text, hex, mark + strlen("{sha256}"));
    return out;
}

/* ---- accesses that may fault: the fault comes back here ---- */

static sigjmp_buf fault_return;

static void on_fault(int signal_number)
{
    siglongjmp(fault_return, signal_number);
}

/* 0, or the signal (SIGBUS, SIGSEGV) that the access raised. */
static int touch(struct buffer *b, uint64_t at, bool write)
{
    struct sigaction action = { .sa_handler = on_fault }, old_bus, old_segv;
    volatile uint8_t *byte = b->data + at;
    int raised;

    sigaction(SIGBUS, &action, &old_bus);
    sigaction(SIGSEGV, &action, &old_segv);
    raised = sigsetjmp(fault_return, 1);
    if (!raised) {
        if (write) {
            *byte = (uint8_t)(*byte + 1);
        } else {
            (void)*byte;
        }
    }
    sigaction(SIGBUS, &old_bus, NULL);
    sigaction(SIGSEGV, &old_segv, NULL);
    return raised;
}

/* ---- the actions ---- */

static void compute(const struct buffer *b, uint8_t digest[SHA256_BYTES])
{
    buffer_sync(b, true);
    sha256(b->data, b->bytes, digest);
    buffer_sync(b, false);
}

static void do_sha256(struct buffer *b, char **args)
{
    char hex[SHA256_HEX_BYTES];

    (void)args;
    compute(b, b->digest);
    b->has_digest = true;
    sha256_hex(b->digest, hex);
    say("SHA-256 of %s: %s", size_text(b->bytes), hex);
}

static void do_verify(struct buffer *b, char **args)
{
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX_BYTES], expected[SHA256_HEX_BYTES];

    (void)args;
    if (!b->has_digest) {
        die("no digest came with this buffer, so there is nothing to verify against");
    }
    compute(b, digest);
    sha256_hex(digest, hex);
    sha256_hex(b->digest, expected);
    if (memcmp(digest, b->digest, sizeof(digest))) {
        die("SHA-256 is %s, but %s was announced", hex, expected);
    }
    say("SHA-256 of %s read in place: %s, as announced", size_text(b->bytes), hex);
}

static void do_write(struct buffer *b, char **args)
{
    const char *text = expand(b, args[2]);
    uint64_t at = offset_of(b, args[1], strlen(text) + 1);

    if (b->read_only) {
        die("the buffer is read-only here");
    }
    buffer_sync(b, true);
    memcpy(b->data + at, text, strlen(text) + 1);
    buffer_sync(b, false);
    say("wrote in place, at offset %s: \"%s\"", args[1], text);
}

static void read_text(struct buffer *b, const char *offset, char text[256])
{
    uint64_t at = offset_of(b, offset, 1);
    size_t n = 0;

    buffer_sync(b, true);
    while (n < 255 && at + n < b->bytes && b->data[at + n] >= ' ' && b->data[at + n] <= '~') {
        text[n] = (char)b->data[at + n];
        n++;
    }
    buffer_sync(b, false);
    text[n] = 0;
}

static void do_read(struct buffer *b, char **args)
{
    char text[256];

    read_text(b, args[1], text);
    say("at offset %s: \"%s\"", args[1], text);
}

static void do_expect(struct buffer *b, char **args)
{
    const char *wanted = expand(b, args[2]);
    char text[256];

    read_text(b, args[1], text);
    if (strncmp(text, wanted, sizeof(text) - 1) != 0) {
        die("at offset %s there is \"%s\" instead of \"%s\"", args[1], text, wanted);
    }
    say("found in place, at offset %s: \"%s\"", args[1], text);
}

static void do_dump(struct buffer *b, char **args)
{
    uint64_t at = offset_of(b, args[1], 1), end = b->bytes - at < 64 ? b->bytes : at + 64;
    char line[16 * 3 + 1];

    for (; at < end; at += 16) {
        for (unsigned i = 0; i < 16; i++) {
            snprintf(line + 3 * i, 4, at + i < end ? " %02x" : "", at + i < end ? b->data[at + i] : 0);
        }
        say("%08llx:%s", (unsigned long long)at, line);
    }
}

static void do_out(struct buffer *b, char **args)
{
    bool standard = !strcmp(args[1], "-");
    FILE *out = standard ? stdout : fopen(args[1], "wb");

    if (!out) {
        die("%s: %s", args[1], strerror(errno));
    }
    buffer_sync(b, true);
    if (fwrite(b->data, 1, b->bytes, out) != b->bytes || fflush(out)) {
        die("%s: %s", args[1], strerror(errno));
    }
    buffer_sync(b, false);
    if (!standard) {
        fclose(out);
        say("wrote %s to %s", size_text(b->bytes), args[1]);
    }
}

static void do_ring(struct buffer *b, char **args)
{
    struct lagoon_ioc_handle req = { .handle = b->handle };

    (void)args;
    if (ioctl(device(), LAGOON_IOC_NOTIFY, &req) < 0) {
        die("cannot ring: %s", errno == ENOTCONN ? "nobody at the other end has it imported" : strerror(errno));
    }
    say("rang the doorbell of %s", peer_name(b->peer));
}

/* 0, or errno. The first wait starts from a count of zero, so that a ring before it is not lost. */
int wait_for_ring(struct buffer *b, int timeout_ms, uint32_t *state)
{
    struct lagoon_ioc_wait req = { .handle = b->handle, .count = b->count, .timeout_ms = timeout_ms };

    while (ioctl(device(), LAGOON_IOC_WAIT, &req) < 0) {
        if (errno != EINTR) {
            return errno;
        }
    }
    b->count = req.count;
    *state = req.state;
    return 0;
}

static void do_wait(struct buffer *b, char **args)
{
    uint32_t state = 0;
    int error = wait_for_ring(b, parse_timeout(args[1]), &state);

    if (error) {
        die("waiting for the doorbell: %s", strerror(error));
    }
    say("%s rang our doorbell (%llu so far)", peer_name(b->peer), (unsigned long long)b->count);
}

static void do_reclaim(struct buffer *b, char **args)
{
    struct lagoon_ioc_reclaim req = { .handle = b->handle, .timeout_ms = parse_timeout(args[1]) };

    if (ioctl(device(), LAGOON_IOC_RECLAIM, &req) < 0) {
        die("cannot reclaim: %s", errno == ETIMEDOUT ? "the borrower still uses its pages" : strerror(errno));
    }
    say("reclaimed: the %llu pages are ours alone again", (unsigned long long)b->bytes / 4096);
}

static void do_gone(struct buffer *b, char **args)
{
    int timeout_ms = parse_timeout(args[1]);
    struct timespec pause = { .tv_nsec = 20000000 };

    for (int waited = 0; timeout_ms < 0 || waited <= timeout_ms; waited += 20) {
        int raised = touch(b, 0, false);

        if (raised == SIGBUS) {
            say("access after reclaim: SIGBUS, as it should be");
            return;
        }
        if (raised) {
            die("access after reclaim: %s instead of SIGBUS", strsignal(raised));
        }
        nanosleep(&pause, NULL);
    }
    die("the buffer is still accessible after %s seconds", args[1]);
}

static void do_try_write(struct buffer *b, char **args)
{
    int raised = touch(b, b->bytes - 1, true);

    (void)args;
    if (b->read_only && !raised) {
        die("a write to a read-only import did not fault");
    }
    if (!b->read_only && raised) {
        die("a write faulted: %s", strsignal(raised));
    }
    say("a write of one byte: %s", raised ? strsignal(raised) : "done");
}

static void do_say(struct buffer *b, char **args)
{
    (void)b;
    say("%s", args[1]);
}

static void do_hold(struct buffer *b, char **args)
{
    sigset_t go_on;
    int came;

    (void)b;
    (void)args;
    sigemptyset(&go_on);
    sigaddset(&go_on, SIGUSR1);
    sigprocmask(SIG_BLOCK, &go_on, NULL); /* from here on it is kept for sigwait, however early it comes */
    say("holding on; Ctrl-C ends it");
    sigwait(&go_on, &came);
}

static const struct action actions[] = {
    { "--sha256", 1, do_sha256 },   { "--verify", 1, do_verify },   { "--write", 3, do_write },
    { "--read", 2, do_read },       { "--expect", 3, do_expect },   { "--dump", 2, do_dump },
    { "--out", 2, do_out },         { "--ring", 1, do_ring },       { "--wait", 2, do_wait },
    { "--reclaim", 2, do_reclaim }, { "--gone", 2, do_gone },       { "--try-write", 1, do_try_write },
    { "--say", 2, do_say },         { "--hold", 1, do_hold },
    { "--kernel", 2, do_kernel },   { "--pin", 1, do_pin },         { "--unpin", 1, do_unpin },
    { "--read-from", 2, do_read_from },
    { "--ring-out", 3, do_ring_out }, { "--ring-in", 3, do_ring_in },
    { "--counts", 2, do_counts },
    { "--send", 2, do_send },       { "--send-zerocopy", 2, do_send_zerocopy },
};

static const struct action *find_action(const char *name)
{
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (!strcmp(actions[i].name, name)) {
            return &actions[i];
        }
    }
    return NULL;
}

int action_words(char **args, int left)
{
    const struct action *a = find_action(args[0]);

    if (a && a->words > left) {
        die("%s needs %d more word(s); see: lagoon --help", args[0], a->words - left);
    }
    if (a && a->run == do_out && !strcmp(args[1], "-")) {
        say_on_stderr();
    }
    return a ? a->words : 0;
}

void actions_run(struct buffer *b, char **args, int count)
{
    for (int i = 0; i < count;) {
        const struct action *a = find_action(args[i]);
        bool shared = !strncmp(args[i], "--ring", 6) || !strcmp(args[i], "--wait") || !strcmp(args[i], "--reclaim");

        if (shared && !b->handle) {
            die("%s needs a buffer that is shared", args[i]);
        }
        if (!strcmp(args[i], "--reclaim") && !b->ours) {
            die("--reclaim is for the owner; a borrower gives a buffer back by ending");
        }
        a->run(b, args + i);
        i += a->words;
    }
}
