// SPDX-License-Identifier: Apache-2.0
/* Lines for people and for scripts that check them: every one is written whole and at once. */
#define _GNU_SOURCE /* program_invocation_short_name */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "tool.h"

static const char *story;
static unsigned step;
static FILE *lines; /* NULL: standard output */

void say_on_stderr(void)
{
    lines = stderr;
}

void story_begin(const char *name, unsigned first_step)
{
    story = name;
    step = first_step;
}

static void line(const char *format, va_list args)
{
    char text[1024];

    vsnprintf(text, sizeof(text), format, args);
    if (!lines) {
        lines = stdout;
    }
    if (story) {
        fprintf(lines, "%s: step %u: %s\n", story, step++, text);
    } else {
        fprintf(lines, "%s\n", text);
    }
    fflush(lines);
}

void say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    line(format, args);
    va_end(args);
}

void die(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (story) {
        fprintf(lines ? lines : stdout, "%s: step %u: FAILED: %s\n", story, step, text);
    } else {
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
    }
    fflush(stdout);
    exit(1);
}

const char *size_text(uint64_t bytes)
{
    static char text[4][24];
    static unsigned next;
    char *out = text[next++ % 4];

    if (bytes && bytes % (1ull << 20) == 0) {
        snprintf(out, sizeof(text[0]), "%llu MiB", (unsigned long long)bytes >> 20);
    } else if (bytes && bytes % 1024 == 0) {
        snprintf(out, sizeof(text[0]), "%llu KiB", (unsigned long long)bytes >> 10);
    } else {
        snprintf(out, sizeof(text[0]), "%llu bytes", (unsigned long long)bytes);
    }
    return out;
}

bool parse_number(const char *text, uint64_t *value)
{
    unsigned shift = 0;
    char *end;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    *value = strtoull(text, &end, 0);
    switch (*end) {
    case 'k':
    case 'K':
        shift = 10;
        break;
    case 'm':
    case 'M':
        shift = 20;
        break;
    case 'g':
    case 'G':
        shift = 30;
        break;
    default:
        break;
    }
    end += shift != 0;
    if (errno || *end || *value > UINT64_MAX >> shift) {
        return false;
    }
    *value <<= shift;
    return true;
}
