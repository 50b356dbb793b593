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

/* The one layout that we write: header, one endpoint, composite, constituents. */
struct share_head {
	struct ffa_mem_region region;
	struct ffa_mem_region_attributes endpoint;
	struct ffa_composite_mem_region composite;
};

static void fill_head(struct share_head *h, u16 sender, u16 receiver, bool ro, u64 handle, u64 tag)
{
	memset(h, 0, sizeof(*h));
	h->region.sender_id = sender;
	h->region.attributes = ATTRIBUTES;
	h->region.handle = handle;
	h->region.tag = tag;
	h->region.ep_mem_size = sizeof(h->endpoint);
	h->region.ep_count = 1;
	h->region.ep_mem_offset = offsetof(struct share_head, endpoint);
	h->endpoint.receiver = receiver;
	h->endpoint.permissions = ro ? FFA_MEM_PERM_RO : FFA_MEM_PERM_RW;
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

/* Sends the constituents that did not fit; r holds the last answer. [DEN0140 §4.1: MEM_FRAG_RX asks, FRAG_TX sends] */
static int send_rest(struct lagoon_ffa *ffa, struct arm_smccc_1_2_regs *r,
		     const struct ffa_mem_region_addr_range *runs, u32 total, u32 sent)
{
	const u32 per_fragment = LAGOON_RXTX_BYTES / sizeof(*runs);

	while (lower_32_bits(r->a0) == FFA_MEM_FRAG_RX) {
		u64 handle = handle_of(r->a1, r->a2);
		u32 want = lower_32_bits(r->a3);
		u32 count = min(total - sent, per_fragment);
		int ret;

		if (!count || want != sizeof(struct share_head) + sent * sizeof(*runs)) {
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

int lagoon_ffa_share(struct lagoon_ffa *ffa, u16 receiver, bool ro, u64 tag,
		     const struct ffa_mem_region_addr_range *runs, u32 run_count, u32 pages, u64 *handle)
{
	const u32 first_max = (LAGOON_RXTX_BYTES - sizeof(struct share_head)) / sizeof(*runs);
	u32 first = min(run_count, first_max);
	struct arm_smccc_1_2_regs r = {
		.a0 = FFA_MEM_SHARE,
		.a1 = sizeof(struct share_head) + run_count * sizeof(*runs),
		.a2 = sizeof(struct share_head) + first * sizeof(*runs),
	};
	struct share_head *h = ffa->tx;
	int ret;

	mutex_lock(&ffa->lock);
	fill_head(h, ffa->id, receiver, ro, 0, tag);
	h->endpoint.composite_off = offsetof(struct share_head, composite);
	h->composite.total_pg_cnt = pages;
	h->composite.addr_range_cnt = run_count;
	memcpy(ffa->tx + sizeof(*h), runs, first * sizeof(*runs));
	ret = lagoon_ffa_call(ffa, &r);
	if (!ret)
		ret = send_rest(ffa, &r, runs, run_count, first);
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
	const u32 bytes = sizeof(struct ffa_mem_region) + sizeof(struct ffa_mem_region_attributes);
	struct arm_smccc_1_2_regs r;
	int tries, ret;

	for (tries = 0;; tries++) {
		struct share_head *h = ffa->tx;

		mutex_lock(&ffa->lock);
		fill_head(h, owner, ffa->id, ro, handle, tag);
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
