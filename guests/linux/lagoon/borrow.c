// SPDX-License-Identifier: GPL-2.0-only
/*
 * The borrower's side: a peer's offer is retrieved into the share window and exported as a dma-buf; it is given back
 * (FFA_MEM_RELINQUISH) when the dma-buf is closed, or when the owner asks, and never while anybody in this kernel
 * holds one of its pages. Lists and states under lg->lock.
 *
 *   OFFERED --import--> BORROWED --close, RECALL--> RETURNING --last page free--> OFFERED, or gone if ended
 *                       BORROWED --REVOKED--> REVOKED --last page free--> gone
 *                       BORROWED --owner died--> ORPHANED --close--> RETURNING
 */
#include <linux/device.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "lagoon.h"

/* ---- life ---- */

static void borrow_free(struct kref *ref)
{
	kfree(container_of(ref, struct lagoon_borrow, ref));
}

void lagoon_borrow_put(struct lagoon_borrow *b)
{
	kref_put(&b->ref, borrow_free);
}

struct lagoon_borrow *lagoon_borrow_find(struct lagoon *lg, u64 handle)
{
	struct lagoon_borrow *b;

	lockdep_assert_held(&lg->lock);
	list_for_each_entry(b, &lg->borrows, node) {
		if (b->handle == handle) {
			kref_get(&b->ref);
			return b;
		}
	}
	return NULL;
}

/* Forgets an offer that nothing is mapped of. lg->lock held; the caller has a reference beside the list's. */
static void forget(struct lagoon_borrow *b)
{
	b->state = LAGOON_RECLAIMED;
	list_del_init(&b->node);
	lagoon_changed(b->lg);
	lagoon_borrow_put(b);
}

static void give_back_soon(struct lagoon_borrow *b, enum lagoon_state state)
{
	lockdep_assert_held(&b->lg->lock);
	b->state = state;
	b->closing = true;
	lagoon_changed(b->lg);
	b->delay_ms = 1;
	kref_get(&b->ref);
	if (!mod_delayed_work(b->lg->wq, &b->give_back, 0))
		return;
	lagoon_borrow_put(b); /* it was pending already, with a reference of its own */
}

static void give_back_work(struct work_struct *work)
{
	struct lagoon_borrow *b = container_of(to_delayed_work(work), struct lagoon_borrow, give_back);
	struct lagoon *lg = b->lg;
	struct lagoon_buf *buf;
	int ret = -EBUSY;

	mutex_lock(&lg->lock);
	buf = b->closing ? b->buf : NULL;
	mutex_unlock(&lg->lock);
	if (!buf) /* done by an earlier run */
		goto out;
	if (lagoon_buf_drain(buf)) {
		lagoon_window_online(b->ipa, buf->page_count, false);
		ret = lagoon_ffa_relinquish(&lg->ffa, b->handle);
	}
	if (ret == -EBUSY || ret == -EAGAIN) {
		if (b->delay_ms < 200)
			b->delay_ms *= 2;
		if (queue_delayed_work(lg->wq, &b->give_back, msecs_to_jiffies(b->delay_ms)))
			return; /* the work keeps its reference */
		goto out;
	}
	if (ret)
		dev_warn(lg->dev, "handle %#llx: relinquish refused (%d): it was no longer ours\n", b->handle, ret);
	mutex_lock(&lg->lock);
	lagoon_bell_put(lg, b->my_bell);
	b->my_bell = -1;
	b->buf = NULL;
	b->closing = false;
	b->state = LAGOON_OFFERED;
	lagoon_changed(lg);
	if (b->ended)
		forget(b);
	mutex_unlock(&lg->lock);
	lagoon_buf_put(buf);
	lagoon_say(lg, b->peer, LAGOON_MSG_RELINQUISHED, b->handle, LAGOON_NO_BELL);
	module_put(THIS_MODULE); /* the import's; exit waits for this work */
out:
	lagoon_borrow_put(b);
}

/* The dma-buf is closed: nobody can map it again, though pages may still be pinned. */
static void import_released(struct lagoon_buf *buf)
{
	struct lagoon_borrow *b = buf->owner;

	mutex_lock(&b->lg->lock);
	if (b->buf == buf && !b->closing)
		give_back_soon(b, LAGOON_RETURNING);
	mutex_unlock(&b->lg->lock);
	lagoon_borrow_put(b);
}

/* ---- import ---- */

static bool matches(const struct lagoon_borrow *b, const struct lagoon_ioc_import *req, const struct lagoon_peer *peer)
{
	if (req->handle)
		return b->handle == req->handle;
	return (!peer || b->peer == peer->id) && !strncmp(b->label, req->label, LAGOON_NAME_MAX);
}

/* Finds an offer and marks it busy. -EAGAIN: there is none yet. */
static int claim(struct lagoon *lg, const struct lagoon_ioc_import *req, struct lagoon_borrow **found)
{
	struct lagoon_peer *peer = NULL;
	struct lagoon_borrow *b;
	int ret = -EAGAIN;

	mutex_lock(&lg->lock);
	if (lg->hibernating) {
		mutex_unlock(&lg->lock);
		return -EBUSY;
	}
	if (!req->handle && (req->peer || req->peer_name[0])) {
		peer = lagoon_peer_find(lg, req->peer, req->peer_name);
		if (!peer) {
			mutex_unlock(&lg->lock);
			return -ENOENT;
		}
	}
	list_for_each_entry(b, &lg->borrows, node) {
		if (!matches(b, req, peer))
			continue;
		if (b->state == LAGOON_BORROWED || b->busy)
			ret = -EBUSY; /* imported already: pass that file descriptor on instead */
		if (b->state != LAGOON_OFFERED || b->busy || b->ended)
			continue;
		b->busy = true;
		kref_get(&b->ref);
		*found = b;
		ret = 0;
		break;
	}
	mutex_unlock(&lg->lock);
	return ret;
}

static int claim_wait(struct lagoon *lg, const struct lagoon_ioc_import *req, struct lagoon_borrow **found)
{
	long left = req->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT : msecs_to_jiffies(req->timeout_ms);

	for (;;) {
		u64 seen = READ_ONCE(lg->changes);
		int ret = claim(lg, req, found);

		if (ret != -EAGAIN)
			return ret;
		if (!left)
			return req->timeout_ms ? -ETIMEDOUT : -ENOENT;
		left = wait_event_interruptible_timeout(lg->wait, READ_ONCE(lg->changes) != seen, left);
		if (left < 0)
			return -EINTR;
	}
}

/* Retrieves into the window. On success the pages are online and belong to the new buf. */
static int retrieve(struct lagoon_borrow *b, bool ro)
{
	struct lagoon *lg = b->lg;
	unsigned long i;
	u32 pages;
	int ret;

	ret = lagoon_ffa_retrieve(&lg->ffa, b->peer, b->handle, b->tag, ro, &b->ipa, &pages);
	if (ret)
		return ret;
	ret = -EPROTO;
	if (!pages || b->ipa < lg->window_base || b->ipa - lg->window_base > lg->window_bytes ||
	    (u64)pages * FFA_PAGE > lg->window_bytes - (b->ipa - lg->window_base)) {
		dev_err(lg->dev, "handle %#llx: %u pages at %#llx are outside the window\n", b->handle, pages, b->ipa);
		goto relinquish;
	}
	ret = -ENOMEM;
	b->buf = lagoon_buf_new(pages, ro);
	if (!b->buf)
		goto relinquish;
	lagoon_window_online(b->ipa, pages, true);
	for (i = 0; i < pages; i++)
		b->buf->pages[i] = pfn_to_page((b->ipa >> PAGE_SHIFT) + i);
	b->bytes = (u64)pages * FFA_PAGE;
	return 0;
relinquish:
	lagoon_ffa_relinquish(&lg->ffa, b->handle);
	return ret;
}

/* Exports b->buf as a file descriptor; from here on closing it is what gives the memory back. */
static int export(struct lagoon_borrow *b, bool ro)
{
	struct dma_buf *dmabuf;
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd < 0)
		return fd;
	kref_get(&b->buf->ref); /* the dma-buf's, beside ours */
	dmabuf = lagoon_buf_export(b->buf, "lagoon", ro ? O_RDONLY : O_RDWR);
	if (IS_ERR(dmabuf)) {
		lagoon_buf_put(b->buf);
		put_unused_fd(fd);
		return PTR_ERR(dmabuf);
	}
	kref_get(&b->ref);
	b->buf->owner = b;
	b->buf->released = import_released;
	fd_install(fd, dmabuf->file);
	return fd;
}

static int import_claimed(struct lagoon_borrow *b, struct lagoon_ioc_import *req)
{
	struct lagoon *lg = b->lg;
	bool ro = (b->flags | req->flags) & LAGOON_RO;
	u32 bell;
	int fd, ret;

	ret = retrieve(b, ro);
	if (ret)
		return ret;
	__module_get(THIS_MODULE); /* until give_back_work() is done with it */
	mutex_lock(&lg->lock);
	b->my_bell = lagoon_bell_get(lg, b->peer);
	b->state = LAGOON_BORROWED;
	b->count = 0;
	bell = b->my_bell >= 0 ? b->my_bell : LAGOON_NO_BELL;
	req->bytes = b->bytes;
	req->window_offset = b->ipa - lg->window_base;
	mutex_unlock(&lg->lock);
	lagoon_say(lg, b->peer, LAGOON_MSG_RETRIEVED, b->handle, bell);
	fd = export(b, ro);
	if (fd < 0)
		return fd;
	req->fd = fd;
	req->handle = b->handle;
	req->flags = ro ? LAGOON_RO : 0;
	req->peer = b->peer;
	req->runs = b->runs;
	memcpy(req->label, b->label, sizeof(req->label));
	memcpy(req->meta, b->meta, sizeof(req->meta));
	return 0;
}

int lagoon_import(struct lagoon *lg, struct lagoon_ioc_import *req)
{
	struct lagoon_borrow *b;
	int ret;

	if (req->flags & ~LAGOON_RO || req->reserved)
		return -EINVAL;
	if (!lg->window_ok)
		return -EOPNOTSUPP;
	ret = claim_wait(lg, req, &b);
	if (ret)
		return ret;
	ret = import_claimed(b, req);
	mutex_lock(&lg->lock);
	b->busy = false;
	if (b->buf && !b->closing && (ret || b->ended))
		give_back_soon(b, LAGOON_RETURNING); /* no descriptor came of it; or asked back meanwhile */
	else if (b->ended && b->state == LAGOON_OFFERED && !list_empty(&b->node))
		forget(b); /* withdrawn while we tried */
	else
		lagoon_changed(lg);
	mutex_unlock(&lg->lock);
	lagoon_borrow_put(b);
	return ret;
}

/* ---- what the owner and the hypervisor say ---- */

/* lg->lock held. The owner ends the offer: forget it, or give back what is imported. */
static void end_offer(struct lagoon_borrow *b, enum lagoon_state state)
{
	b->ended = true;
	if (b->state == LAGOON_OFFERED && !b->busy)
		forget(b);
	else if (b->buf && b->state != LAGOON_OFFERED && !b->busy)
		give_back_soon(b, state);
	else
		lagoon_changed(b->lg); /* being imported: lagoon_import() looks at ended */
}

static void hear_offer(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg)
{
	struct lagoon_borrow *b = lagoon_borrow_find(lg, msg->handle);
	unsigned int n = 0;

	if (b) {
		if (b->peer == peer) /* said again, after our HELLO */
			b->peer_bell = msg->bell < LAGOON_BELLS ? msg->bell : LAGOON_NO_BELL;
		lagoon_borrow_put(b);
		return;
	}
	list_for_each_entry(b, &lg->borrows, node)
		n++;
	b = n < LAGOON_MAX_OFFERS ? kzalloc(sizeof(*b), GFP_KERNEL) : NULL;
	if (!b) {
		dev_warn_ratelimited(lg->dev, "offer %#llx of VM %u dropped: no room\n", msg->handle, peer);
		return;
	}
	kref_init(&b->ref);
	INIT_DELAYED_WORK(&b->give_back, give_back_work);
	b->lg = lg;
	b->peer = peer;
	b->handle = msg->handle;
	b->tag = msg->tag;
	b->bytes = msg->bytes;
	b->flags = msg->flags & LAGOON_RO;
	b->runs = msg->runs;
	b->state = LAGOON_OFFERED;
	b->my_bell = -1;
	b->peer_bell = msg->bell < LAGOON_BELLS ? msg->bell : LAGOON_NO_BELL;
	strscpy(b->label, msg->label, sizeof(b->label)); /* the peer may have left out the NUL */
	memcpy(b->meta, msg->meta, sizeof(b->meta));
	list_add_tail(&b->node, &lg->borrows);
	lagoon_changed(lg);
}

void lagoon_borrow_heard(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg)
{
	struct lagoon_borrow *b;
	bool nothing = true;

	mutex_lock(&lg->lock);
	if (msg->type == LAGOON_MSG_OFFER) {
		hear_offer(lg, peer, msg);
		mutex_unlock(&lg->lock);
		return;
	}
	b = lagoon_borrow_find(lg, msg->handle);
	if (b && b->peer == peer) {
		nothing = b->state == LAGOON_OFFERED && !b->busy;
		end_offer(b, msg->type == LAGOON_MSG_RECALL ? LAGOON_RETURNING : LAGOON_REVOKED);
	}
	mutex_unlock(&lg->lock);
	if (b)
		lagoon_borrow_put(b);
	if (msg->type == LAGOON_MSG_RECALL && nothing)
		lagoon_say(lg, peer, LAGOON_MSG_RELINQUISHED, msg->handle, LAGOON_NO_BELL);
}

/* died: the VM is gone, its memory stays with us until closed. Otherwise only its driver left or came anew. */
void lagoon_borrows_peer_gone(struct lagoon *lg, u16 peer, bool died)
{
	struct lagoon_borrow *b, *next;

	mutex_lock(&lg->lock);
	list_for_each_entry_safe(b, next, &lg->borrows, node) {
		if (b->peer != peer)
			continue;
		b->ended = true;
		if (b->state == LAGOON_OFFERED && !b->busy)
			forget(b);
		else if (died && b->state == LAGOON_BORROWED && !b->closing)
			b->state = LAGOON_ORPHANED;
	}
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
}

/* For those who have made sure that only offers are left: no import, and nobody on the way to one. */
void lagoon_borrows_forget(struct lagoon *lg)
{
	struct lagoon_borrow *b, *next;

	mutex_lock(&lg->lock);
	list_for_each_entry_safe(b, next, &lg->borrows, node) {
		kref_get(&b->ref);
		forget(b);
		lagoon_borrow_put(b);
	}
	mutex_unlock(&lg->lock);
}
