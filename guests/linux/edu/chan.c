// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dmaengine provider: channels, descriptors, cookies, callbacks, residue. Owns the lists of a channel; which
 * channel has its turn is engine.c's business.
 *
 * The contract is in the kernel's Documentation/driver-api/dmaengine: prepare may be called in interrupt context and
 * gives NULL when it cannot; submit gives a cookie and starts nothing; issue_pending starts; callbacks run in a tasklet
 * with no lock held; terminate_all does not sleep, and only after synchronize is the memory free and no callback runs.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "edu.h"

static struct edu_desc *desc_of(struct dma_async_tx_descriptor *tx)
{
	return container_of(tx, struct edu_desc, tx);
}

static void free_descs(struct list_head *list)
{
	struct edu_desc *desc, *next;

	list_for_each_entry_safe(desc, next, list, node) {
		dma_descriptor_unmap(&desc->tx);
		kfree(desc);
	}
}

/* ---- submit: cookies are positive, one more each time ---- */

static dma_cookie_t tx_submit(struct dma_async_tx_descriptor *tx)
{
	struct edu_chan *chan = edu_chan_of(tx->chan);
	struct edu_desc *desc = desc_of(tx);
	dma_cookie_t cookie;
	unsigned long flags;

	spin_lock_irqsave(&chan->edu->lock, flags);
	cookie = chan->dc.cookie == INT_MAX ? DMA_MIN_COOKIE : chan->dc.cookie + 1;
	tx->cookie = chan->dc.cookie = cookie;
	list_move_tail(&desc->node, &chan->submitted);
	spin_unlock_irqrestore(&chan->edu->lock, flags);
	return cookie;
}

static void issue_pending(struct dma_chan *dc)
{
	struct edu_chan *chan = edu_chan_of(dc);
	unsigned long flags;

	spin_lock_irqsave(&chan->edu->lock, flags);
	list_splice_tail_init(&chan->submitted, &chan->issued);
	edu_engine_queue_locked(chan);
	edu_engine_kick_locked(chan->edu);
	spin_unlock_irqrestore(&chan->edu->lock, flags);
}

/* ---- prepare ---- */

static struct edu_desc *desc_new(struct edu_chan *chan, enum dma_transfer_direction kind, u32 seg_count,
				 unsigned long tx_flags)
{
	struct edu_desc *desc;

	if (READ_ONCE(chan->edu->dead))
		return NULL;
	desc = kzalloc(struct_size(desc, segs, seg_count), GFP_NOWAIT | __GFP_NOWARN);
	if (!desc)
		return NULL;
	dma_async_tx_descriptor_init(&desc->tx, &chan->dc);
	desc->tx.flags = tx_flags;
	desc->tx.cookie = -EBUSY;
	desc->tx.tx_submit = tx_submit;
	desc->kind = kind;
	desc->seg_count = seg_count;
	return desc;
}

static struct dma_async_tx_descriptor *desc_ready(struct edu_chan *chan, struct edu_desc *desc)
{
	unsigned long flags;

	spin_lock_irqsave(&chan->edu->lock, flags);
	list_add_tail(&desc->node, &chan->prepared);
	spin_unlock_irqrestore(&chan->edu->lock, flags);
	return &desc->tx;
}

static struct dma_async_tx_descriptor *prep_memcpy(struct dma_chan *dc, dma_addr_t dst, dma_addr_t src, size_t len,
						   unsigned long flags)
{
	struct edu_chan *chan = edu_chan_of(dc);
	struct edu_desc *desc;

	if (!len || len > U32_MAX) /* residue has 32 bits */
		return NULL;
	desc = desc_new(chan, DMA_MEM_TO_MEM, 1, flags);
	if (!desc)
		return NULL;
	desc->bytes = len;
	desc->segs[0] = (struct edu_seg){ .src = src, .dst = dst, .len = len };
	return desc_ready(chan, desc);
}

/* The device side is the buffer: dst_addr or src_addr of the channel's configuration, in the device's addresses. */
static struct dma_async_tx_descriptor *prep_slave_sg(struct dma_chan *dc, struct scatterlist *sgl, unsigned int sg_len,
						     enum dma_transfer_direction dir, unsigned long flags, void *context)
{
	struct edu_chan *chan = edu_chan_of(dc);
	struct edu_desc *desc;
	struct scatterlist *sg;
	u64 device;
	unsigned int i;

	if (!is_slave_direction(dir) || !sg_len)
		return NULL;
	device = dir == DMA_MEM_TO_DEV ? chan->config.dst_addr : chan->config.src_addr;
	desc = desc_new(chan, dir, sg_len, flags);
	if (!desc)
		return NULL;
	for_each_sg(sgl, sg, sg_len, i) {
		u64 memory = sg_dma_address(sg), at = device + desc->bytes;
		size_t len = sg_dma_len(sg);

		/* edu_hw_start() would refuse it too, but then it is late to say so. */
		if (!len || at < EDU_BUFFER_ADDRESS || at - EDU_BUFFER_ADDRESS > EDU_BUFFER_BYTES ||
		    len > EDU_BUFFER_BYTES - (at - EDU_BUFFER_ADDRESS)) {
			kfree(desc);
			return NULL;
		}
		desc->segs[i] = dir == DMA_MEM_TO_DEV ? (struct edu_seg){ .src = memory, .dst = at, .len = len } :
							(struct edu_seg){ .src = at, .dst = memory, .len = len };
		desc->bytes += len;
	}
	return desc_ready(chan, desc);
}

static int device_config(struct dma_chan *dc, struct dma_slave_config *config)
{
	edu_chan_of(dc)->config = *config;
	return 0;
}

/* ---- completion ---- */

void edu_chan_complete_locked(struct edu_chan *chan, struct edu_desc *desc, enum dmaengine_tx_result result)
{
	desc->result = result;
	chan->dc.completed_cookie = desc->tx.cookie;
	if (result != DMA_TRANS_NOERROR)
		chan->failed = desc->tx.cookie;
	list_add_tail(&desc->node, &chan->completed);
	tasklet_schedule(&chan->callbacks);
}

static void run_callbacks(struct tasklet_struct *tasklet)
{
	struct edu_chan *chan = from_tasklet(chan, tasklet, callbacks);
	struct edu_desc *desc, *next;
	unsigned long flags;
	LIST_HEAD(done);

	spin_lock_irqsave(&chan->edu->lock, flags);
	list_splice_init(&chan->completed, &done);
	spin_unlock_irqrestore(&chan->edu->lock, flags);
	list_for_each_entry_safe(desc, next, &done, node) {
		struct dmaengine_result result = { .result = desc->result, .residue = desc->bytes - desc->done };

		dma_descriptor_unmap(&desc->tx);
		if (desc->tx.callback_result)
			desc->tx.callback_result(desc->tx.callback_param, &result);
		else if (desc->tx.callback)
			desc->tx.callback(desc->tx.callback_param);
		kfree(desc);
	}
}

static struct edu_desc *find(struct edu_chan *chan, dma_cookie_t cookie)
{
	struct list_head *lists[] = { &chan->issued, &chan->submitted };
	struct edu *edu = chan->edu;
	struct edu_desc *desc;
	unsigned int i;

	if (edu->active && !edu->abandoned && edu->active->tx.chan == &chan->dc && edu->active->tx.cookie == cookie)
		return edu->active;
	for (i = 0; i < ARRAY_SIZE(lists); i++)
		list_for_each_entry(desc, lists[i], node)
			if (desc->tx.cookie == cookie)
				return desc;
	return NULL;
}

/* The residue counts whole pieces: what is only in the device's buffer has not arrived. */
static enum dma_status tx_status(struct dma_chan *dc, dma_cookie_t cookie, struct dma_tx_state *state)
{
	struct edu_chan *chan = edu_chan_of(dc);
	struct edu_desc *desc;
	enum dma_status status;
	unsigned long flags;
	u32 residue = 0;

	spin_lock_irqsave(&chan->edu->lock, flags);
	status = dma_async_is_complete(cookie, dc->completed_cookie, dc->cookie);
	if (status == DMA_COMPLETE && cookie == chan->failed)
		status = DMA_ERROR;
	if (status == DMA_IN_PROGRESS) {
		desc = find(chan, cookie);
		residue = desc ? desc->bytes - desc->done : 0;
	}
	if (state)
		*state = (struct dma_tx_state){ .last = dc->completed_cookie, .used = dc->cookie, .residue = residue };
	spin_unlock_irqrestore(&chan->edu->lock, flags);
	return status;
}

/* ---- the end of a channel's work ---- */

/*
 * The hardware cannot be stopped: a piece in flight runs to its end, its descriptor stays until then, nobody hears of
 * it. What was prepared and not submitted is still its client's.
 */
static int terminate_all(struct dma_chan *dc)
{
	struct edu_chan *chan = edu_chan_of(dc);
	struct edu *edu = chan->edu;
	unsigned long flags;
	LIST_HEAD(gone);

	spin_lock_irqsave(&edu->lock, flags);
	list_splice_tail_init(&chan->submitted, &gone);
	list_splice_tail_init(&chan->issued, &gone);
	list_splice_tail_init(&chan->completed, &gone);
	list_del_init(&chan->ready);
	if (edu->active && edu->active->tx.chan == dc)
		edu->abandoned = true;
	if (dc->completed_cookie != dc->cookie)
		chan->failed = dc->completed_cookie = dc->cookie; /* no cookie stays in progress for ever */
	spin_unlock_irqrestore(&edu->lock, flags);
	free_descs(&gone);
	return 0;
}

static bool off_hardware(struct edu_chan *chan)
{
	struct edu *edu = chan->edu;
	bool off;

	spin_lock_irq(&edu->lock);
	off = !edu->active || edu->active->tx.chan != &chan->dc || !edu->abandoned;
	spin_unlock_irq(&edu->lock);
	return off;
}

/* Ends because the watchdog ends every transfer. */
static void synchronize(struct dma_chan *dc)
{
	struct edu_chan *chan = edu_chan_of(dc);

	wait_event(chan->edu->idle, off_hardware(chan));
	tasklet_kill(&chan->callbacks);
}

static int alloc_chan_resources(struct dma_chan *dc)
{
	struct edu_chan *chan = edu_chan_of(dc);

	dc->cookie = dc->completed_cookie = DMA_MIN_COOKIE;
	chan->failed = 0;
	memset(&chan->config, 0, sizeof(chan->config));
	/* Never -ENODEV: by that the core means the module, and takes the device off its list for good. */
	return READ_ONCE(chan->edu->dead) ? -EIO : 0;
}

static void free_chan_resources(struct dma_chan *dc)
{
	struct edu_chan *chan = edu_chan_of(dc);

	terminate_all(dc);
	synchronize(dc);
	free_descs(&chan->prepared); /* nobody else knows the channel any more */
	INIT_LIST_HEAD(&chan->prepared);
}

/* ---- registration ---- */

static void device_release(struct dma_device *dma)
{
	edu_put(container_of(dma, struct edu, dma));
}

static void describe(struct dma_device *dma)
{
	u32 widths = BIT(DMA_SLAVE_BUSWIDTH_1_BYTE) | BIT(DMA_SLAVE_BUSWIDTH_2_BYTES) |
		     BIT(DMA_SLAVE_BUSWIDTH_4_BYTES) | BIT(DMA_SLAVE_BUSWIDTH_8_BYTES);

	dma_cap_set(DMA_MEMCPY, dma->cap_mask);
	dma_cap_set(DMA_SLAVE, dma->cap_mask);
	/* Only for who asks: nobody wants a CPU's memcpy replaced by 100 ms for 4 KiB. */
	dma_cap_set(DMA_PRIVATE, dma->cap_mask);
	dma->directions = BIT(DMA_MEM_TO_DEV) | BIT(DMA_DEV_TO_MEM) | BIT(DMA_MEM_TO_MEM);
	dma->src_addr_widths = widths;
	dma->dst_addr_widths = widths;
	dma->copy_align = DMAENGINE_ALIGN_1_BYTE;
	dma->residue_granularity = DMA_RESIDUE_GRANULARITY_BURST;
	dma->device_alloc_chan_resources = alloc_chan_resources;
	dma->device_free_chan_resources = free_chan_resources;
	dma->device_prep_dma_memcpy = prep_memcpy;
	dma->device_prep_slave_sg = prep_slave_sg;
	dma->device_config = device_config;
	dma->device_issue_pending = issue_pending;
	dma->device_tx_status = tx_status;
	dma->device_terminate_all = terminate_all;
	dma->device_synchronize = synchronize;
	dma->device_release = device_release; /* the device may go while clients hold channels */
}

int edu_chans_register(struct edu *edu)
{
	unsigned int i;
	int ret;

	edu->dma.dev = edu->dev;
	describe(&edu->dma);
	INIT_LIST_HEAD(&edu->dma.channels);
	for (i = 0; i < EDU_CHANNELS; i++) {
		struct edu_chan *chan = &edu->chans[i];

		chan->edu = edu;
		INIT_LIST_HEAD(&chan->prepared);
		INIT_LIST_HEAD(&chan->submitted);
		INIT_LIST_HEAD(&chan->issued);
		INIT_LIST_HEAD(&chan->completed);
		INIT_LIST_HEAD(&chan->ready);
		tasklet_setup(&chan->callbacks, run_callbacks);
		chan->dc.device = &edu->dma;
		list_add_tail(&chan->dc.device_node, &edu->dma.channels);
	}
	kref_get(&edu->ref); /* device_release() gives it back */
	ret = dma_async_device_register(&edu->dma);
	if (ret)
		edu_put(edu);
	return ret;
}
