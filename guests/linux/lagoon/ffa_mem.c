// SPDX-License-Identifier: GPL-2.0-only
/*
 * FF-A memory management calls: share in fragments, retrieve, relinquish, reclaim, revoke. [DEN0140 v1.1 §2, §5
 * descriptors; §4 fragments]. Builds and parses descriptors in TX and RX under ffa->lock; knows no dma-buf.
 */
#include <linux/arm-smccc.h>
#include <linux/delay.h>
#include <linux/device.h>
#include <linux/string.h>

#include "lagoon.h"

#define ATTRIBUTES (FFA_MEM_NORMAL | FFA_MEM_WRITE_BACK | FFA_MEM_SHAREABILITY_INNER)

/* The one layout that we write: header, endpoints, composite, constituents. */
struct head {
	struct ffa_mem_region region;
	struct ffa_mem_region_attributes endpoints[LAGOON_MAX_BORROWERS];
};

/* Header and endpoints; returns where the rest begins. */
static u32 fill_head(struct head *h, u16 sender, const struct lagoon_ffa_receiver *to, u32 to_count, u64 handle, u64 tag)
{
	u32 i;

	memset(h, 0, sizeof(*h));
	h->region.sender_id = sender;
	h->region.attributes = ATTRIBUTES;
	h->region.handle = handle;
	h->region.tag = tag;
	h->region.ep_mem_size = sizeof(h->endpoints[0]);
	h->region.ep_count = to_count;
	h->region.ep_mem_offset = offsetof(struct head, endpoints);
	for (i = 0; i < to_count; i++) {
		h->endpoints[i].receiver = to[i].id;
		h->endpoints[i].permissions = to[i].ro ? FFA_MEM_PERM_RO : FFA_MEM_PERM_RW;
	}
	return offsetof(struct head, endpoints) + to_count * sizeof(h->endpoints[0]);
}

static u64 handle_of(unsigned long lo, unsigned long hi)
{
	return lower_32_bits(lo) | (u64)lower_32_bits(hi) << 32;
}

static int reclaim(struct lagoon_ffa *ffa, u64 handle)
{
	struct arm_smccc_1_2_regs r = {
		.a0 = FFA_MEM_RECLAIM,
		.a1 = lower_32_bits(handle),
		.a2 = upper_32_bits(handle),
	};

	return lagoon_ffa_call(ffa, &r);
}

/* Sends the constituents that did not fit behind `head` bytes; r holds the last answer. [DEN0140 §4.1: MEM_FRAG_RX asks, FRAG_TX sends] */
static int send_rest(struct lagoon_ffa *ffa, struct arm_smccc_1_2_regs *r,
		     const struct ffa_mem_region_addr_range *runs, u32 total, u32 sent, u32 head)
{
	const u32 per_fragment = LAGOON_RXTX_BYTES / sizeof(*runs);

	while (lower_32_bits(r->a0) == FFA_MEM_FRAG_RX) {
		u64 handle = handle_of(r->a1, r->a2);
		u32 want = lower_32_bits(r->a3);
		u32 count = min(total - sent, per_fragment);
		int ret;

		if (!count || want != head + sent * sizeof(*runs)) {
			dev_err(ffa->dev, "share %#llx: asked for offset %u after %u runs\n", handle, want, sent);
			reclaim(ffa, handle); /* gives the unfinished transfer up */
			return -EPROTO;
		}
		memcpy(ffa->tx, runs + sent, count * sizeof(*runs));
		*r = (struct arm_smccc_1_2_regs){
			.a0 = FFA_MEM_FRAG_TX,
			.a1 = lower_32_bits(handle),
			.a2 = upper_32_bits(handle),
			.a3 = count * sizeof(*runs),
		};
		ret = lagoon_ffa_call(ffa, r);
		if (ret)
			return ret;
		sent += count;
	}
	return sent == total ? 0 : -EPROTO;
}

int lagoon_ffa_share(struct lagoon_ffa *ffa, const struct lagoon_ffa_receiver *to, u32 to_count, u64 tag,
		     const struct ffa_mem_region_addr_range *runs, u32 run_count, u32 pages, u64 *handle)
{
	struct ffa_composite_mem_region *composite;
	struct head *h = ffa->tx;
	struct arm_smccc_1_2_regs r;
	u32 at, head, first, i;
	int ret;

	mutex_lock(&ffa->lock);
	at = fill_head(h, ffa->id, to, to_count, 0, tag);
	for (i = 0; i < to_count; i++)
		h->endpoints[i].composite_off = at;
	composite = ffa->tx + at;
	*composite = (struct ffa_composite_mem_region){ .total_pg_cnt = pages, .addr_range_cnt = run_count };
	head = at + sizeof(*composite);
	first = min_t(u32, run_count, (LAGOON_RXTX_BYTES - head) / sizeof(*runs));
	memcpy(ffa->tx + head, runs, first * sizeof(*runs));
	r = (struct arm_smccc_1_2_regs){
		.a0 = FFA_MEM_SHARE,
		.a1 = head + run_count * sizeof(*runs),
		.a2 = head + first * sizeof(*runs),
	};
	ret = lagoon_ffa_call(ffa, &r);
	if (!ret)
		ret = send_rest(ffa, &r, runs, run_count, first, head);
	if (!ret) /* FFA_SUCCESS: w2, w3 = handle */
		*handle = handle_of(r.a2, r.a3);
	mutex_unlock(&ffa->lock);
	return ret;
}

/* Reads the one contiguous range out of FFA_MEM_RETRIEVE_RESP, which lies in RX. */
static int parse_response(struct lagoon_ffa *ffa, u32 bytes, u64 handle, u64 *ipa, u32 *pages)
{
	struct ffa_mem_region region;
	struct ffa_mem_region_attributes endpoint;
	struct ffa_composite_mem_region composite;
	struct ffa_mem_region_addr_range range;
	u64 at;

	if (bytes < sizeof(region) || bytes > LAGOON_RXTX_BYTES)
		return -EPROTO;
	memcpy(&region, ffa->rx, sizeof(region));
	if (region.handle != handle || region.ep_count != 1 || region.ep_mem_size < sizeof(endpoint) ||
	    (u64)region.ep_mem_offset + sizeof(endpoint) > bytes)
		return -EPROTO;
	memcpy(&endpoint, ffa->rx + region.ep_mem_offset, sizeof(endpoint));
	at = endpoint.composite_off;
	if (!at || at + sizeof(composite) + sizeof(range) > bytes)
		return -EPROTO;
	memcpy(&composite, ffa->rx + at, sizeof(composite));
	memcpy(&range, ffa->rx + at + sizeof(composite), sizeof(range));
	if (composite.addr_range_cnt != 1 || range.pg_cnt != composite.total_pg_cnt || range.address % FFA_PAGE)
		return -EPROTO;
	*ipa = range.address;
	*pages = range.pg_cnt;
	return 0;
}

static int relinquish_locked(struct lagoon_ffa *ffa, u64 handle)
{
	struct ffa_mem_relinquish *d = ffa->tx;
	struct arm_smccc_1_2_regs r = { .a0 = FFA_MEM_RELINQUISH };

	memset(d, 0, sizeof(*d) + sizeof(d->endpoints[0]));
	d->handle = handle;
	d->ep_count = 1;
	d->endpoints[0] = ffa->id;
	return lagoon_ffa_call(ffa, &r);
}

int lagoon_ffa_retrieve(struct lagoon_ffa *ffa, u16 owner, u64 handle, u64 tag, bool ro, u64 *ipa, u32 *pages)
{
	const struct lagoon_ffa_receiver us = { .id = ffa->id, .ro = ro }; /* other borrowers need not be named */
	struct arm_smccc_1_2_regs r;
	int tries, ret;

	for (tries = 0;; tries++) {
		struct head *h = ffa->tx;
		u32 bytes;

		mutex_lock(&ffa->lock);
		bytes = fill_head(h, owner, &us, 1, handle, tag);
		h->region.flags = FFA_MEM_FLAG_TYPE_SHARE;
		r = (struct arm_smccc_1_2_regs){ .a0 = FFA_MEM_RETRIEVE_REQ, .a1 = bytes, .a2 = bytes };
		ret = lagoon_ffa_call(ffa, &r);
		if (ret != -EBUSY || tries == 200)
			break;
		lagoon_ffa_poll_locked(ffa); /* RX holds a message: take it out, then ask again */
		mutex_unlock(&ffa->lock);
		usleep_range(1000, 2000);
	}
	if (!ret && lower_32_bits(r.a0) != FFA_MEM_RETRIEVE_RESP)
		ret = -EPROTO;
	if (!ret) {
		/* One range always fits in the first fragment. */
		ret = parse_response(ffa, lower_32_bits(r.a2), handle, ipa, pages);
		r = (struct arm_smccc_1_2_regs){ .a0 = FFA_RX_RELEASE };
		lagoon_ffa_call(ffa, &r);
		if (ret) {
			dev_err(ffa->dev, "handle %#llx: the retrieve response cannot be read\n", handle);
			relinquish_locked(ffa, handle);
		}
	}
	mutex_unlock(&ffa->lock);
	return ret;
}

int lagoon_ffa_relinquish(struct lagoon_ffa *ffa, u64 handle)
{
	int ret;

	mutex_lock(&ffa->lock);
	ret = relinquish_locked(ffa, handle);
	mutex_unlock(&ffa->lock);
	return ret;
}

int lagoon_ffa_reclaim(struct lagoon_ffa *ffa, u64 handle)
{
	return reclaim(ffa, handle);
}

/* Atoll's own call (lib/abi/ffa.h): w0 is 0 or an FF-A error code. */
int lagoon_ffa_revoke(struct lagoon_ffa *ffa, u64 handle)
{
	struct arm_smccc_1_2_regs r = { .a0 = ATOLL_MEM_REVOKE, .a1 = handle };
	struct arm_smccc_1_2_regs error = { .a0 = FFA_ERROR };

	lagoon_ffa_call(ffa, &r);
	if ((s32)r.a0 == 0)
		return 0;
	error.a2 = r.a0;
	return lagoon_ffa_status(&error);
}
