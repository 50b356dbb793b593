// SPDX-License-Identifier: GPL-2.0-only
/*
 * Doorbells: one FF-A notification bit of ours per buffer, bound to the one peer that may ring it. When bits run out,
 * buffers of the same peer share one: a doorbell means "look again". [DEN0077A §10]. Everything under lg->lock.
 */
#include <linux/bitmap.h>
#include <linux/device.h>

#include "lagoon.h"

/* Peers that own no bit yet: a free bit is kept for each of them. */
static unsigned int peers_without(struct lagoon *lg)
{
	unsigned int i, b, without = 0;

	for (i = 0; i < LAGOON_MAX_PEERS; i++) {
		bool has = false;

		if (!lg->peers[i].used)
			continue;
		for (b = 0; b < LAGOON_BELLS; b++)
			has |= lg->bells[b].refs && lg->bells[b].peer == lg->peers[i].id;
		without += !has;
	}
	return without;
}

int lagoon_bell_get(struct lagoon *lg, u16 peer)
{
	int b, free_bell = -1, shared = -1, free_count = 0, ret;

	lockdep_assert_held(&lg->lock);
	for (b = 0; b < LAGOON_BELLS; b++) {
		if (!lg->bells[b].refs) {
			free_count++;
			free_bell = b;
		} else if (lg->bells[b].peer == peer && lg->bells[b].refs < U16_MAX &&
			   (shared < 0 || lg->bells[b].refs < lg->bells[shared].refs)) {
			shared = b;
		}
	}
	if (free_bell >= 0 && (shared < 0 || free_count > peers_without(lg))) {
		ret = lagoon_ffa_bind(&lg->ffa, peer, BIT_ULL(free_bell));
		if (!ret) {
			lg->bells[free_bell] = (struct lagoon_bell){ .peer = peer, .refs = 1 };
			return free_bell;
		}
		dev_dbg(lg->dev, "bell %d: bind to VM %u: %d\n", free_bell, peer, ret);
		if (shared < 0)
			return ret;
	}
	if (shared < 0)
		return -ENOSPC;
	lg->bells[shared].refs++;
	return shared;
}

void lagoon_bell_put(struct lagoon *lg, int bell)
{
	int tries, ret = 0;

	lockdep_assert_held(&lg->lock);
	if (bell < 0 || --lg->bells[bell].refs)
		return;
	/* A pending bit cannot be unbound [DEN0077A §16.4]: collect it and try again. */
	for (tries = 0; tries < 4; tries++) {
		ret = lagoon_ffa_unbind(&lg->ffa, lg->bells[bell].peer, BIT_ULL(bell));
		if (!ret)
			return;
		lagoon_ffa_poll(&lg->ffa);
	}
	/* Still bound: keep it for the same peer's next buffer, at the price of one bit. */
	dev_dbg(lg->dev, "bell %d: unbind from VM %u: %d\n", bell, lg->bells[bell].peer, ret);
	lg->bells[bell].refs = 1;
}

void lagoon_bells_rung(struct lagoon *lg, u64 bits)
{
	struct lagoon_share *s;
	struct lagoon_borrow *b;
	bool any = false;
	u32 i;

	mutex_lock(&lg->lock);
	list_for_each_entry(s, &lg->shares, node) {
		for (i = 0; i < s->loan_count; i++) {
			if (s->loans[i].my_bell >= 0 && bits & BIT_ULL(s->loans[i].my_bell)) {
				s->loans[i].count++;
				any = true;
			}
		}
	}
	list_for_each_entry(b, &lg->borrows, node) {
		if (b->my_bell >= 0 && bits & BIT_ULL(b->my_bell)) {
			b->count++;
			any = true;
		}
	}
	if (any)
		lagoon_changed(lg);
	mutex_unlock(&lg->lock);
}
