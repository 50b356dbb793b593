// SPDX-License-Identifier: GPL-2.0-only
/*
 * FF-A v1.1 transport: the conduit, RX/TX, indirect messages, notifications. [DEN0077A §5 conduit, §7 messages,
 * §10 notifications, §13 calls]. Owns RX and TX under ffa->lock; knows nothing about shares.
 */
#include <linux/arm-smccc.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/io.h>
#include <linux/slab.h>

#include "lagoon.h"

static int ffa_errno(s32 code)
{
	switch (code) {
	case FFA_NOT_SUPPORTED:
		return -EOPNOTSUPP;
	case FFA_INVALID_PARAMETERS:
		return -EINVAL;
	case FFA_NO_MEMORY:
		return -ENOMEM;
	case FFA_BUSY:
		return -EBUSY;
	case FFA_INTERRUPTED:
		return -EINTR;
	case FFA_DENIED:
		return -EACCES;
	case FFA_RETRY:
		return -EAGAIN;
	case FFA_ABORTED:
		return -ECANCELED;
	case FFA_NO_DATA:
		return -ENODATA;
	}
	return -EIO;
}

int lagoon_ffa_status(const struct arm_smccc_1_2_regs *r)
{
	u32 fn = lower_32_bits(r->a0);

	if (fn == FFA_ERROR)
		return ffa_errno((s32)lower_32_bits(r->a2));
	/* An SMCCC implementation that does not know the call answers NOT_SUPPORTED in w0. */
	if ((s32)fn < 0 && (fn & 0xffff0000u) == 0xffff0000u)
		return -EOPNOTSUPP;
	return 0;
}

int lagoon_ffa_call(struct lagoon_ffa *ffa, struct arm_smccc_1_2_regs *r)
{
	struct arm_smccc_1_2_regs args = *r;
	int ret;

	if (ffa->use_smc)
		arm_smccc_1_2_smc(&args, r);
	else
		arm_smccc_1_2_hvc(&args, r);
	ret = lagoon_ffa_status(r);
	dev_dbg(ffa->dev, "call %#lx(%#lx, %#lx, %#lx) = %#lx(%#lx, %#lx)\n", args.a0, args.a1, args.a2, args.a3, r->a0,
		r->a1, r->a2);
	return ret;
}

static int simple_call(struct lagoon_ffa *ffa, u32 fn, u64 a1, u64 a2, u64 a3, u64 a4)
{
	struct arm_smccc_1_2_regs r = { .a0 = fn, .a1 = a1, .a2 = a2, .a3 = a3, .a4 = a4 };

	return lagoon_ffa_call(ffa, &r);
}

/* ---- receiving ---- */

static void read_message(struct lagoon_ffa *ffa)
{
	const struct ffa_msg_header *raw = ffa->rx;
	struct ffa_msg_header h;
	struct lagoon_queued *q;

	memcpy(&h, raw, sizeof(h));
	if (h.offset < sizeof(h) || h.offset > LAGOON_RXTX_BYTES || h.size > LAGOON_RXTX_BYTES - h.offset) {
		dev_warn_ratelimited(ffa->dev, "message with offset %u and size %u dropped\n", h.offset, h.size);
		return;
	}
	q = kzalloc(sizeof(*q), GFP_KERNEL);
	if (!q) {
		dev_warn_ratelimited(ffa->dev, "no memory for a message from VM %u\n", h.ids >> 16);
		return;
	}
	q->sender = h.ids >> 16;
	q->bytes = min_t(u32, h.size, sizeof(q->u));
	memcpy(&q->u, ffa->rx + h.offset, q->bytes);
	list_add_tail(&q->node, &ffa->queue);
	ffa->queued++;
}

void lagoon_ffa_poll_locked(struct lagoon_ffa *ffa)
{
	unsigned int round;

	lockdep_assert_held(&ffa->lock);
	for (round = 0; round < LAGOON_MAX_QUEUED; round++) {
		/* [DEN0077A §16.6] w4, w5: from VMs; w7: the hypervisor's own. */
		struct arm_smccc_1_2_regs r = {
			.a0 = FFA_NOTIFICATION_GET,
			.a1 = ffa->id,
			.a2 = FFA_NOTIFICATION_FROM_VM | FFA_NOTIFICATION_FROM_HYPERVISOR,
		};

		if (!lagoon_ffa_call(ffa, &r)) {
			ffa->bits |= lower_32_bits(r.a4) | (u64)lower_32_bits(r.a5) << 32;
			ffa->rx_full |= (r.a7 & FFA_NOTIFICATION_RX_FULL) != 0;
		}
		if (!ffa->rx_full || ffa->queued >= LAGOON_MAX_QUEUED)
			break;
		read_message(ffa);
		ffa->rx_full = false;
		if (simple_call(ffa, FFA_RX_RELEASE, 0, 0, 0, 0))
			dev_warn_ratelimited(ffa->dev, "RX_RELEASE refused\n");
	}
	if (ffa->bits || ffa->queued)
		queue_work(ffa->msg_wq, ffa->msg_work);
}

void lagoon_ffa_poll(struct lagoon_ffa *ffa)
{
	mutex_lock(&ffa->lock);
	lagoon_ffa_poll_locked(ffa);
	mutex_unlock(&ffa->lock);
}

u64 lagoon_ffa_take_bits(struct lagoon_ffa *ffa)
{
	u64 bits;

	mutex_lock(&ffa->lock);
	bits = ffa->bits;
	ffa->bits = 0;
	mutex_unlock(&ffa->lock);
	return bits;
}

struct lagoon_queued *lagoon_ffa_take_msg(struct lagoon_ffa *ffa)
{
	struct lagoon_queued *q;

	mutex_lock(&ffa->lock);
	q = list_first_entry_or_null(&ffa->queue, struct lagoon_queued, node);
	if (q) {
		list_del(&q->node);
		ffa->queued--;
		if (ffa->rx_full) /* there is room again for the one that waits in RX */
			lagoon_ffa_poll_locked(ffa);
	}
	mutex_unlock(&ffa->lock);
	return q;
}

/* ---- sending ---- */

int lagoon_ffa_send(struct lagoon_ffa *ffa, u16 to, const void *payload, u32 bytes, unsigned int timeout_ms)
{
	struct ffa_msg_header h = {
		.offset = sizeof(h),
		.ids = (u32)ffa->id << 16 | to,
		.size = bytes,
	};
	unsigned long end = jiffies + msecs_to_jiffies(timeout_ms);
	int ret;

	for (;;) {
		mutex_lock(&ffa->lock);
		memcpy(ffa->tx, &h, sizeof(h));
		memcpy(ffa->tx + sizeof(h), payload, bytes);
		ret = simple_call(ffa, FFA_MSG_SEND2, 0, 0, 0, 0);
		mutex_unlock(&ffa->lock);
		if ((ret != -EBUSY && ret != -EAGAIN) || time_after(jiffies, end))
			return ret;
		usleep_range(500, 2000);
	}
}

int lagoon_ffa_bind(struct lagoon_ffa *ffa, u16 sender, u64 bits)
{
	return simple_call(ffa, FFA_NOTIFICATION_BIND, (u32)sender << 16 | ffa->id, 0, lower_32_bits(bits),
			   upper_32_bits(bits));
}

int lagoon_ffa_unbind(struct lagoon_ffa *ffa, u16 sender, u64 bits)
{
	return simple_call(ffa, FFA_NOTIFICATION_UNBIND, (u32)sender << 16 | ffa->id, 0, lower_32_bits(bits),
			   upper_32_bits(bits));
}

int lagoon_ffa_ring(struct lagoon_ffa *ffa, u16 receiver, u64 bits)
{
	return simple_call(ffa, FFA_NOTIFICATION_SET, (u32)ffa->id << 16 | receiver, 0, lower_32_bits(bits),
			   upper_32_bits(bits));
}

int lagoon_ffa_partitions(struct lagoon_ffa *ffa, void (*fn)(void *ctx, u16 id), void *ctx)
{
	struct arm_smccc_1_2_regs r;
	int tries, ret;

	mutex_lock(&ffa->lock);
	for (tries = 0;; tries++) {
		r = (struct arm_smccc_1_2_regs){ .a0 = FFA_PARTITION_INFO_GET }; /* nil UUID: all */
		ret = lagoon_ffa_call(ffa, &r);
		if (ret != -EBUSY || tries == 50)
			break;
		lagoon_ffa_poll_locked(ffa); /* RX holds a message: take it out, then ask again */
		usleep_range(500, 1000);
	}
	if (!ret) {
		u32 count = lower_32_bits(r.a2), size = lower_32_bits(r.a3), i;

		if (size < 8 || size > 256)
			size = sizeof(struct ffa_partition_info);
		for (i = 0; i < count && (i + 1) * size <= LAGOON_RXTX_BYTES; i++) {
			u16 id;

			memcpy(&id, ffa->rx + i * size, sizeof(id));
			fn(ctx, id);
		}
		simple_call(ffa, FFA_RX_RELEASE, 0, 0, 0, 0);
	}
	mutex_unlock(&ffa->lock);
	return ret;
}

/* ---- life ---- */

static int negotiate(struct lagoon_ffa *ffa)
{
	struct arm_smccc_1_2_regs r = { .a0 = FFA_VERSION, .a1 = FFA_VERSION_1_1 };

	switch (arm_smccc_1_1_get_conduit()) {
	case SMCCC_CONDUIT_HVC:
		break;
	case SMCCC_CONDUIT_SMC:
		ffa->use_smc = true;
		break;
	default:
		dev_info(ffa->dev, "no SMCCC conduit: no hypervisor to share memory through\n");
		return -ENODEV;
	}
	if (arm_smccc_get_version() < ARM_SMCCC_VERSION_1_2) {
		dev_info(ffa->dev, "SMCCC 1.2 is needed, there is %#x\n", arm_smccc_get_version());
		return -ENODEV;
	}
	if (lagoon_ffa_call(ffa, &r) || (s32)r.a0 < 0) {
		dev_info(ffa->dev, "the hypervisor does not speak FF-A\n");
		return -ENODEV;
	}
	ffa->version = lower_32_bits(r.a0);
	if (ffa->version >> 16 != 1 || (ffa->version & 0xffff) < 1) {
		dev_info(ffa->dev, "FF-A 1.1 is needed, there is %u.%u\n", ffa->version >> 16, ffa->version & 0xffff);
		return -ENODEV;
	}
	r = (struct arm_smccc_1_2_regs){ .a0 = FFA_ID_GET };
	if (lagoon_ffa_call(ffa, &r))
		return -ENODEV;
	ffa->id = (u16)r.a2;
	return 0;
}

/* From here on EL2 may write RX. Also after a hibernated guest came back in a new life of its VM, which knows nothing. */
int lagoon_ffa_connect(struct lagoon_ffa *ffa)
{
	struct arm_smccc_1_2_regs r = {
		.a0 = FFA_RXTX_MAP64,
		.a1 = virt_to_phys(ffa->tx),
		.a2 = virt_to_phys(ffa->rx),
		.a3 = LAGOON_RXTX_PAGES,
	};
	int ret = negotiate(ffa);

	if (ret)
		return ret;
	ret = lagoon_ffa_call(ffa, &r);
	if (ret == -EACCES)
		dev_err(ffa->dev, "RX/TX buffers are mapped already: is arm_ffa loaded? Only one driver can have them\n");
	if (ret)
		dev_err(ffa->dev, "RXTX_MAP failed: %d\n", ret);
	return ret;
}

int lagoon_ffa_disconnect(struct lagoon_ffa *ffa)
{
	return simple_call(ffa, FFA_RXTX_UNMAP, (u32)ffa->id << 16, 0, 0, 0);
}

int lagoon_ffa_init(struct lagoon_ffa *ffa, struct device *dev)
{
	int ret = -ENOMEM;

	ffa->dev = dev;
	mutex_init(&ffa->lock);
	INIT_LIST_HEAD(&ffa->queue);
	ffa->tx = alloc_pages_exact(LAGOON_RXTX_BYTES, GFP_KERNEL | __GFP_ZERO);
	ffa->rx = alloc_pages_exact(LAGOON_RXTX_BYTES, GFP_KERNEL | __GFP_ZERO);
	if (ffa->tx && ffa->rx)
		ret = lagoon_ffa_connect(ffa);
	if (!ret)
		return 0;
	if (ffa->tx)
		free_pages_exact(ffa->tx, LAGOON_RXTX_BYTES);
	if (ffa->rx)
		free_pages_exact(ffa->rx, LAGOON_RXTX_BYTES);
	return ret;
}

void lagoon_ffa_exit(struct lagoon_ffa *ffa)
{
	struct lagoon_queued *q, *next;

	/* Pages that EL2 may still write must not go back to the kernel: then better lose them. */
	if (lagoon_ffa_disconnect(ffa)) {
		dev_err(ffa->dev, "RXTX_UNMAP refused: %u KiB of memory are lost\n", 2 * LAGOON_RXTX_BYTES / 1024);
	} else {
		free_pages_exact(ffa->tx, LAGOON_RXTX_BYTES);
		free_pages_exact(ffa->rx, LAGOON_RXTX_BYTES);
	}
	list_for_each_entry_safe(q, next, &ffa->queue, node)
		kfree(q);
}
