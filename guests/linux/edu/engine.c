// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one transfer that the hardware can do at a time, shared by all channels. Owns which descriptor is active, the
 * turns, and the watchdog; the lists of a channel are chan.c's, the registers hw.c's.
 *
 * A piece is at most what the device's buffer holds. From memory to memory it takes two transfers, in and out of the
 * buffer, between which no other channel gets a turn; after each piece the channel goes to the end of the line.
 *
 * A transfer ends in one of these ways, and `active` stays set until one of them has happened, so that memory is never
 * given back while the device can still reach it:
 *   interrupt, and the command register says idle      the usual one
 *   time over, idle, bus mastering on                  the interrupt was lost: as above, and counted
 *   time over, idle, bus mastering off                 nothing was moved: error
 *   time over, running                                 bus mastering is taken away; it ends, with an error: go on
 *   the same, and it does not end                      the device is given up; without bus mastering it is harmless
 *   the register reads as all ones                     the device is gone
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "edu.h"

static unsigned int timeout_ms = 3000;
module_param(timeout_ms, uint, 0644);
MODULE_PARM_DESC(timeout_ms, "how long a transfer may take; the device needs 100");

static unsigned int grace_ms = 1000;
module_param(grace_ms, uint, 0644);
MODULE_PARM_DESC(grace_ms, "how long one that took too long may take to end, without bus mastering");

static void start_transfer(struct edu *edu, bool to_memory, u64 src, u64 dst, bool *started)
{
	*started = edu_hw_start(edu, to_memory, src, dst, edu->piece);
	if (*started) {
		unsigned long timeout = msecs_to_jiffies(clamp(READ_ONCE(timeout_ms), 1u, 60000u));

		edu->deadline = jiffies + timeout;
		mod_delayed_work(system_wq, &edu->watchdog, timeout);
	}
}

static bool start_piece(struct edu *edu)
{
	struct edu_desc *desc = edu->active;
	const struct edu_seg *seg = &desc->segs[desc->seg];
	u64 src = seg->src + desc->seg_done, dst = seg->dst + desc->seg_done;
	bool started;

	edu->second_half = false;
	edu->piece = min_t(size_t, seg->len - desc->seg_done, EDU_BUFFER_BYTES);
	if (desc->kind == DMA_MEM_TO_MEM)
		start_transfer(edu, EDU_TO_BUFFER, src, EDU_BUFFER_ADDRESS, &started);
	else
		start_transfer(edu, desc->kind == DMA_DEV_TO_MEM, src, dst, &started);
	return started;
}

static bool start_second_half(struct edu *edu)
{
	struct edu_desc *desc = edu->active;
	bool started;

	edu->second_half = true;
	start_transfer(edu, EDU_TO_MEMORY, EDU_BUFFER_ADDRESS, desc->segs[desc->seg].dst + desc->seg_done, &started);
	return started;
}

/* The active descriptor leaves the hardware; where it goes from here is the caller's business. */
static struct edu_desc *take_active(struct edu *edu)
{
	struct edu_desc *desc = edu->active;

	edu->active = NULL;
	wake_up_all(&edu->idle);
	if (edu->abandoned) {
		edu->abandoned = false;
		dma_descriptor_unmap(&desc->tx);
		kfree(desc);
		return NULL;
	}
	return desc;
}

void edu_engine_queue_locked(struct edu_chan *chan)
{
	struct edu *edu = chan->edu;
	bool active = edu->active && !edu->abandoned && edu_chan_of(edu->active->tx.chan) == chan;

	if (!active && !list_empty(&chan->issued) && list_empty(&chan->ready))
		list_add_tail(&chan->ready, &edu->ready);
}

void edu_engine_kick_locked(struct edu *edu)
{
	struct edu_chan *chan;
	struct edu_desc *desc;

	while (!edu->active && (chan = list_first_entry_or_null(&edu->ready, struct edu_chan, ready))) {
		list_del_init(&chan->ready);
		desc = list_first_entry(&chan->issued, struct edu_desc, node);
		list_del_init(&desc->node);
		edu->active = desc;
		if (!edu->dead && start_piece(edu))
			return;
		take_active(edu);
		edu_chan_complete_locked(chan, desc, DMA_TRANS_ABORTED);
		edu_engine_queue_locked(chan);
	}
	if (!edu->active)
		cancel_delayed_work(&edu->watchdog);
}

/* The piece is where it belongs: true when its descriptor is through. */
static bool advance(struct edu *edu, struct edu_desc *desc)
{
	desc->done += edu->piece;
	desc->seg_done += edu->piece;
	if (desc->seg_done == desc->segs[desc->seg].len) {
		desc->seg_done = 0;
		desc->seg++;
	}
	return desc->seg == desc->seg_count;
}

static void transfer_ended_locked(struct edu *edu, bool ok)
{
	struct edu_chan *chan = edu_chan_of(edu->active->tx.chan);
	struct edu_desc *desc;

	if (ok) {
		edu->transfers++;
		edu->bytes += edu->piece;
	} else {
		edu->failed++;
	}
	if (ok && !edu->abandoned && edu->active->kind == DMA_MEM_TO_MEM && !edu->second_half) {
		if (!edu->dead && start_second_half(edu))
			return;
		ok = false;
	}
	desc = take_active(edu);
	if (!desc)
		/* it was terminated */;
	else if (!ok)
		edu_chan_complete_locked(chan, desc, DMA_TRANS_ABORTED);
	else if (advance(edu, desc))
		edu_chan_complete_locked(chan, desc, DMA_TRANS_NOERROR);
	else
		list_add(&desc->node, &chan->issued);
	edu_engine_queue_locked(chan);
	edu_engine_kick_locked(edu);
}

/* An interrupt that is late, or forged, finds a transfer that runs, or none: then nothing has ended. */
void edu_engine_interrupt(struct edu *edu, bool dma)
{
	unsigned long flags;

	spin_lock_irqsave(&edu->lock, flags);
	edu->interrupts++;
	if (dma && edu->active && !edu->stuck && edu_hw_state(edu) == EDU_HW_IDLE)
		transfer_ended_locked(edu, true);
	spin_unlock_irqrestore(&edu->lock, flags);
}

/* Everything that is issued ends with an error, as will everything that still comes. */
static void give_up_locked(struct edu *edu, const char *why)
{
	dev_err(edu->dev, "%s: no more DMA\n", why);
	edu->dead = true;
	pci_clear_master(edu->pdev); /* it may hear nothing and yet write: what is given back now must be out of reach */
	if (edu->active)
		transfer_ended_locked(edu, false);
	edu_engine_kick_locked(edu);
}

static bool bus_master_on(struct edu *edu)
{
	u16 command = 0;

	pci_read_config_word(edu->pdev, PCI_COMMAND, &command);
	return command & PCI_COMMAND_MASTER;
}

/* The hardware runs on past its time. `stuck` keeps everybody else's hands off `active`. */
static void recover(struct edu *edu)
{
	enum edu_hw_state state;
	unsigned long grace_end = jiffies + msecs_to_jiffies(min(READ_ONCE(grace_ms), 60000u));

	dev_err(edu->dev, "a transfer did not end within %u ms: taking bus mastering away\n", timeout_ms);
	pci_clear_master(edu->pdev);
	while ((state = edu_hw_state(edu)) == EDU_HW_RUNNING && time_before(jiffies, grace_end))
		msleep(5);
	if (state == EDU_HW_IDLE)
		pci_set_master(edu->pdev);
	spin_lock_irq(&edu->lock);
	edu->stuck = false;
	if (state == EDU_HW_IDLE)
		transfer_ended_locked(edu, false);
	else
		give_up_locked(edu, state == EDU_HW_GONE ? "the device is gone" : "the device hangs");
	spin_unlock_irq(&edu->lock);
}

static void watchdog(struct work_struct *work)
{
	struct edu *edu = container_of(to_delayed_work(work), struct edu, watchdog);
	enum edu_hw_state state;

	spin_lock_irq(&edu->lock);
	if (!edu->active)
		goto out;
	state = edu_hw_state(edu);
	if (state == EDU_HW_GONE) {
		give_up_locked(edu, "the device is gone");
	} else if (time_before(jiffies, edu->deadline)) {
		mod_delayed_work(system_wq, &edu->watchdog, edu->deadline - jiffies);
	} else if (state == EDU_HW_RUNNING) {
		edu->stuck = true;
		spin_unlock_irq(&edu->lock);
		recover(edu);
		return;
	} else if (bus_master_on(edu)) {
		edu->lost++;
		dev_warn_ratelimited(edu->dev, "a transfer ended without an interrupt\n");
		transfer_ended_locked(edu, true);
	} else {
		dev_err_ratelimited(edu->dev, "a transfer ended while bus mastering was off: nothing was moved\n");
		transfer_ended_locked(edu, false);
	}
out:
	spin_unlock_irq(&edu->lock);
}

void edu_engine_look(struct edu *edu)
{
	spin_lock_irq(&edu->lock);
	if (edu->active)
		mod_delayed_work(system_wq, &edu->watchdog, 0);
	spin_unlock_irq(&edu->lock);
}

static bool idle(struct edu *edu)
{
	bool is;

	spin_lock_irq(&edu->lock);
	is = !edu->active;
	spin_unlock_irq(&edu->lock);
	return is;
}

void edu_engine_stop(struct edu *edu)
{
	spin_lock_irq(&edu->lock);
	edu->dead = true;
	edu_engine_kick_locked(edu); /* fails what waits for its turn */
	spin_unlock_irq(&edu->lock);
	edu_engine_look(edu);
	wait_event(edu->idle, idle(edu));
	cancel_delayed_work_sync(&edu->watchdog);
}

void edu_engine_init(struct edu *edu)
{
	spin_lock_init(&edu->lock);
	INIT_LIST_HEAD(&edu->ready);
	init_waitqueue_head(&edu->idle);
	INIT_DELAYED_WORK(&edu->watchdog, watchdog);
}
