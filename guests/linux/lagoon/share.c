// SPDX-License-Identifier: GPL-2.0-only
/*
 * The owner's side: a dma-buf's pages are described to the hypervisor (FFA_MEM_SHARE), offered to one peer, and taken
 * back. The dma-buf stays referenced, attached and mapped until MEM_RECLAIM (or MEM_REVOKE) succeeded, so no page
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

static void send_offer(struct lagoon_share *s)
{
	struct lagoon_msg msg = {
		.magic = LAGOON_MSG_MAGIC,
		.type = LAGOON_MSG_OFFER,
		.handle = s->handle,
		.tag = s->tag,
		.bytes = s->bytes,
		.flags = s->flags & LAGOON_RO,
		.bell = s->my_bell >= 0 ? s->my_bell : LAGOON_NO_BELL,
		.runs = s->runs,
	};
	int ret;

	memcpy(msg.label, s->label, sizeof(msg.label));
	memcpy(msg.meta, s->meta, sizeof(msg.meta));
	ret = lagoon_say_msg(s->lg, s->peer, &msg);
	if (ret) /* its HELLO will bring the offer again */
		dev_dbg(s->lg->dev, "offer %#llx to VM %u not delivered: %d\n", s->handle, s->peer, ret);
}

/* The share is over at the hypervisor: tell, release the pages, forget. share->op held. */
static void finish(struct lagoon_share *s, bool revoked)
{
	struct lagoon *lg = s->lg;

	mutex_lock(&lg->lock);
	s->state = LAGOON_RECLAIMED;
	s->file = NULL;
	list_del_init(&s->node);
	lagoon_bell_put(lg, s->my_bell);
	s->my_bell = -1;
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
	lagoon_share_put_pages(s);
	lagoon_say(lg, s->peer, revoked ? LAGOON_MSG_REVOKED : LAGOON_MSG_WITHDRAWN, s->handle, LAGOON_NO_BELL);
	dev_dbg(lg->dev, "share %#llx is %s\n", s->handle, revoked ? "revoked" : "reclaimed");
	lagoon_share_put(s); /* the list's */
	module_put(THIS_MODULE);
}

/* One attempt. 0: done; -EACCES, -EBUSY: the borrower still has it; share->op held. */
static int try_take_back(struct lagoon_share *s, bool force)
{
	struct lagoon *lg = s->lg;
	bool recall = false;
	int ret;

	if (s->state == LAGOON_RECLAIMED)
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
	mutex_lock(&lg->lock);
	if (!s->recalled) {
		s->recalled = recall = true;
		s->state = LAGOON_RETURNING;
		lagoon_changed(lg);
	}
	mutex_unlock(&lg->lock);
	if (recall && lagoon_say(lg, s->peer, LAGOON_MSG_RECALL, s->handle, LAGOON_NO_BELL)) {
		mutex_lock(&lg->lock);
		s->recalled = false; /* not delivered: say it again next time */
		mutex_unlock(&lg->lock);
	}
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
			dev_warn_ratelimited(s->lg->dev, "share %#llx: VM %u does not give it back (%d)\n", s->handle,
					     s->peer, ret);
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
	s->state = LAGOON_OFFERED;
	s->peer_bell = LAGOON_NO_BELL;
	s->tag = get_random_u64();
	s->delay_ms = 10;
	memcpy(s->label, req->label, sizeof(s->label));
	memcpy(s->meta, req->meta, sizeof(s->meta));
	return s;
}

int lagoon_share_create(struct lagoon *lg, struct lagoon_file *file, struct lagoon_ioc_share *req)
{
	struct lagoon_share *s;
	struct lagoon_peer *peer;
	int ret;

	if (req->flags & ~(LAGOON_RO | LAGOON_KEEP) || req->reserved)
		return -EINVAL;
	s = share_new(lg, req);
	if (!s)
		return -ENOMEM;
	mutex_lock(&lg->lock);
	peer = lagoon_peer_find(lg, req->peer, req->peer_name);
	ret = !peer ? -ENOENT : lg->hibernating ? -EBUSY : 0;
	if (!ret) {
		s->peer = peer->id;
		s->my_bell = lagoon_bell_get(lg, peer->id); /* negative: no doorbell for the peer to ring */
		lg->creating++;
	}
	mutex_unlock(&lg->lock);
	if (ret)
		goto fail;
	ret = lagoon_share_get_pages(s, req->fd);
	if (!ret)
		ret = lagoon_share_describe(s);
	if (ret) {
		lagoon_share_put_pages(s);
		mutex_lock(&lg->lock);
		lagoon_bell_put(lg, s->my_bell);
		lg->creating--;
		mutex_unlock(&lg->lock);
		goto fail;
	}
	__module_get(THIS_MODULE); /* until finish() */
	req->peer = s->peer;
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
	send_offer(s);
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

/* ---- what the borrower and the hypervisor say ---- */

void lagoon_share_heard(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg)
{
	struct lagoon_share *s;

	mutex_lock(&lg->lock);
	s = lagoon_share_find(lg, msg->handle);
	if (s && s->peer == peer) {
		if (msg->type == LAGOON_MSG_RETRIEVED) {
			s->peer_bell = msg->bell < LAGOON_BELLS ? msg->bell : LAGOON_NO_BELL;
			s->recalled = false; /* an import that crossed our RECALL: it is said again */
			if (s->state != LAGOON_RETURNING)
				s->state = LAGOON_BORROWED;
		} else {
			s->peer_bell = LAGOON_NO_BELL;
			if (s->state != LAGOON_RETURNING)
				s->state = LAGOON_OFFERED;
		}
		lagoon_changed(lg);
	}
	mutex_unlock(&lg->lock);
	if (s)
		lagoon_share_put(s);
}

/* The hypervisor has relinquished for the dead VM; its next life may import again. */
void lagoon_shares_peer_gone(struct lagoon *lg, u16 peer)
{
	struct lagoon_share *s;

	mutex_lock(&lg->lock);
	list_for_each_entry(s, &lg->shares, node) {
		if (s->peer != peer)
			continue;
		s->peer_bell = LAGOON_NO_BELL;
		if (s->state != LAGOON_RETURNING)
			s->state = LAGOON_PEER_GONE;
	}
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
}

void lagoon_shares_offer_again(struct lagoon *lg, u16 peer)
{
	struct lagoon_share *s, *found;

	mutex_lock(&lg->lock);
	list_for_each_entry(s, &lg->shares, node)
		s->say_offer |= s->peer == peer && s->state != LAGOON_RETURNING;
	do {
		found = NULL;
		list_for_each_entry(s, &lg->shares, node) {
			if (s->peer == peer && s->say_offer) {
				s->say_offer = false;
				s->state = LAGOON_OFFERED;
				kref_get(&s->ref);
				found = s;
				break;
			}
		}
		mutex_unlock(&lg->lock);
		if (found) {
			send_offer(found);
			lagoon_share_put(found);
		}
		mutex_lock(&lg->lock);
	} while (found);
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
}
