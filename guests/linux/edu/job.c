// SPDX-License-Identifier: GPL-2.0-only
/*
 * A client of dmaengine: a job is one request of a user, made of one or more descriptors. Owns a job's life: what is
 * imported for it (import.c), submitted, and how it ends. Nothing here knows the device, but for the size and the
 * address of its buffer.
 *
 * The end: callbacks run in a tasklet and cannot sleep, unmapping can; so the last callback queues `finish`.
 */
#include <linux/dma-mapping.h>
#include <linux/dmaengine.h>
#include <linux/eventfd.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "compat.h"
#include "edu.h"

/* ---- a job's life ---- */

static void job_free(struct kref *ref)
{
	struct edu_job *job = container_of(ref, struct edu_job, ref);

	flush_work(&job->finish); /* its last lines may still run */
	if (job->event)
		eventfd_ctx_put(job->event);
	kvfree(job->pieces);
	kfree(job->data);
	kfree(job);
}

void edu_job_put(struct edu_job *job)
{
	kref_put(&job->ref, job_free);
}

/* Undoes what the device needed. Nothing can reach the job's memory any more. */
static void job_release_memory(struct edu_job *job)
{
	edu_unimport(&job->src);
	edu_unimport(&job->dst);
	if (job->scratch) {
		memcpy(job->data, job->scratch, EDU_BUFFER_BYTES);
		dma_free_coherent(job->file->edu->dev, EDU_BUFFER_BYTES, job->scratch, job->scratch_dma);
		job->scratch = NULL;
	}
}

static void job_finish(struct edu_job *job)
{
	if (atomic_cmpxchg(&job->finishing, 0, 1))
		return;
	job_release_memory(job);
	atomic_inc(&job->file->finished);
	smp_store_release(&job->done, true);
	if (job->event)
		edu_eventfd_signal(job->event);
	wake_up_all(&job->file->wait);
}

static void finish_work(struct work_struct *work)
{
	job_finish(container_of(work, struct edu_job, finish));
}

static bool has_dma_channel(struct dma_chan *chan, void *edu)
{
	return chan->device == &((struct edu *)edu)->dma;
}

static int get_channel(struct edu_file *f)
{
	dma_cap_mask_t mask;

	if (f->chan)
		return 0;
	dma_cap_zero(mask);
	dma_cap_set(DMA_MEMCPY, mask);
	dma_cap_set(DMA_SLAVE, mask);
	f->chan = dma_request_channel(mask, has_dma_channel, f->edu);
	return f->chan ? 0 : -EBUSY; /* all of them are somebody's */
}

static struct edu_job *job_new(struct edu_file *f, size_t bytes, int eventfd)
{
	struct edu_job *job;
	int ret;

	if (f->gone)
		return ERR_PTR(-ENODEV);
	if (READ_ONCE(f->edu->dead)) /* dmaengine would say it too, but not why */
		return ERR_PTR(-EIO);
	if (f->job_count >= EDU_MAX_JOBS)
		return ERR_PTR(-EBUSY);
	ret = get_channel(f);
	if (ret)
		return ERR_PTR(ret);
	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (!job)
		return ERR_PTR(-ENOMEM);
	kref_init(&job->ref);
	INIT_LIST_HEAD(&job->node);
	INIT_WORK(&job->finish, finish_work);
	job->file = f;
	job->bytes = bytes;
	if (eventfd >= 0) {
		job->event = eventfd_ctx_fdget(eventfd);
		if (IS_ERR(job->event)) {
			ret = PTR_ERR(job->event);
			job->event = NULL;
			edu_job_put(job);
			return ERR_PTR(ret);
		}
	}
	return job;
}

/* Before its first descriptor was submitted. */
static struct edu_job *job_discard(struct edu_job *job, int error)
{
	job_release_memory(job);
	edu_job_put(job);
	return ERR_PTR(error);
}

static int job_room(struct edu_job *job, u32 pieces)
{
	job->pieces = kvcalloc(pieces, sizeof(*job->pieces), GFP_KERNEL);
	return job->pieces ? 0 : -ENOMEM;
}

/* ---- descriptors ---- */

/* In a tasklet. Callbacks of one channel come one after the other, in order. */
static void piece_done(void *param, const struct dmaengine_result *result)
{
	struct edu_piece *piece = param;
	struct edu_job *job = piece->job;

	WRITE_ONCE(job->moved, job->moved + piece->bytes - min_t(size_t, result->residue, piece->bytes));
	if (result->result != DMA_TRANS_NOERROR && !job->error)
		job->error = -EIO;
	/* piece_count is final: descriptors are issued after the last one was submitted. */
	WRITE_ONCE(job->called, job->called + 1);
	if (job->called == job->piece_count)
		queue_work(system_unbound_wq, &job->finish);
}

static int submit(struct edu_job *job, struct dma_async_tx_descriptor *tx, size_t bytes)
{
	struct edu_piece *piece = &job->pieces[job->piece_count];

	if (!tx)
		return -ENOMEM;
	*piece = (struct edu_piece){ .job = job, .bytes = bytes };
	tx->callback_result = piece_done;
	tx->callback_param = piece;
	piece->cookie = dmaengine_submit(tx);
	if (dma_submit_error(piece->cookie))
		return -EIO;
	job->piece_count++;
	return 0;
}

static int submit_memcpy(struct edu_job *job, dma_addr_t dst, dma_addr_t src, size_t bytes)
{
	return submit(job, dmaengine_prep_dma_memcpy(job->file->chan, dst, src, bytes,
						     DMA_PREP_INTERRUPT | DMA_CTRL_ACK), bytes);
}

/* To or from the device's buffer, which a slave's "device address" is an address of. */
static int submit_slave(struct edu_job *job, struct scatterlist *sgl, u32 count, bool put, u32 buffer_offset,
			size_t bytes)
{
	enum dma_transfer_direction dir = put ? DMA_MEM_TO_DEV : DMA_DEV_TO_MEM;
	struct dma_slave_config config = {
		.src_addr = EDU_BUFFER_ADDRESS + buffer_offset,
		.dst_addr = EDU_BUFFER_ADDRESS + buffer_offset,
		.src_addr_width = DMA_SLAVE_BUSWIDTH_8_BYTES,
		.dst_addr_width = DMA_SLAVE_BUSWIDTH_8_BYTES,
	};
	int ret = dmaengine_slave_config(job->file->chan, &config);

	if (ret)
		return ret;
	return submit(job, dmaengine_prep_slave_sg(job->file->chan, sgl, count, dir,
						   DMA_PREP_INTERRUPT | DMA_CTRL_ACK), bytes);
}

/* If only the first descriptors could be submitted, they run, and the job's error is that of the next. */
static struct edu_job *job_start(struct edu_job *job, int error)
{
	struct edu_file *f = job->file;

	if (!job->piece_count)
		return job_discard(job, error);
	job->error = error;
	job->id = ++f->last_id ? f->last_id : ++f->last_id;
	kref_get(&job->ref);
	list_add_tail(&job->node, &f->jobs);
	f->job_count++;
	dma_async_issue_pending(f->chan);
	return job;
}

/* ---- the three kinds ---- */

static u32 count_runs(struct edu_cursor src, struct edu_cursor dst, size_t bytes)
{
	u32 runs = 0;

	while (bytes) {
		size_t run = edu_cursor_run(&dst, edu_cursor_run(&src, bytes));

		if (!run)
			return 0; /* the exporter's table is shorter than its buffer */
		edu_cursor_skip(&src, run);
		edu_cursor_skip(&dst, run);
		bytes -= run;
		runs++;
	}
	return runs;
}

static int submit_copy(struct edu_job *job, struct edu_cursor src, struct edu_cursor dst)
{
	size_t left = job->bytes;
	int ret = 0;

	while (left && !ret) {
		size_t run = edu_cursor_run(&dst, edu_cursor_run(&src, left));

		ret = submit_memcpy(job, edu_cursor_address(&dst), edu_cursor_address(&src), run);
		edu_cursor_skip(&src, run);
		edu_cursor_skip(&dst, run);
		left -= run;
	}
	return ret;
}

static int import_both(struct edu_job *job, const struct edu_ioc_copy *req)
{
	struct device *dev = job->file->edu->dev;
	u64 apart = max(req->src_offset, req->dst_offset) - min(req->src_offset, req->dst_offset);
	int ret = edu_import(&job->src, dev, req->src_fd, req->src_offset, req->bytes, DMA_TO_DEVICE);

	if (!ret)
		ret = edu_import(&job->dst, dev, req->dst_fd, req->dst_offset, req->bytes, DMA_FROM_DEVICE);
	if (!ret && job->src.dmabuf == job->dst.dmabuf && apart < req->bytes)
		ret = -EINVAL;
	return ret;
}

struct edu_job *edu_job_copy(struct edu_file *f, const struct edu_ioc_copy *req)
{
	struct edu_cursor src, dst;
	struct edu_job *job;
	u32 runs;
	int ret;

	if (req->flags || !req->bytes || req->bytes > EDU_MAX_COPY_BYTES)
		return ERR_PTR(-EINVAL);
	job = job_new(f, req->bytes, req->eventfd);
	if (IS_ERR(job))
		return job;
	ret = import_both(job, req);
	if (ret)
		return job_discard(job, ret);
	src = edu_cursor_at(&job->src, req->src_offset);
	dst = edu_cursor_at(&job->dst, req->dst_offset);
	runs = count_runs(src, dst, job->bytes);
	ret = runs ? job_room(job, runs) : -EINVAL;
	if (!ret)
		ret = submit_copy(job, src, dst);
	return job_start(job, ret);
}

struct edu_job *edu_job_buffer(struct edu_file *f, const struct edu_ioc_buffer *req, bool put)
{
	struct scatterlist sgl[8]; /* of at most 4 KiB: two pages; more only behind a strange exporter */
	struct edu_import *imp;
	size_t left = req->bytes;
	struct edu_job *job;
	struct edu_cursor c;
	u32 count = 0;
	int ret;

	if (req->flags || !req->bytes || req->bytes > EDU_BUFFER_BYTES ||
	    req->buffer_offset > EDU_BUFFER_BYTES - req->bytes)
		return ERR_PTR(-EINVAL);
	job = job_new(f, req->bytes, req->eventfd);
	if (IS_ERR(job))
		return job;
	imp = put ? &job->src : &job->dst;
	ret = edu_import(imp, f->edu->dev, req->fd, req->offset, req->bytes, put ? DMA_TO_DEVICE : DMA_FROM_DEVICE);
	if (ret)
		return job_discard(job, ret);
	c = edu_cursor_at(imp, req->offset);
	sg_init_table(sgl, ARRAY_SIZE(sgl));
	while (left && count < ARRAY_SIZE(sgl) && edu_cursor_run(&c, left)) {
		sg_dma_address(&sgl[count]) = edu_cursor_address(&c);
		sg_dma_len(&sgl[count]) = edu_cursor_run(&c, left);
		left -= sg_dma_len(&sgl[count]);
		edu_cursor_skip(&c, sg_dma_len(&sgl[count++]));
	}
	ret = left ? -EINVAL : job_room(job, 1);
	if (!ret)
		ret = submit_slave(job, sgl, count, put, req->buffer_offset, req->bytes);
	return job_start(job, ret);
}

struct edu_job *edu_job_raw(struct edu_file *f, const struct edu_ioc_raw *req, const void *data)
{
	bool read = req->flags == EDU_RAW_READ;
	struct edu_job *job = job_new(f, req->bytes, -1);
	struct scatterlist sg;
	int ret = 0;

	if (IS_ERR(job))
		return job;
	job->data = kzalloc(EDU_BUFFER_BYTES, GFP_KERNEL);
	if (job->data)
		job->scratch = dma_alloc_coherent(f->edu->dev, EDU_BUFFER_BYTES, &job->scratch_dma, GFP_KERNEL);
	if (!job->scratch || job_room(job, 2))
		return job_discard(job, -ENOMEM);
	memset(job->scratch, EDU_RAW_CANARY, EDU_BUFFER_BYTES);
	if (!read)
		memcpy(job->scratch, data, req->bytes);
	if (read) {
		sg_init_table(&sg, 1);
		sg_dma_address(&sg) = job->scratch_dma;
		sg_dma_len(&sg) = EDU_BUFFER_BYTES;
		ret = submit_slave(job, &sg, 1, true, 0, 0);
	}
	if (!ret)
		ret = read ? submit_memcpy(job, job->scratch_dma, req->address, req->bytes) :
			     submit_memcpy(job, req->address, job->scratch_dma, req->bytes);
	return job_start(job, ret);
}

/* ---- watching, cancelling ---- */

size_t edu_job_residue(struct edu_job *job)
{
	u32 called = READ_ONCE(job->called);
	size_t residue = job->bytes - READ_ONCE(job->moved);
	struct dma_tx_state state;
	size_t piece;

	if (smp_load_acquire(&job->done) || called >= job->piece_count || !job->file->chan)
		return residue;
	/* The descriptor that comes next in the order of callbacks: of those behind it nothing has moved. */
	if (dmaengine_tx_status(job->file->chan, job->pieces[called].cookie, &state) != DMA_IN_PROGRESS)
		state.residue = 0;
	piece = job->pieces[called].bytes;
	return residue - min(residue, piece - min_t(size_t, state.residue, piece));
}

void edu_jobs_cancel(struct edu_file *f, int error)
{
	struct edu_job *job;

	if (f->chan)
		dmaengine_terminate_sync(f->chan);
	/* No callback runs any more, none will. */
	list_for_each_entry(job, &f->jobs, node) {
		if (job->called < job->piece_count && !job->error)
			job->error = error;
		job_finish(job);
		flush_work(&job->finish);
	}
}

void edu_job_forget(struct edu_job *job)
{
	list_del_init(&job->node);
	job->file->job_count--;
	atomic_dec(&job->file->finished);
	edu_job_put(job);
}
