// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/lagoon: argument checking and copying for share.c and borrow.c. An open file owns the shares that it made
 * without LAGOON_KEEP. poll() says that something changed since this file's last LIST, WAIT or IMPORT.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "lagoon.h"

static struct lagoon *the_lagoon; /* set while the device is registered */

static int dev_open(struct inode *inode, struct file *filp)
{
	struct lagoon_file *f = kzalloc(sizeof(*f), GFP_KERNEL);

	if (!f)
		return -ENOMEM;
	f->lg = the_lagoon;
	filp->private_data = f;
	return 0;
}

static int dev_release(struct inode *inode, struct file *filp)
{
	struct lagoon_file *f = filp->private_data;

	lagoon_shares_close(f->lg, f);
	kfree(f);
	return 0;
}

static __poll_t dev_poll(struct file *filp, poll_table *table)
{
	struct lagoon_file *f = filp->private_data;

	poll_wait(filp, &f->lg->wait, table);
	return READ_ONCE(f->lg->changes) != READ_ONCE(f->seen) ? EPOLLIN | EPOLLRDNORM : 0;
}

static int do_info(struct lagoon *lg, struct lagoon_ioc_info *info)
{
	mutex_lock(&lg->lock);
	*info = (struct lagoon_ioc_info){
		.api = LAGOON_API,
		.vm_id = lg->ffa.id,
		.ffa_version = lg->ffa.version,
		.peers = lagoon_peers_count(lg),
		.window_base = lg->window_ok ? lg->window_base : 0,
		.window_bytes = lg->window_ok ? lg->window_bytes : 0,
		.max_share_bytes = LAGOON_MAX_SHARE_BYTES,
	};
	mutex_unlock(&lg->lock);
	return 0;
}

static int do_peers(struct lagoon *lg, struct lagoon_ioc_peers *req)
{
	struct lagoon_peer_entry list[LAGOON_MAX_PEERS] = {};
	u32 n = 0, i;

	if (req->reserved)
		return -EINVAL;
	mutex_lock(&lg->lock);
	for (i = 0; i < LAGOON_MAX_PEERS; i++) {
		if (!lg->peers[i].used)
			continue;
		list[n].id = lg->peers[i].id;
		list[n].state = lg->peers[i].state;
		memcpy(list[n++].name, lg->peers[i].name, LAGOON_NAME_MAX);
	}
	mutex_unlock(&lg->lock);
	if (copy_to_user(u64_to_user_ptr(req->entries), list, min(n, req->count) * sizeof(list[0])))
		return -EFAULT;
	req->count = n;
	return 0;
}

static void describe_share(struct lagoon_entry *e, const struct lagoon_share *s)
{
	u32 i;

	*e = (struct lagoon_entry){
		.handle = s->handle,
		.bytes = s->bytes,
		.count = lagoon_share_count(s),
		.kind = LAGOON_KIND_SHARE,
		.state = lagoon_share_state(s),
		.flags = s->flags | (lagoon_share_read_only(s) ? LAGOON_RO : 0),
		.runs = s->runs,
		.party_count = s->loan_count,
	};
	for (i = 0; i < s->loan_count; i++) {
		e->parties[i] = (struct lagoon_party){
			.peer = s->loans[i].peer,
			.state = s->loans[i].state,
			.flags = s->loans[i].ro ? LAGOON_RO : 0,
			.count = s->loans[i].count,
		};
	}
	memcpy(e->label, s->label, sizeof(e->label));
	memcpy(e->meta, s->meta, sizeof(e->meta));
}

static void describe_borrow(struct lagoon_entry *e, const struct lagoon_borrow *b)
{
	*e = (struct lagoon_entry){
		.handle = b->handle,
		.bytes = b->bytes,
		.count = b->count,
		.kind = LAGOON_KIND_BORROW,
		.state = b->state,
		.flags = b->flags,
		.runs = b->runs,
		.party_count = 1,
	};
	e->parties[0] = (struct lagoon_party){
		.peer = b->peer,
		.state = b->state,
		.flags = b->flags,
		.count = b->count,
	};
	memcpy(e->label, b->label, sizeof(e->label));
	memcpy(e->meta, b->meta, sizeof(e->meta));
}

static int do_list(struct lagoon_file *f, struct lagoon_ioc_list *req)
{
	struct lagoon *lg = f->lg;
	struct lagoon_entry *list;
	struct lagoon_share *s;
	struct lagoon_borrow *b;
	u32 total = 0, n = 0;
	int ret = 0;

	if (req->reserved)
		return -EINVAL;
	mutex_lock(&lg->lock);
	list_for_each_entry(s, &lg->shares, node)
		total++;
	list_for_each_entry(b, &lg->borrows, node)
		total++;
	list = kvcalloc(max(total, 1u), sizeof(*list), GFP_KERNEL);
	if (list) {
		list_for_each_entry(s, &lg->shares, node)
			describe_share(&list[n++], s);
		list_for_each_entry(b, &lg->borrows, node)
			describe_borrow(&list[n++], b);
		WRITE_ONCE(f->seen, lg->changes);
	}
	mutex_unlock(&lg->lock);
	if (!list)
		return -ENOMEM;
	if (copy_to_user(u64_to_user_ptr(req->entries), list, min(n, req->count) * sizeof(*list)))
		ret = -EFAULT;
	req->count = n;
	kvfree(list);
	return ret;
}

static int do_notify(struct lagoon *lg, const struct lagoon_ioc_handle *req)
{
	struct lagoon_borrow *b = NULL;
	struct lagoon_share *s;
	u32 bell = LAGOON_NO_BELL;
	u16 peer = 0;
	int ret;

	mutex_lock(&lg->lock);
	s = lagoon_share_find(lg, req->handle);
	if (!s)
		b = lagoon_borrow_find(lg, req->handle);
	if (b) {
		peer = b->peer;
		bell = b->peer_bell;
		lagoon_borrow_put(b);
	}
	mutex_unlock(&lg->lock);
	if (s) {
		ret = lagoon_share_ring(s);
		lagoon_share_put(s);
		return ret;
	}
	if (!b)
		return -ENOENT;
	if (bell == LAGOON_NO_BELL)
		return -ENOTCONN; /* nobody at the other end (yet) */
	return lagoon_ffa_ring(&lg->ffa, peer, BIT_ULL(bell));
}

static int do_wait(struct lagoon_file *f, struct lagoon_ioc_wait *req)
{
	struct lagoon *lg = f->lg;
	long left = req->timeout_ms < 0 ? MAX_SCHEDULE_TIMEOUT : msecs_to_jiffies(req->timeout_ms);
	struct lagoon_borrow *b = NULL;
	struct lagoon_share *s;
	int ret = 0;

	mutex_lock(&lg->lock);
	s = lagoon_share_find(lg, req->handle);
	if (!s)
		b = lagoon_borrow_find(lg, req->handle);
	mutex_unlock(&lg->lock);
	if (!s && !b)
		return -ENOENT;
	for (;;) {
		u64 seen, count;
		u32 state;

		mutex_lock(&lg->lock);
		seen = lg->changes;
		count = s ? lagoon_share_count(s) : b->count;
		state = s ? lagoon_share_state(s) : b->state;
		WRITE_ONCE(f->seen, seen);
		mutex_unlock(&lg->lock);
		if (count != req->count || (req->state && state != req->state)) {
			req->count = count;
			req->state = state;
			break;
		}
		if (!left) {
			ret = -ETIMEDOUT;
			break;
		}
		left = wait_event_interruptible_timeout(lg->wait, READ_ONCE(lg->changes) != seen, left);
		if (left < 0) {
			ret = -EINTR;
			break;
		}
	}
	if (s)
		lagoon_share_put(s);
	else
		lagoon_borrow_put(b);
	return ret;
}

static int do_open(struct lagoon *lg, struct lagoon_ioc_handle *req)
{
	struct dma_buf *dmabuf = NULL;
	struct lagoon_share *s;
	int fd;

	mutex_lock(&lg->lock);
	s = lagoon_share_find(lg, req->handle);
	if (s) {
		/* Listed: finish() takes it off the list before it drops the dma-buf. */
		dmabuf = s->dmabuf;
		get_dma_buf(dmabuf);
		lagoon_share_put(s);
	}
	mutex_unlock(&lg->lock);
	if (!dmabuf)
		return -ENOENT;
	fd = dma_buf_fd(dmabuf, O_CLOEXEC);
	if (fd < 0) {
		dma_buf_put(dmabuf);
		return fd;
	}
	req->fd = fd;
	return 0;
}

static int do_reclaim(struct lagoon *lg, const struct lagoon_ioc_reclaim *req)
{
	struct lagoon_share *s;
	int ret;

	if (req->flags & ~LAGOON_FORCE)
		return -EINVAL;
	mutex_lock(&lg->lock);
	s = lagoon_share_find(lg, req->handle);
	mutex_unlock(&lg->lock);
	if (!s)
		return -ENOENT;
	ret = lagoon_share_reclaim(s, req->flags & LAGOON_FORCE, req->timeout_ms);
	lagoon_share_put(s);
	return ret;
}

union any_request {
	struct lagoon_ioc_info info;
	struct lagoon_ioc_peers peers;
	struct lagoon_ioc_share share;
	struct lagoon_ioc_import import;
	struct lagoon_ioc_list list;
	struct lagoon_ioc_handle handle;
	struct lagoon_ioc_wait wait;
	struct lagoon_ioc_reclaim reclaim;
};

static int handle_request(struct lagoon_file *f, unsigned int cmd, union any_request *r)
{
	struct lagoon *lg = f->lg;
	int ret;

	switch (cmd) {
	case LAGOON_IOC_INFO:
		return do_info(lg, &r->info);
	case LAGOON_IOC_PEERS:
		return do_peers(lg, &r->peers);
	case LAGOON_IOC_SHARE:
		r->share.label[LAGOON_NAME_MAX - 1] = 0;
		return lagoon_share_create(lg, f, &r->share);
	case LAGOON_IOC_IMPORT:
		r->import.peer_name[LAGOON_NAME_MAX - 1] = r->import.label[LAGOON_NAME_MAX - 1] = 0;
		ret = lagoon_import(lg, &r->import);
		WRITE_ONCE(f->seen, READ_ONCE(lg->changes));
		return ret;
	case LAGOON_IOC_LIST:
		return do_list(f, &r->list);
	case LAGOON_IOC_NOTIFY:
		return do_notify(lg, &r->handle);
	case LAGOON_IOC_WAIT:
		return do_wait(f, &r->wait);
	case LAGOON_IOC_OPEN:
		return do_open(lg, &r->handle);
	case LAGOON_IOC_RECLAIM:
		return do_reclaim(lg, &r->reclaim);
	}
	return -ENOTTY;
}

static long dev_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	union any_request r = {};
	int ret;

	if (_IOC_TYPE(cmd) != _IOC_TYPE(LAGOON_IOC_INFO) || _IOC_SIZE(cmd) > sizeof(r))
		return -ENOTTY;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(&r, (void __user *)arg, _IOC_SIZE(cmd)))
		return -EFAULT;
	ret = handle_request(filp->private_data, cmd, &r);
	/* What a wait or a list saw is worth having when it failed too. */
	if (ret && ret != -ETIMEDOUT)
		return ret;
	if (_IOC_DIR(cmd) & _IOC_READ && copy_to_user((void __user *)arg, &r, _IOC_SIZE(cmd)))
		return -EFAULT;
	return ret;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = dev_open,
	.release = dev_release,
	.poll = dev_poll,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "lagoon",
	.mode = 0600,
	.fops = &fops,
};

int lagoon_chardev_init(struct lagoon *lg)
{
	the_lagoon = lg;
	return misc_register(&device);
}

void lagoon_chardev_exit(struct lagoon *lg)
{
	misc_deregister(&device);
	the_lagoon = NULL;
}
