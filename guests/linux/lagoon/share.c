// SPDX-License-Identifier: GPL-2.0-only
/*
 * The owner's side: a dma-buf's pages are described to the hypervisor (FFA_MEM_SHARE), offered to one or more peers,
 * and taken back from all of them at once. The dma-buf stays referenced, attached and mapped until MEM_RECLAIM (or MEM_REVOKE) succeeded, so no page
 * reaches the kernel's allocator while another VM can touch it. Lists and states under lg->lock; one attempt to take
 * a share back at a time under share->op.
 */
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "lagoon.h"

/* ---- life ---- */

static void share_free(struct kref *ref)
{
	kfree(container_of(ref, struct lagoon_share, ref));
}

void lagoon_share_put(struct lagoon_share *share)
{
	kref_put(&share->ref, share_free);
}

struct lagoon_share *lagoon_share_find(struct lagoon *lg, u64 handle)
{
	struct lagoon_share *s;

	lockdep_assert_held(&lg->lock);
	list_for_each_entry(s, &lg->shares, node) {
		if (s->handle == handle) {
			kref_get(&s->ref);
			return s;
		}
	}
	return NULL;
}

/* The share is over at the hypervisor: tell, release the pages, forget. share->op held. */
static void finish(struct lagoon_share *s, bool revoked)
{
	struct lagoon *lg = s->lg;

	mutex_lock(&lg->lock);
	s->over = true;
	s->file = NULL;
	list_del_init(&s->node);
	lagoon_loans_put_bells(s);
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
	lagoon_share_put_pages(s);
	lagoon_loans_say_over(s, revoked);
	dev_dbg(lg->dev, "share %#llx is %s\n", s->handle, revoked ? "revoked" : "reclaimed");
	lagoon_share_put(s); /* the list's */
	module_put(THIS_MODULE);
}

/* One attempt. 0: done; -EACCES, -EBUSY: a borrower still has it; share->op held. */
static int try_take_back(struct lagoon_share *s, bool force)
{
	struct lagoon *lg = s->lg;
	int ret;

	if (s->over)
		return 0;
	ret = lagoon_ffa_reclaim(&lg->ffa, s->handle);
	if (!ret) {
		finish(s, false);
		return 0;
	}
	if (ret != -EACCES && ret != -EBUSY && ret != -EAGAIN)
		return ret;
	if (force) {
		ret = lagoon_ffa_revoke(&lg->ffa, s->handle);
		if (!ret)
			finish(s, true);
		return ret;
	}
	lagoon_loans_recall(s);
	return ret;
}

static void take_back_work(struct work_struct *work)
{
	struct lagoon_share *s = container_of(to_delayed_work(work), struct lagoon_share, take_back);
	bool force;
	int ret;

	mutex_lock(&s->op);
	force = lagoon_revoke_after_ms && time_after(jiffies, s->give_up);
	ret = try_take_back(s, force);
	mutex_unlock(&s->op);
	if (ret) {
		if (s->delay_ms < 1000)
			s->delay_ms *= 2;
		else
			lagoon_loans_warn(s, ret);
		queue_delayed_work(s->lg->wq, &s->take_back, msecs_to_jiffies(s->delay_ms));
		return; /* the work keeps its reference */
	}
	lagoon_share_put(s);
}

static struct lagoon_share *share_new(struct lagoon *lg, const struct lagoon_ioc_share *req)
{
	struct lagoon_share *s = kzalloc(sizeof(*s), GFP_KERNEL);

	if (!s)
		return NULL;
	kref_init(&s->ref);
	mutex_init(&s->op);
	INIT_DELAYED_WORK(&s->take_back, take_back_work);
	s->lg = lg;
	s->flags = req->flags;
	s->tag = get_random_u64();
	s->delay_ms = 10;
	memcpy(s->label, req->label, sizeof(s->label));
	memcpy(s->meta, req->meta, sizeof(s->meta));
	return s;
}

int lagoon_share_create(struct lagoon *lg, struct lagoon_file *file, struct lagoon_ioc_share *req)
{
	struct lagoon_share *s;
	int ret;

	if (req->flags & ~(LAGOON_RO | LAGOON_KEEP) || req->reserved || !req->receiver_count ||
	    req->receiver_count > LAGOON_MAX_BORROWERS)
		return -EINVAL;
	s = share_new(lg, req);
	if (!s)
		return -ENOMEM;
	mutex_lock(&lg->lock);
	ret = lg->hibernating ? -EBUSY : lagoon_loans_add(s, req);
	if (!ret)
		lg->creating++;
	mutex_unlock(&lg->lock);
	if (ret)
		goto fail;
	ret = lagoon_share_get_pages(s, req->fd);
	if (!ret)
		ret = lagoon_share_describe(s);
	if (ret) {
		lagoon_share_put_pages(s);
		mutex_lock(&lg->lock);
		lagoon_loans_put_bells(s);
		lg->creating--;
		mutex_unlock(&lg->lock);
		goto fail;
	}
	__module_get(THIS_MODULE); /* until finish() */
	req->handle = s->handle;
	req->pages = s->pages;
	req->runs = s->runs;
	kref_get(&s->ref); /* ours, beside the list's */
	mutex_lock(&lg->lock);
	s->file = s->flags & LAGOON_KEEP ? NULL : file;
	list_add_tail(&s->node, &lg->shares);
	lg->creating--;
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
	lagoon_loans_offer(s);
	lagoon_share_put(s);
	return 0;
fail:
	kfree(s);
	return ret;
}

int lagoon_share_reclaim(struct lagoon_share *s, bool force, int timeout_ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(max(timeout_ms, 0));
	int ret;

	if (mutex_lock_interruptible(&s->op))
		return -ERESTARTSYS;
	for (;;) {
		bool late = timeout_ms >= 0 && time_after_eq(jiffies, end);
		u64 seen = READ_ONCE(s->lg->changes);

		ret = try_take_back(s, force && late);
		if (ret != -EACCES && ret != -EBUSY && ret != -EAGAIN)
			break;
		if (late) {
			ret = -ETIMEDOUT;
			break;
		}
		/* RELINQUISHED wakes us; a lost message costs 50 ms. */
		if (wait_event_interruptible_timeout(s->lg->wait, READ_ONCE(s->lg->changes) != seen,
						     msecs_to_jiffies(50)) < 0) {
			ret = -EINTR;
			break;
		}
	}
	mutex_unlock(&s->op);
	return ret;
}

/* Whoever made the shares has gone: take them back in the background, in the end by force. */
void lagoon_shares_close(struct lagoon *lg, struct lagoon_file *file)
{
	struct lagoon_share *s;

	mutex_lock(&lg->lock);
	list_for_each_entry(s, &lg->shares, node) {
		if (s->file != file)
			continue;
		s->file = NULL;
		s->give_up = jiffies + msecs_to_jiffies(lagoon_revoke_after_ms);
		kref_get(&s->ref);
		queue_delayed_work(lg->wq, &s->take_back, 0);
	}
	mutex_unlock(&lg->lock);
}
