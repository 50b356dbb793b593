/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What lagoon drivers say to each other, and what the hypervisor says to them, as payloads of FF-A indirect messages
 * (FFA_MSG_SEND2 [DEN0077A §7.4]). The sender's id comes from the message header, which EL2 vouches for; nothing in
 * a payload is believed beyond that: EL2 checks every handle again. Little-endian, like every arm64 guest we build for.
 */
#ifndef LAGOON_PROTO_H
#define LAGOON_PROTO_H

#include "lagoon_uapi.h"

/* The hypervisor's own messages are struct atoll_peer_notice of lib/abi/ffa.h. */
#define LAGOON_HYPERVISOR_ID 0

#define LAGOON_MSG_MAGIC 0x314e474cu /* "LGN1" */
#define LAGOON_NO_BELL 0xffffffffu

/* From a peer's lagoon driver. */
enum lagoon_msg_type {
	LAGOON_MSG_HELLO = 1,       /* I have just loaded: forget my old offers, send me yours */
	LAGOON_MSG_BYE = 2,         /* I unload: my offers are gone */
	LAGOON_MSG_OFFER = 3,       /* owner -> borrower: you may import this handle */
	LAGOON_MSG_RETRIEVED = 4,   /* borrower -> owner: imported; ring me on this bit */
	LAGOON_MSG_RECALL = 5,      /* owner -> borrower: give it back */
	LAGOON_MSG_RELINQUISHED = 6, /* borrower -> owner: given back, or never had */
	LAGOON_MSG_WITHDRAWN = 7,   /* owner -> borrower: the offer no longer exists */
	LAGOON_MSG_REVOKED = 8,     /* owner -> borrower: I took it by force */
	LAGOON_MSG_HERE = 9,        /* the answer to HELLO */
};

struct lagoon_msg {
	u32 magic;
	u16 type;
	u16 reserved;
	u64 handle;
	u64 tag;   /* OFFER: to be repeated in the retrieve request */
	u64 bytes; /* OFFER */
	u32 flags; /* OFFER: LAGOON_RO */
	u32 bell;  /* OFFER, RETRIEVED: the bit in the sender's notification bitmap that rings it */
	u32 runs;  /* OFFER */
	u32 reserved2;
	char label[LAGOON_NAME_MAX];
	u8 meta[LAGOON_META_MAX];
};

#endif
