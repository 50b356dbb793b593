// SPDX-License-Identifier: GPL-2.0-only
/*
 * What each borrower has of a share: who they are, the offer, the doorbells, the recall, and what they and the hypervisor say.
 * Who they are is fixed for the share's life; the rest of struct lagoon_loan is under lg->lock. The share as a whole, and its
 * pages, belong to share.c.
 */
#include <linux/device.h>

#include "lagoon.h"

static struct lagoon_loan *loan_of(struct lagoon_share *s, u16 peer)
{
	u32 i;

	for (i = 0; i < s->loan_count; i++) {
		if (s->loans[i].peer == peer)
			return &s->loans[i];
	}
	return NULL;
}

enum lagoon_state lagoon_share_state(const struct lagoon_share *s)
{
	static const enum lagoon_state order[] = { LAGOON_RETURNING, LAGOON_BORROWED, LAGOON_OFFERED };
	u32 i, k;

	if (s->over)
		return LAGOON_RECLAIMED;
	for (k = 0; k < ARRAY_SIZE(order); k++) {
		for (i = 0; i < s->loan_count; i++) {
			if (s->loans[i].state == order[k])
				return order[k];
		}
	}
	return LAGOON_PEER_GONE;
}

u64 lagoon_share_count(const struct lagoon_share *s)
{
	u64 count = 0;
	u32 i;

	for (i = 0; i < s->loan_count; i++)
		count += s->loans[i].count;
	return count;
}

bool lagoon_share_read_only(const struct lagoon_share *s)
{
	bool ro = true;
	u32 i;

	for (i = 0; i < s->loan_count; i++)
		ro &= s->loans[i].ro;
	return ro;
}

int lagoon_share_ring(struct lagoon_share *s)
{
	struct lagoon *lg = s->lg;
	int ret = -ENOTCONN; /* nobody at the other end (yet) */
	u32 i;

	for (i = 0; i < s->loan_count; i++) {
		u32 bell;
		int rung;

		mutex_lock(&lg->lock);
		bell = s->loans[i].peer_bell;
		mutex_unlock(&lg->lock);
		if (bell == LAGOON_NO_BELL)
			continue;
		rung = lagoon_ffa_ring(&lg->ffa, s->loans[i].peer, BIT_ULL(bell));
		if (ret == -ENOTCONN || rung)
			ret = rung;
	}
	return ret;
}

void lagoon_loans_put_bells(struct lagoon_share *s)
{
	u32 i;

	for (i = 0; i < s->loan_count; i++) {
		lagoon_bell_put(s->lg, s->loans[i].my_bell);
		s->loans[i].my_bell = -1;
	}
}

int lagoon_loans_add(struct lagoon_share *s, struct lagoon_ioc_share *req)
{
	u32 i;

	for (i = 0; i < req->receiver_count; i++) {
		struct lagoon_receiver *r = &req->receivers[i];
		struct lagoon_peer *peer = lagoon_peer_find(s->lg, r->peer, r->name);

		if (!peer)
			return -ENOENT;
		if (r->flags & ~LAGOON_RO || loan_of(s, peer->id))
			return -EINVAL;
		r->peer = peer->id;
		s->loans[s->loan_count++] = (struct lagoon_loan){
			.peer = peer->id,
			.ro = (req->flags | r->flags) & LAGOON_RO,
			.state = LAGOON_OFFERED,
			.my_bell = -1,
			.peer_bell = LAGOON_NO_BELL,
		};
	}
	for (i = 0; i < s->loan_count; i++) /* negative: no doorbell for that peer to ring */
		s->loans[i].my_bell = lagoon_bell_get(s->lg, s->loans[i].peer);
	return 0;
}

/* ---- speaking ---- */

static void send_offer(struct lagoon_share *s, const struct lagoon_loan *loan)
{
	struct lagoon_msg msg = {
		.magic = LAGOON_MSG_MAGIC,
		.type = LAGOON_MSG_OFFER,
		.handle = s->handle,
		.tag = s->tag,
		.bytes = s->bytes,
		.flags = loan->ro ? LAGOON_RO : 0,
		.bell = loan->my_bell >= 0 ? loan->my_bell : LAGOON_NO_BELL,
		.runs = s->runs,
	};
	int ret;

	memcpy(msg.label, s->label, sizeof(msg.label));
	memcpy(msg.meta, s->meta, sizeof(msg.meta));
	ret = lagoon_say_msg(s->lg, loan->peer, &msg);
	if (ret) /* its HELLO will bring the offer again */
		dev_dbg(s->lg->dev, "offer %#llx to VM %u not delivered: %d\n", s->handle, loan->peer, ret);
}

void lagoon_loans_offer(struct lagoon_share *s)
{
	u32 i;

	for (i = 0; i < s->loan_count; i++)
		send_offer(s, &s->loans[i]);
}

void lagoon_loans_recall(struct lagoon_share *s)
{
	struct lagoon *lg = s->lg;
	u32 i;

	for (i = 0; i < s->loan_count; i++) {
		struct lagoon_loan *loan = &s->loans[i];
		bool say;

		mutex_lock(&lg->lock);
		say = !loan->recalled;
		if (say) {
			loan->recalled = true;
			loan->state = LAGOON_RETURNING;
			lagoon_changed(lg);
		}
		mutex_unlock(&lg->lock);
		if (say && lagoon_say(lg, loan->peer, LAGOON_MSG_RECALL, s->handle, LAGOON_NO_BELL)) {
			mutex_lock(&lg->lock);
			loan->recalled = false; /* not delivered: say it again next time */
			mutex_unlock(&lg->lock);
		}
	}
}

void lagoon_loans_say_over(struct lagoon_share *s, bool revoked)
{
	u32 i;

	for (i = 0; i < s->loan_count; i++)
		lagoon_say(s->lg, s->loans[i].peer, revoked ? LAGOON_MSG_REVOKED : LAGOON_MSG_WITHDRAWN, s->handle,
			   LAGOON_NO_BELL);
}

void lagoon_loans_warn(struct lagoon_share *s, int error)
{
	u32 i;

	for (i = 0; i < s->loan_count; i++) {
		if (READ_ONCE(s->loans[i].held))
			dev_warn_ratelimited(s->lg->dev, "share %#llx: VM %u does not give it back (%d)\n", s->handle,
					     s->loans[i].peer, error);
	}
}

/* ---- hearing ---- */

void lagoon_share_heard(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg)
{
	struct lagoon_share *s;
	struct lagoon_loan *loan;

	mutex_lock(&lg->lock);
	s = lagoon_share_find(lg, msg->handle);
	loan = s ? loan_of(s, peer) : NULL;
	if (loan) {
		loan->held = msg->type == LAGOON_MSG_RETRIEVED;
		if (loan->held) {
			loan->peer_bell = msg->bell < LAGOON_BELLS ? msg->bell : LAGOON_NO_BELL;
			loan->recalled = false; /* an import that crossed our RECALL: it is said again */
			if (loan->state != LAGOON_RETURNING)
				loan->state = LAGOON_BORROWED;
		} else {
			loan->peer_bell = LAGOON_NO_BELL;
			if (loan->state != LAGOON_RETURNING)
				loan->state = LAGOON_OFFERED;
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
		struct lagoon_loan *loan = loan_of(s, peer);

		if (!loan)
			continue;
		loan->held = false;
		loan->peer_bell = LAGOON_NO_BELL;
		if (loan->state != LAGOON_RETURNING)
			loan->state = LAGOON_PEER_GONE;
	}
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
}

void lagoon_shares_offer_again(struct lagoon *lg, u16 peer)
{
	struct lagoon_share *s, *found;
	struct lagoon_loan *loan;

	mutex_lock(&lg->lock);
	list_for_each_entry(s, &lg->shares, node) {
		loan = loan_of(s, peer);
		if (loan && loan->state != LAGOON_RETURNING)
			loan->say_offer = true;
	}
	do {
		found = NULL;
		list_for_each_entry(s, &lg->shares, node) {
			loan = loan_of(s, peer);
			if (loan && loan->say_offer) {
				loan->say_offer = false;
				loan->state = LAGOON_OFFERED;
				kref_get(&s->ref);
				found = s;
				break;
			}
		}
		mutex_unlock(&lg->lock);
		if (found) {
			send_offer(found, loan);
			lagoon_share_put(found);
		}
		mutex_lock(&lg->lock);
	} while (found);
	lagoon_changed(lg);
	mutex_unlock(&lg->lock);
}
