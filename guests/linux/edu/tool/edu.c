// SPDX-License-Identifier: Apache-2.0
/* The edu command: uses, tests and abuses QEMU's edu device through edu.ko. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "edu_tool.h"

static const char help[] =
    "edu: DMA by QEMU's edu device: 4 KiB in 0.1 s, and through its buffer, so 20 KiB a second\n"
    "\n"
    "  edu info                          the device, and what it has done\n"
    "  edu live NUMBER                   the device answers with the complement\n"
    "  edu fact NUMBER                   the device computes the factorial\n"
    "  edu test [--size SIZE] [--channels N]\n"
    "        copy between two buffers of /dev/dma_heap/lagoon, on N channels at once; compare\n"
    "  edu cancel                        cancel a copy in flight\n"
    "  edu refuse                        what the driver must not accept\n"
    "  edu pull (--label LABEL [--peer NAME] [--timeout SECONDS] | --own SHARE)\n"
    "        the device reads a buffer that is shared with another VM, into a buffer of ours; compare\n"
    "  edu push (the same) [--fill SEED]\n"
    "        the device writes it, with bytes made from SEED, and the doorbell is rung\n"
    "  edu hold SIZE                     copy, and say how it ended (for tests that take the device away)\n"
    "  edu raw --address ADDRESS (--read BYTES | --write TEXT)\n"
    "        DMA with any address, to see what stops it (edu.ko unsafe=1)\n"
    "\n"
    "SHARE is a label or a handle as in lagoon list. SIZE may end in K or M.\n";

bool option(char **args, int count, int *i, const char *name, const char **value)
{
    if (strcmp(args[*i], name)) {
        return false;
    }
    if (*i + 1 >= count) {
        fail("%s needs a value; see: edu --help", name);
    }
    *value = args[++*i];
    return true;
}

uint64_t number(const char *text, uint64_t least, uint64_t most, const char *what)
{
    uint64_t value;

    if (!parse_number(text, &value) || value < least || value > most) {
        fail("\"%s\" is no %s", text, what);
    }
    return value;
}

static void cmd_info(void)
{
    struct edu_ioc_info info = edu_info(edu_open());

    say("edu %u.%u, %u channels, %s, %s%s", info.id >> 24, info.id >> 16 & 0xff, info.channels,
        info.flags & EDU_INFO_MSI ? "MSI" : "INTx",
        info.flags & EDU_INFO_IOMMU ? "behind an IOMMU" : "no IOMMU of this kernel",
        info.flags & EDU_INFO_UNSAFE ? ", unsafe" : "");
    say("%llu transfers, %llu bytes over the bus, %llu interrupts, %llu lost, %llu failed",
        (unsigned long long)info.transfers, (unsigned long long)info.bytes, (unsigned long long)info.interrupts,
        (unsigned long long)info.lost, (unsigned long long)info.failed);
}

static void cmd_value(const char *command, const char *text)
{
    struct edu_ioc_value value = { .in = (uint32_t)number(text, 0, UINT32_MAX, "number of 32 bits") };
    bool live = !strcmp(command, "live");

    if (ioctl(edu_open(), live ? EDU_IOC_LIVE : EDU_IOC_FACT, &value) < 0) {
        fail("%s: %s", command, strerror(errno));
    }
    if (live) {
        if (value.out != ~value.in) {
            fail("~%#x came back as %#x", value.in, value.out);
        }
        say("PASS live: ~%#x = %#x", value.in, value.out);
    } else {
        say("%u! = %u", value.in, value.out);
    }
}

void cmd_raw(char **args, int count)
{
    const char *address = NULL, *read_bytes = NULL, *text = NULL;
    uint8_t data[EDU_BUFFER_BYTES];
    struct edu_ioc_raw raw = { .data = (uintptr_t)data };
    uint32_t canary = 0, zero = 0;

    for (int i = 0; i < count; i++) {
        if (!option(args, count, &i, "--address", &address) && !option(args, count, &i, "--read", &read_bytes) &&
            !option(args, count, &i, "--write", &text)) {
            fail("\"%s\" is not understood; see: edu --help", args[i]);
        }
    }
    if (!address || !read_bytes == !text) {
        fail("raw needs --address, and one of --read and --write");
    }
    raw.address = number(address, 0, UINT64_MAX, "address");
    raw.flags = text ? EDU_RAW_WRITE : EDU_RAW_READ;
    raw.bytes = text ? (uint32_t)strlen(text) : (uint32_t)number(read_bytes, 1, EDU_BUFFER_BYTES, "number of bytes");
    memcpy(data, text ? text : "", text && raw.bytes <= sizeof(data) ? raw.bytes : 0);
    if (ioctl(edu_open(), EDU_IOC_RAW, &raw) < 0) {
        fail("raw: %s%s", strerror(errno), errno == EPERM ? " (edu.ko was not loaded with unsafe=1)" : "");
    }
    if (text) {
        say("raw: %u bytes sent to %#llx; the device does not say whether they arrived", raw.bytes,
            (unsigned long long)raw.address);
        return;
    }
    for (uint32_t i = 0; i < raw.bytes; i++) {
        canary += data[i] == EDU_RAW_CANARY;
        zero += data[i] == 0;
    }
    printf("raw: %u bytes from %#llx:", raw.bytes, (unsigned long long)raw.address);
    for (uint32_t i = 0; i < raw.bytes && i < 32; i++) {
        printf(" %02x", data[i]);
    }
    /* QEMU's bus reads as zero where nothing answers, a real one as ones, or the device is not told anything. */
    printf("%s%s\n", raw.bytes > 32 ? " ..." : "",
           canary == raw.bytes ? " (the canary: nothing came)"
           : zero == raw.bytes ? " (zeros: so reads what the device cannot reach)"
                               : "");
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "--help";
    char **args = argv + 2;
    int count = argc - 2;

    if (!strcmp(command, "info") && count == 0) {
        cmd_info();
    } else if ((!strcmp(command, "live") || !strcmp(command, "fact")) && count == 1) {
        cmd_value(command, args[0]);
    } else if (!strcmp(command, "test")) {
        cmd_test(args, count);
    } else if (!strcmp(command, "cancel")) {
        cmd_cancel(args, count);
    } else if (!strcmp(command, "refuse")) {
        cmd_refuse(args, count);
    } else if (!strcmp(command, "pull") || !strcmp(command, "push")) {
        cmd_shared(!strcmp(command, "push"), args, count);
    } else if (!strcmp(command, "hold")) {
        cmd_hold(args, count);
    } else if (!strcmp(command, "raw")) {
        cmd_raw(args, count);
    } else {
        bool asked = !strcmp(command, "--help") || !strcmp(command, "-h");

        fputs(help, asked ? stdout : stderr);
        return asked ? 0 : 2;
    }
    return 0;
}
