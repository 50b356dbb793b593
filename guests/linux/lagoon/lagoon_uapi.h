/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The user interface of /dev/lagoon: share a dma-buf with other VMs, import one that another VM offers, ring its
 * doorbell. A handle names a shared buffer on all sides. Every field that is not described as an output is an input;
 * reserved fields must be zero. All ioctls return 0, or -1 with errno.
 */
#ifndef LAGOON_UAPI_H
#define LAGOON_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define LAGOON_API 2
#define LAGOON_NAME_MAX 32  /* of a peer or a label, the closing NUL included */
#define LAGOON_META_MAX 64  /* bytes that travel with the offer, opaque to the drivers */
#define LAGOON_MAX_BORROWERS 4 /* of one share */

/* Access of a borrower. */
#define LAGOON_RO 0x1u   /* it may only read; without it, read and write */
/* LAGOON_IOC_SHARE: the share outlives this file descriptor, until LAGOON_IOC_RECLAIM. */
#define LAGOON_KEEP 0x2u
/* LAGOON_IOC_RECLAIM: when the time-out is over, take it by force. */
#define LAGOON_FORCE 0x4u

enum lagoon_peer_state {
	LAGOON_PEER_ABSENT = 0,  /* named in the device tree, no such VM now */
	LAGOON_PEER_PRESENT = 1, /* the VM exists, its lagoon driver has not spoken */
	LAGOON_PEER_UP = 2,      /* its lagoon driver has spoken */
	LAGOON_PEER_DOWN = 3,    /* the VM died, or its driver left */
};

enum lagoon_kind {
	LAGOON_KIND_SHARE = 1,  /* ours, lent to one or more peers */
	LAGOON_KIND_BORROW = 2, /* a peer's: offered to us, or imported */
};

/* What a borrower has of a share. Of a share as a whole: the first of RETURNING, BORROWED, OFFERED that one of them has. */
enum lagoon_state {
	LAGOON_OFFERED = 1,    /* the peer may import; nothing is mapped at the borrower */
	LAGOON_BORROWED = 2,   /* imported */
	LAGOON_RETURNING = 3,  /* asked back; waits until the last user of a page lets go */
	LAGOON_REVOKED = 4,    /* the owner took it by force; accesses fault */
	LAGOON_ORPHANED = 5,   /* the owner VM died; usable until closed */
	LAGOON_PEER_GONE = 6,  /* our share, the borrower died */
	LAGOON_RECLAIMED = 7,  /* no longer shared; seen only as the result of a wait */
};

struct lagoon_ioc_info {
	__u32 api;             /* out: LAGOON_API */
	__u32 vm_id;           /* out */
	__u32 ffa_version;     /* out: major << 16 | minor */
	__u32 peers;           /* out */
	__u64 window_base;     /* out: guest physical */
	__u64 window_bytes;    /* out */
	__u64 max_share_bytes; /* out */
};

struct lagoon_peer_entry {
	__u32 id;
	__u32 state; /* enum lagoon_peer_state */
	char name[LAGOON_NAME_MAX];
};

struct lagoon_ioc_peers {
	__u64 entries; /* pointer to struct lagoon_peer_entry */
	__u32 count;   /* in: room, out: how many there are */
	__u32 reserved;
};

struct lagoon_receiver {
	__u32 peer;  /* id, or 0: by name; out: the id */
	__u32 flags; /* LAGOON_RO */
	char name[LAGOON_NAME_MAX];
};

struct lagoon_ioc_share {
	__s32 fd;             /* any dma-buf whose pages are system memory */
	__u32 flags;          /* LAGOON_RO: for all; LAGOON_KEEP */
	__u32 receiver_count; /* 1 to LAGOON_MAX_BORROWERS, each another VM */
	__u32 reserved;
	struct lagoon_receiver receivers[LAGOON_MAX_BORROWERS];
	char label[LAGOON_NAME_MAX]; /* may be empty */
	__u8 meta[LAGOON_META_MAX];
	__u64 handle; /* out */
	__u32 pages;  /* out: of 4 KiB */
	__u32 runs;   /* out: physically contiguous pieces that they form */
};

struct lagoon_ioc_import {
	__u64 handle; /* 0: by peer and label */
	__u32 flags;  /* in: LAGOON_RO asks for less than was offered; out: what was granted */
	__u32 peer;   /* id, or 0: by name, an empty name means any peer; out: the id */
	char peer_name[LAGOON_NAME_MAX];
	char label[LAGOON_NAME_MAX]; /* out: the offer's */
	__u8 meta[LAGOON_META_MAX];  /* out */
	__s32 timeout_ms;            /* wait so long for the offer; -1 for ever */
	__s32 fd;                    /* out: a dma-buf */
	__u64 bytes;                 /* out */
	__u64 window_offset;         /* out: where in the window the pages lie */
	__u32 runs;                  /* out: contiguous pieces at the owner */
	__u32 reserved;
};

/*
 * Counting doorbell: returns at once if the buffer's count differs from the one given, or its state does. NOTIFY on a share
 * rings every borrower that has it.
 */
struct lagoon_ioc_wait {
	__u64 handle;
	__u64 count;      /* in: the last count seen; out: the count now, of a share: of all its borrowers' rings */
	__u32 state;      /* in: the last state seen or 0: any; out: enum lagoon_state */
	__s32 timeout_ms; /* -1 for ever; ETIMEDOUT when it is over */
};

struct lagoon_ioc_handle {
	__u64 handle;
	__s32 fd; /* LAGOON_IOC_OPEN: out, the dma-buf behind a share of ours */
	__u32 reserved;
};

struct lagoon_ioc_reclaim {
	__u64 handle;
	__u32 flags;      /* LAGOON_FORCE */
	__s32 timeout_ms; /* how long the borrowers may take to give it back; -1 for ever */
};

/* The other side of a buffer. */
struct lagoon_party {
	__u32 peer;
	__u32 state; /* enum lagoon_state */
	__u32 flags; /* LAGOON_RO */
	__u32 reserved;
	__u64 count; /* how often it rang */
};

struct lagoon_entry {
	__u64 handle;
	__u64 bytes;
	__u64 count; /* of the doorbell: as LAGOON_IOC_WAIT */
	__u32 kind;  /* enum lagoon_kind */
	__u32 state; /* enum lagoon_state */
	__u32 flags;
	__u32 runs;
	__u32 party_count;
	__u32 reserved;
	struct lagoon_party parties[LAGOON_MAX_BORROWERS]; /* of a share its borrowers, of a borrow its owner */
	char label[LAGOON_NAME_MAX];
	__u8 meta[LAGOON_META_MAX];
};

struct lagoon_ioc_list {
	__u64 entries; /* pointer to struct lagoon_entry */
	__u32 count;   /* in: room, out: how many there are */
	__u32 reserved;
};

#define LAGOON_IOC_INFO _IOR('G', 0x40, struct lagoon_ioc_info)
#define LAGOON_IOC_PEERS _IOWR('G', 0x41, struct lagoon_ioc_peers)
#define LAGOON_IOC_SHARE _IOWR('G', 0x42, struct lagoon_ioc_share)
#define LAGOON_IOC_IMPORT _IOWR('G', 0x43, struct lagoon_ioc_import)
#define LAGOON_IOC_LIST _IOWR('G', 0x44, struct lagoon_ioc_list)
#define LAGOON_IOC_NOTIFY _IOW('G', 0x45, struct lagoon_ioc_handle)
#define LAGOON_IOC_WAIT _IOWR('G', 0x46, struct lagoon_ioc_wait)
#define LAGOON_IOC_OPEN _IOWR('G', 0x47, struct lagoon_ioc_handle)
#define LAGOON_IOC_RECLAIM _IOW('G', 0x48, struct lagoon_ioc_reclaim)

#endif
