/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The user interface of /dev/lagoon_check: one ioctl, which does one step to a dma-buf as a driver in the kernel would.
 * An open file holds at most one kernel mapping and one DMA mapping; closing it lets both go.
 */
#ifndef LAGOON_CHECK_H
#define LAGOON_CHECK_H

#include <linux/ioctl.h>
#include <linux/types.h>

enum lagoon_check_step {
	LAGOON_CHECK_ALL = 1,     /* vmap, attach, map, walk, sync, compare, write, and let go of everything again */
	LAGOON_CHECK_VMAP = 2,    /* map into the kernel, and keep it */
	LAGOON_CHECK_MAP = 3,     /* map for a device, and keep it */
	LAGOON_CHECK_TOUCH = 4,   /* read each page through what is kept, and write one byte of it unless read-only */
	LAGOON_CHECK_DROP = 5,    /* let go of what is kept */
	LAGOON_CHECK_REFUSED = 6, /* vmap, map and begin_cpu_access must all fail now */
};

struct lagoon_check {
	__s32 fd;        /* the dma-buf */
	__u32 step;      /* enum lagoon_check_step */
	__u32 read_only; /* 1: it may only be read, and must refuse the rest */
	__u32 reserved;
	__u64 sum;       /* LAGOON_CHECK_ALL: of all 64-bit words, as the caller reads them */
	__u64 write_at;  /* LAGOON_CHECK_ALL: where the module leaves its text, unless read-only */
	char text[160];  /* out: what was done, or what was wrong; also when the ioctl fails with EILSEQ */
};

/* What LAGOON_CHECK_ALL writes. */
#define LAGOON_CHECK_TEXT "written by the kernel"

/* EILSEQ: a check failed, and text says which. Any other errno: the step could not be done. */
#define LAGOON_IOC_CHECK _IOWR('G', 0x60, struct lagoon_check)

#endif
