// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who our peers are (names from the device tree, presence from FF-A), and what is said between lagoon drivers. Owns
 * lg->peers under lg->lock; the contents of messages belong to share.c and borrow.c. Messages are handled one by one,
 * in order, on msg_wq.
 */
#include <linux/device.h>
#include <linux/of.h>
#include <linux/slab.h>

#include "lagoon.h"

#define SEND_TIMEOUT_MS 500

static struct lagoon_peer *peer_by_id(struct lagoon *lg, u32 id)
{
	unsigned int i;

	for (i = 0; i < LAGOON_MAX_PEERS; i++) {
		if (lg->peers[i].used && lg->peers[i].id == id)
			return &lg->peers[i];
	}
	return NULL;
}

static struct lagoon_peer *peer_add(struct lagoon *lg, u16 id, const char *name)
{
	struct lagoon_peer *p = peer_by_id(lg, id);
	unsigned int i;

	for (i = 0; !p && i < LAGOON_MAX_PEERS; i++) {
		if (!lg->peers[i].used)
			p = &lg->peers[i];
	}
	if (!p)
		return NULL;
	if (!p->used) {
		p->used = true;
		p->id = id;
		p->state = LAGOON_PEER_ABSENT;
		snprintf(p->name, sizeof(p->name), "vm%u", id);
	}
	if (name)
		strscpy(p->name, name, sizeof(p->name));
	return p;
}

/* By id, or by name if id is 0. lg->lock held. */
struct lagoon_peer *lagoon_peer_find(struct lagoon *lg, u32 id, const char *name)
{
	unsigned int i;

	if (id)
		return peer_by_id(lg, id);
	for (i = 0; i < LAGOON_MAX_PEERS; i++) {
		if (lg->peers[i].used && !strncmp(lg->peers[i].name, name, LAGOON_NAME_MAX))
			return &lg->peers[i];
	}
	return NULL;
}

unsigned int lagoon_peers_count(struct lagoon *lg)
{
	unsigned int i, n = 0;

	for (i = 0; i < LAGOON_MAX_PEERS; i++)
		n += lg->peers[i].used;
	return n;
}

static void partition_seen(void *ctx, u16 id)
{
	struct lagoon *lg = ctx;
	struct lagoon_peer *p;

	if (id == lg->ffa.id || id == LAGOON_HYPERVISOR_ID)
		return;
	p = peer_add(lg, id, NULL);
	if (p && p->state == LAGOON_PEER_ABSENT)
		p->state = LAGOON_PEER_PRESENT;
}

/* Runs before anything else can look at lg->peers. */
int lagoon_peers_init(struct lagoon *lg)
{
	struct device_node *child;
	int ret;

	for_each_available_child_of_node(lg->dev->of_node, child) {
		const char *name = NULL;
		u32 id;

		if (!of_node_name_eq(child, "peer"))
			continue;
		if (of_property_read_u32(child, "reg", &id) || !id || id > U16_MAX || id == lg->ffa.id) {
			dev_warn(lg->dev, "%pOF: no usable reg, ignored\n", child);
			continue;
		}
		of_property_read_string(child, "atoll,name", &name);
		if (!peer_add(lg, id, name))
			dev_warn(lg->dev, "%pOF: more than %d peers, ignored\n", child, LAGOON_MAX_PEERS);
	}
	ret = lagoon_ffa_partitions(&lg->ffa, partition_seen, lg);
	if (ret)
		dev_warn(lg->dev, "PARTITION_INFO_GET failed: %d\n", ret);
	return 0;
}

/* ---- speaking ---- */

int lagoon_say_msg(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg)
{
	int ret = lagoon_ffa_send(&lg->ffa, peer, msg, sizeof(*msg), SEND_TIMEOUT_MS);

	dev_dbg(lg->dev, "to VM %u: message %u, handle %#llx: %d\n", peer, msg->type, msg->handle, ret);
	return ret;
}

int lagoon_say(struct lagoon *lg, u16 peer, enum lagoon_msg_type type, u64 handle, u32 bell)
{
	struct lagoon_msg msg = {
		.magic = LAGOON_MSG_MAGIC,
		.type = type,
		.handle = handle,
		.bell = bell,
	};

	return lagoon_say_msg(lg, peer, &msg);
}

/* HELLO or BYE to everybody; whoever has no driver yet refuses, and will say HELLO when it has one. */
void lagoon_greet(struct lagoon *lg, enum lagoon_msg_type type)
{
	unsigned int i;

	for (i = 0; i < LAGOON_MAX_PEERS; i++) {
		u16 id = 0;

		mutex_lock(&lg->lock);
		if (lg->peers[i].used && lg->peers[i].state != LAGOON_PEER_ABSENT)
			id = lg->peers[i].id;
		mutex_unlock(&lg->lock);
		if (id)
			lagoon_say(lg, id, type, 0, LAGOON_NO_BELL);
	}
}

/* ---- hearing ---- */

static void set_state(struct lagoon *lg, u16 id, enum lagoon_peer_state state)
{
	struct lagoon_peer *p;

	mutex_lock(&lg->lock);
	p = peer_add(lg, id, NULL);
	if (p && p->state != state) {
		dev_dbg(lg->dev, "peer %s: state %d -> %d\n", p->name, p->state, state);
		p->state = state;
		lagoon_changed(lg);
	}
	mutex_unlock(&lg->lock);
}

static void hear_hypervisor(struct lagoon *lg, const struct lagoon_queued *q)
{
	u16 id = q->u.hyp.vm_id;

	if (q->bytes < sizeof(q->u.hyp))
		return;
	switch (q->u.hyp.type) {
	case ATOLL_NOTICE_PEER_DIED:
	case ATOLL_NOTICE_PEER_RESTARTED:
		dev_info(lg->dev, "VM %u %s\n", id, q->u.hyp.type == ATOLL_NOTICE_PEER_DIED ? "died" : "was restarted");
		set_state(lg, id,
			  q->u.hyp.type == ATOLL_NOTICE_PEER_DIED ? LAGOON_PEER_DOWN : LAGOON_PEER_PRESENT);
		lagoon_shares_peer_gone(lg, id);
		lagoon_borrows_peer_gone(lg, id, true);
		break;
	default:
		dev_dbg(lg->dev, "the hypervisor says %u about VM %u\n", q->u.hyp.type, id);
	}
}

static void hear_peer(struct lagoon *lg, const struct lagoon_queued *q)
{
	const struct lagoon_msg *m = &q->u.peer;

	if (q->bytes < sizeof(*m) || m->magic != LAGOON_MSG_MAGIC) {
		dev_dbg(lg->dev, "from VM %u: %u bytes that are not ours\n", q->sender, q->bytes);
		return;
	}
	dev_dbg(lg->dev, "from VM %u: message %u, handle %#llx\n", q->sender, m->type, m->handle);
	set_state(lg, q->sender, m->type == LAGOON_MSG_BYE ? LAGOON_PEER_DOWN : LAGOON_PEER_UP);
	switch (m->type) {
	case LAGOON_MSG_HELLO:
		lagoon_borrows_peer_gone(lg, q->sender, false);
		lagoon_say(lg, q->sender, LAGOON_MSG_HERE, 0, LAGOON_NO_BELL);
		lagoon_shares_peer_gone(lg, q->sender);
		lagoon_shares_offer_again(lg, q->sender);
		break;
	case LAGOON_MSG_BYE:
		lagoon_borrows_peer_gone(lg, q->sender, false);
		lagoon_shares_peer_gone(lg, q->sender);
		break;
	case LAGOON_MSG_OFFER:
	case LAGOON_MSG_RECALL:
	case LAGOON_MSG_WITHDRAWN:
	case LAGOON_MSG_REVOKED:
		lagoon_borrow_heard(lg, q->sender, m);
		break;
	case LAGOON_MSG_RETRIEVED:
	case LAGOON_MSG_RELINQUISHED:
		lagoon_share_heard(lg, q->sender, m);
		break;
	}
}

void lagoon_msg_work(struct work_struct *work)
{
	struct lagoon *lg = container_of(work, struct lagoon, msg_work);
	struct lagoon_queued *q;
	u64 bits;

	/* Messages first: RETRIEVED comes before the first ring that it makes possible. */
	while ((q = lagoon_ffa_take_msg(&lg->ffa))) {
		if (q->sender == LAGOON_HYPERVISOR_ID)
			hear_hypervisor(lg, q);
		else
			hear_peer(lg, q);
		kfree(q);
	}
	bits = lagoon_ffa_take_bits(&lg->ffa);
	if (bits)
		lagoon_bells_rung(lg, bits);
}
