/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's own words: one struct edu per device; its engine (the one transfer that the hardware can do at a time);
 * its channels, which dmaengine's clients hold; its open files, which are such clients; their jobs.
 *
 * Two halves that meet only in <linux/dmaengine.h>: hw.c, engine.c, chan.c provide channels; import.c, job.c, file.c
 * use them and would work with any DMA controller that can copy. main.c is the PCI driver that brings both up.
 *
 * Locks, outermost first:
 *   edu->files_lock   the list of open files, and `removed`
 *   file->lock        a file's channel and list of jobs; held while a job is set up and while one is cancelled
 *   edu->value_lock   the registers of the factorial and of the liveness check
 *   edu->lock         a spinlock that interrupts take: the engine, and every list, cookie and state of the channels
 */
#ifndef EDU_H
#define EDU_H

#include <linux/completion.h>
#include <linux/dma-direction.h>
#include <linux/dmaengine.h>
#include <linux/interrupt.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "edu_uapi.h"

#define EDU_CHANNELS 8
#define EDU_BUFFER_ADDRESS 0x40000ull /* of the device's buffer, in the device's own address space */

struct pci_dev;

/* ---- chan.c: what a client submits ---- */

/* One contiguous run. An address is the device's own, inside its buffer, or one of memory: the kind says which. */
struct edu_seg {
	u64 src;
	u64 dst;
	size_t len;
};

/* A descriptor's way: prepared -> submitted -> issued (-> active, and back) -> completed -> freed. */
struct edu_desc {
	struct dma_async_tx_descriptor tx;
	struct list_head node; /* in one of its channel's lists; in none while active */
	enum dma_transfer_direction kind;
	enum dmaengine_tx_result result;
	size_t bytes;
	size_t done;    /* bytes that have arrived */
	u32 seg;        /* the one that comes next ... */
	size_t seg_done; /* ... and how much of it is done */
	u32 seg_count;
	struct edu_seg segs[];
};

struct edu_chan {
	struct dma_chan dc;
	struct edu *edu;
	struct list_head prepared;  /* not submitted yet; kept so that they can be freed with the channel */
	struct list_head submitted; /* have a cookie; wait for issue_pending */
	struct list_head issued;    /* may run, in this order */
	struct list_head completed; /* wait for their callbacks */
	struct list_head ready;     /* in edu->ready while `issued` is not empty and none of it is active */
	struct tasklet_struct callbacks;
	struct dma_slave_config config;
	dma_cookie_t failed; /* the last cookie that ended with an error */
};

/* ---- one device ---- */

struct edu {
	struct kref ref; /* the PCI driver's, the dmaengine core's, and one for each open file */
	struct rcu_head rcu;
	struct pci_dev *pdev;
	struct device *dev;
	void __iomem *regs;
	bool msi;
	u32 id;

	spinlock_t lock;
	struct list_head ready;        /* channels whose turn it is, in turn */
	struct edu_desc *active;       /* the hardware works on a piece of it */
	bool abandoned;                /* `active` was terminated: nobody wants its result */
	bool second_half;              /* memory to memory: the piece is in the buffer, and on its way out */
	size_t piece;                  /* bytes of the transfer in flight */
	unsigned long deadline;        /* jiffies; of the transfer in flight */
	bool stuck;                    /* the watchdog deals with it */
	bool dead;                     /* nothing is started any more, no register is touched by the engine */
	wait_queue_head_t idle;        /* `active` has changed */
	struct delayed_work watchdog;
	u64 transfers, bytes, interrupts, lost, failed;

	struct mutex value_lock;
	struct completion factorial;

	struct dma_device dma;
	struct edu_chan chans[EDU_CHANNELS];

	struct mutex files_lock;
	struct list_head files;
	bool removed;
	int index;
	char name[16];
	struct miscdevice misc;
};

void edu_put(struct edu *edu);

/* ---- hw.c: the registers; nothing here knows descriptors ---- */
#define EDU_TO_BUFFER false
#define EDU_TO_MEMORY true
int edu_hw_init(struct edu *edu);
/* Starts one transfer. False, and nothing is started, if it does not fit the buffer: the device would not check. */
bool edu_hw_start(struct edu *edu, bool to_memory, u64 src, u64 dst, size_t bytes);
enum edu_hw_state { EDU_HW_IDLE, EDU_HW_RUNNING, EDU_HW_GONE };
enum edu_hw_state edu_hw_state(struct edu *edu);
irqreturn_t edu_hw_interrupt(int irq, void *data);
int edu_hw_live(struct edu *edu, u32 in, u32 *out);
int edu_hw_factorial(struct edu *edu, u32 in, u32 *out);

/* ---- engine.c: which piece of which descriptor the hardware works on. edu->lock is held, where the name says so ---- */
void edu_engine_init(struct edu *edu);
/* No transfer is in flight when it returns, none will be, and the watchdog does not run. Sleeps. */
void edu_engine_stop(struct edu *edu);
/* Lets the watchdog look now: a device that is gone is not waited for. */
void edu_engine_look(struct edu *edu);
void edu_engine_interrupt(struct edu *edu, bool dma);
void edu_engine_kick_locked(struct edu *edu);
void edu_engine_queue_locked(struct edu_chan *chan);

/* ---- chan.c ---- */
int edu_chans_register(struct edu *edu);
void edu_chan_complete_locked(struct edu_chan *chan, struct edu_desc *desc, enum dmaengine_tx_result result);
static inline struct edu_chan *edu_chan_of(struct dma_chan *dc)
{
	return container_of(dc, struct edu_chan, dc);
}

/* ---- import.c: dma-bufs ---- */
struct dma_buf;
struct dma_buf_attachment;
struct scatterlist;
struct sg_table;

struct edu_import {
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	enum dma_data_direction dir;
};

/* DMA_TO_DEVICE wants a file that may be read, DMA_FROM_DEVICE one that may be written. The range must be inside. */
int edu_import(struct edu_import *imp, struct device *dev, int fd, u64 offset, u64 bytes,
	       enum dma_data_direction dir);
void edu_unimport(struct edu_import *imp); /* also of one that was never imported */

/* A place in a mapped buffer. What is contiguous for the device need not be so for the CPU: only sg_dma_* count. */
struct edu_cursor {
	struct scatterlist *sg;
	unsigned int left; /* entries, this one included */
	size_t at;         /* in this entry */
};

struct edu_cursor edu_cursor_at(const struct edu_import *imp, u64 offset);
void edu_cursor_skip(struct edu_cursor *c, u64 bytes);
/* Bytes that are contiguous from here on, at most `most`; 0 behind the end. */
size_t edu_cursor_run(const struct edu_cursor *c, size_t most);
dma_addr_t edu_cursor_address(const struct edu_cursor *c);

/* ---- job.c: a client of dmaengine ---- */
struct eventfd_ctx;
struct edu_job;
struct edu_piece {
	struct edu_job *job;
	dma_cookie_t cookie;
	size_t bytes;
};

struct edu_job {
	struct kref ref; /* the file's list, and each waiter */
	struct list_head node;
	struct edu_file *file;
	u32 id;
	struct edu_import src, dst;
	void *scratch; /* coherent memory of one device buffer's size */
	dma_addr_t scratch_dma;
	u8 *data; /* what came into scratch, once done */
	size_t bytes, moved;
	struct edu_piece *pieces;
	u32 piece_count; /* submitted */
	u32 called;      /* of them, called back, in order */
	int error;
	bool done;          /* release/acquire: everything above is final */
	atomic_t finishing; /* who changes it from 0 finishes the job */
	struct work_struct finish;
	struct eventfd_ctx *event;
};

struct edu_file {
	struct edu *edu;
	struct list_head node;
	struct mutex lock;
	struct dma_chan *chan; /* from the first job on */
	struct list_head jobs;
	u32 job_count;
	u32 last_id;
	atomic_t finished; /* jobs that are done and not collected */
	bool gone; /* the device was removed */
	wait_queue_head_t wait;
};

/* file->lock is held. They return a job that runs already, one reference of it the caller's, or an error. */
struct edu_job *edu_job_copy(struct edu_file *f, const struct edu_ioc_copy *req);
struct edu_job *edu_job_buffer(struct edu_file *f, const struct edu_ioc_buffer *req, bool put);
struct edu_job *edu_job_raw(struct edu_file *f, const struct edu_ioc_raw *req, const void *data);
void edu_jobs_cancel(struct edu_file *f, int error);
void edu_job_forget(struct edu_job *job); /* takes it off its file's list */
void edu_job_put(struct edu_job *job);
size_t edu_job_residue(struct edu_job *job);

/* ---- file.c: /dev/edu-dma ---- */
int edu_files_init(struct edu *edu);
void edu_files_exit(struct edu *edu);
extern bool edu_unsafe;

#endif
