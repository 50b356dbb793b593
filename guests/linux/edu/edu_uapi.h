/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The user interface of /dev/edu-dma (a second device: /dev/edu-dma1). Every open file has a DMA channel of its own
 * from its first transfer on; its jobs run in the order in which they were started, jobs of different files take turns
 * piece by piece. A job is started by COPY, PUT or GET, runs by itself, and is collected by WAIT; poll() and select()
 * report a file readable when a job of it is finished and not collected. Closing the file cancels what is left.
 * Every field that is not described as an output is an input; flags that are not described must be zero. All ioctls
 * return 0, or -1 with errno; ENODEV means that the device was taken away.
 */
#ifndef EDU_UAPI_H
#define EDU_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define EDU_API 1
#define EDU_BUFFER_BYTES 4096u           /* the device's only memory; all DMA goes through it */
#define EDU_MAX_COPY_BYTES (64ull << 20) /* of one job */
#define EDU_MAX_JOBS 64                  /* of one file, not yet collected */

#define EDU_INFO_MSI 0x1u    /* interrupts are messages, not a line */
#define EDU_INFO_IOMMU 0x2u  /* DMA addresses are translated by an IOMMU that this kernel drives */
#define EDU_INFO_UNSAFE 0x4u /* EDU_IOC_RAW is allowed */

struct edu_ioc_info {
	__u32 api;        /* out: EDU_API */
	__u32 id;         /* out: the identification register */
	__u32 channels;   /* out */
	__u32 flags;      /* out: EDU_INFO_ */
	__u64 transfers;  /* out, since the driver took the device: hardware transfers finished */
	__u64 bytes;      /* out: that they moved, over the bus, each direction counted */
	__u64 interrupts; /* out: taken and ours */
	__u64 lost;       /* out: transfers whose end was seen without an interrupt */
	__u64 failed;     /* out: transfers that did not end, or ended with bus mastering off */
};

/* LIVE: out is ~in, computed by the device. FACT: out is the factorial of in, at most 12; ERANGE above. */
struct edu_ioc_value {
	__u32 in;
	__u32 out;
};

/* Between two dma-bufs, or two ranges of one that do not overlap. */
struct edu_ioc_copy {
	__s32 src_fd;
	__s32 dst_fd;
	__u64 src_offset;
	__u64 dst_offset;
	__u64 bytes;
	__s32 eventfd; /* signalled when the job is finished; -1: none */
	__u32 flags;
	__u32 job;     /* out */
	__u32 pieces;  /* out: dmaengine descriptors: runs that are contiguous for the device on both sides */
};

/*
 * PUT: a dma-buf's bytes into the device's buffer; GET: the other way. The buffer is the device's, not the file's: any
 * other job that runs in between changes it.
 */
struct edu_ioc_buffer {
	__s32 fd;
	__u32 flags;
	__u64 offset;        /* in the dma-buf */
	__u32 buffer_offset; /* in the device's buffer */
	__u32 bytes;         /* buffer_offset + bytes <= EDU_BUFFER_BYTES */
	__s32 eventfd;
	__u32 job; /* out */
};

enum edu_job_state {
	EDU_JOB_RUNNING = 1, /* or waiting for its turn */
	EDU_JOB_DONE = 2,    /* see error; nothing of it is mapped for the device any more */
};

/* Reports on a job, and forgets it when it is done. ETIMEDOUT fills in the outputs too. */
struct edu_ioc_wait {
	__u32 job;        /* 0: whichever is done; out: which one */
	__s32 timeout_ms; /* 0: only look; -1: for ever */
	__u32 state;      /* out: enum edu_job_state */
	__s32 error;      /* out: 0, or a negative errno: ECANCELED, EIO (hardware), ENODEV, ENOMEM */
	__u64 bytes;      /* out: of the job */
	__u64 residue;    /* out: of them, not yet moved */
};

/*
 * For experiments with containment, only when the module was loaded with unsafe=1: one transfer with an address that
 * nobody mapped. The device does not say whether a transfer reached memory. READ: the device's buffer is filled with
 * EDU_RAW_CANARY first, so that a byte of it in the answer was not read. Waits for the end.
 */
#define EDU_RAW_READ 1u
#define EDU_RAW_WRITE 2u
#define EDU_RAW_CANARY 0xa5

struct edu_ioc_raw {
	__u64 address; /* as the device puts it on the bus */
	__u64 data;    /* pointer to bytes bytes: WRITE: input, READ: output */
	__u32 bytes;   /* at most EDU_BUFFER_BYTES */
	__u32 flags;   /* one of EDU_RAW_READ, EDU_RAW_WRITE */
};

#define EDU_IOC_INFO _IOR(0xed, 0x40, struct edu_ioc_info)
#define EDU_IOC_LIVE _IOWR(0xed, 0x41, struct edu_ioc_value)
#define EDU_IOC_FACT _IOWR(0xed, 0x42, struct edu_ioc_value)
#define EDU_IOC_COPY _IOWR(0xed, 0x43, struct edu_ioc_copy)
#define EDU_IOC_PUT _IOWR(0xed, 0x44, struct edu_ioc_buffer)
#define EDU_IOC_GET _IOWR(0xed, 0x45, struct edu_ioc_buffer)
#define EDU_IOC_WAIT _IOWR(0xed, 0x46, struct edu_ioc_wait)
#define EDU_IOC_CANCEL _IO(0xed, 0x47) /* every job of this file; returns when the device has let go of their memory */
#define EDU_IOC_RAW _IOW(0xed, 0x48, struct edu_ioc_raw)

#endif
