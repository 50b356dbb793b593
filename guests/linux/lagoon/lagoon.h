/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The driver's own words: one struct lagoon per VM, its shares (ours, lent), its borrows (a peer's, offered or
 * imported) and its doorbells.
 *
 * Locks, outermost first:
 *   share->op          one attempt to take a share back at a time; held while waiting for the borrower
 *   lg->lock           the lists, every state, count and bell in them; never held while a message is retried
 *   ffa->lock          RX, TX, and the calls that use them
 *   buf->lock          one dma-buf: mappings and the closed flag; a leaf, taken inside page faults
 */
#ifndef LAGOON_H
#define LAGOON_H

#include <linux/dma-buf.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "lib/abi/ffa.h"
#include "proto.h"

#define FFA_PAGE 4096u
#define LAGOON_MAX_SHARE_BYTES (64ull << 20)
#define LAGOON_MAX_PEERS 16
#define LAGOON_MAX_OFFERS 256 /* of all peers together: a peer cannot fill our memory with offers */
#define LAGOON_BELLS 64

struct arm_smccc_1_2_regs;
struct device;
struct platform_device;

/* ---- ffa.c, ffa_mem.c: the transport; knows calls and buffers, no shares ---- */
#define LAGOON_RXTX_PAGES 16u
#define LAGOON_RXTX_BYTES (LAGOON_RXTX_PAGES * FFA_PAGE)
#define LAGOON_MAX_QUEUED 64 /* messages not yet handled; beyond it RX stays full and the senders wait */

struct lagoon_queued {
	struct list_head node;
	u16 sender;
	u32 bytes;
	union {
		struct lagoon_msg peer;
		struct atoll_peer_notice hyp;
	} u;
};

struct lagoon_ffa {
	struct device *dev;
	struct mutex lock; /* tx, rx, queue, queued, bits, rx_full */
	void *tx, *rx;
	struct list_head queue;
	unsigned int queued;
	u64 bits;     /* rung, not yet handled */
	bool rx_full; /* a message waits in RX */
	bool use_smc;
	u16 id;
	u32 version;
	struct workqueue_struct *msg_wq; /* runs msg_work: handles bits and messages in order */
	struct work_struct *msg_work;
};

int lagoon_ffa_init(struct lagoon_ffa *ffa, struct device *dev);
void lagoon_ffa_exit(struct lagoon_ffa *ffa);
/* Parts of the two above, for hibernation: version, id and RX/TX; no call uses the buffers in between. */
int lagoon_ffa_connect(struct lagoon_ffa *ffa);
int lagoon_ffa_disconnect(struct lagoon_ffa *ffa);
/* One call; the registers come back in place. 0, or the errno of an FFA_ERROR. */
int lagoon_ffa_call(struct lagoon_ffa *ffa, struct arm_smccc_1_2_regs *r);
int lagoon_ffa_status(const struct arm_smccc_1_2_regs *r);
/* Collects notifications and the message in RX; schedules msg_work if there is anything. */
void lagoon_ffa_poll(struct lagoon_ffa *ffa);
void lagoon_ffa_poll_locked(struct lagoon_ffa *ffa);
/* What poll collected: the bits since the last call; the next message or NULL (the caller frees it). */
u64 lagoon_ffa_take_bits(struct lagoon_ffa *ffa);
struct lagoon_queued *lagoon_ffa_take_msg(struct lagoon_ffa *ffa);
/* Sends one message; retries while the receiver's RX is full, at most timeout_ms. Sleeps. */
int lagoon_ffa_send(struct lagoon_ffa *ffa, u16 to, const void *payload, u32 bytes, unsigned int timeout_ms);
int lagoon_ffa_bind(struct lagoon_ffa *ffa, u16 sender, u64 bits);
int lagoon_ffa_unbind(struct lagoon_ffa *ffa, u16 sender, u64 bits);
int lagoon_ffa_ring(struct lagoon_ffa *ffa, u16 receiver, u64 bits);
/* Calls fn for each partition that EL2 lets us see, ourselves included. */
int lagoon_ffa_partitions(struct lagoon_ffa *ffa, void (*fn)(void *ctx, u16 id), void *ctx);

struct lagoon_ffa_receiver {
	u16 id;
	bool ro;
};
int lagoon_ffa_share(struct lagoon_ffa *ffa, const struct lagoon_ffa_receiver *to, u32 to_count, u64 tag,
		     const struct ffa_mem_region_addr_range *runs, u32 run_count, u32 pages, u64 *handle);
int lagoon_ffa_retrieve(struct lagoon_ffa *ffa, u16 owner, u64 handle, u64 tag, bool ro, u64 *ipa, u32 *pages);
int lagoon_ffa_relinquish(struct lagoon_ffa *ffa, u64 handle);
int lagoon_ffa_reclaim(struct lagoon_ffa *ffa, u64 handle);
int lagoon_ffa_revoke(struct lagoon_ffa *ffa, u64 handle);

/* ---- buf.c: a dma-buf over an array of pages, for the heap and for imports ---- */
struct lagoon_buf {
	struct kref ref;
	struct mutex lock;
	struct page **pages;
	unsigned long page_count;
	bool ro;
	bool closed;           /* given back or being so: no new mapping of any kind */
	unsigned int vmas;     /* while > 0, mapping is valid */
	unsigned int mapped;   /* attachments mapped for DMA */
	unsigned int vmaps;
	void *vaddr;
	struct address_space *mapping;
	struct list_head attachments;
	void (*released)(struct lagoon_buf *buf); /* the dma-buf is gone; may sleep */
	void (*free_pages)(struct lagoon_buf *buf); /* last reference */
	void *owner;
};

struct lagoon_buf *lagoon_buf_new(unsigned long page_count, bool ro);
void lagoon_buf_put(struct lagoon_buf *buf);
struct dma_buf *lagoon_buf_export(struct lagoon_buf *buf, const char *name, int flags);
/* Forbids every new use and unmaps the present ones; true when nobody holds a page any more. Call until true. */
bool lagoon_buf_drain(struct lagoon_buf *buf);

int lagoon_heap_init(void);
void lagoon_heap_exit(void);

/* ---- the driver's state ---- */
struct lagoon_peer {
	u16 id;
	bool used;
	enum lagoon_peer_state state;
	char name[LAGOON_NAME_MAX];
};

struct lagoon_bell {
	u16 peer;
	u16 refs; /* 0: free */
};

struct lagoon {
	struct device *dev;
	struct lagoon_ffa ffa;
	struct mutex lock;
	struct workqueue_struct *msg_wq; /* ordered */
	struct workqueue_struct *wq;     /* taking back and giving back */
	struct work_struct msg_work;
	wait_queue_head_t wait; /* any change of a count, a state or an offer */
	u64 changes;            /* how many there were: what poll() compares */
	struct list_head shares, borrows;
	struct lagoon_peer peers[LAGOON_MAX_PEERS];
	struct lagoon_bell bells[LAGOON_BELLS];
	u64 window_base, window_bytes;
	bool window_ok; /* struct pages exist: imports are possible */
	bool hibernating;      /* from the decision on: nothing is shared or imported */
	unsigned int creating; /* shares that are on their way into the list */
	int irq;
};

struct lagoon_file {
	struct lagoon *lg;
	u64 seen; /* lg->changes at the last LIST, WAIT or IMPORT */
};

/* What one borrower has of a share. */
struct lagoon_loan {
	u16 peer;
	bool ro;
	enum lagoon_state state; /* OFFERED, BORROWED, RETURNING or PEER_GONE */
	bool held;      /* it said RETRIEVED, and not RELINQUISHED since */
	bool say_offer; /* an OFFER is to be sent (again) */
	bool recalled;  /* RECALL was sent since it imported */
	int my_bell;
	u32 peer_bell;
	u64 count;
};

/* Ours, lent to one or more peers. Listed until it is reclaimed. */
struct lagoon_share {
	struct kref ref;
	struct list_head node;
	struct lagoon *lg;
	struct lagoon_file *file; /* who closes it by closing; NULL: kept, or already closed */
	struct mutex op;
	struct delayed_work take_back;
	unsigned long give_up; /* jiffies: when take_back resorts to force */
	unsigned int delay_ms;
	u64 handle, tag, bytes;
	bool over; /* at the hypervisor, and off the list */
	u32 flags, pages, runs;
	u32 loan_count;
	struct lagoon_loan loans[LAGOON_MAX_BORROWERS];
	char label[LAGOON_NAME_MAX];
	u8 meta[LAGOON_META_MAX];
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
};

/* A peer's: an offer, and the import made of it. Listed until the offer ends and nothing is mapped. */
struct lagoon_borrow {
	struct kref ref;
	struct list_head node;
	struct lagoon *lg;
	struct delayed_work give_back;
	unsigned int delay_ms;
	u64 handle, tag, bytes, count;
	enum lagoon_state state;
	bool ended; /* the offer is over: forget it once nothing is mapped */
	bool busy;  /* being imported */
	bool closing; /* to be given back as soon as nobody holds a page */
	u16 peer;
	u32 flags, runs;
	int my_bell;
	u32 peer_bell;
	char label[LAGOON_NAME_MAX];
	u8 meta[LAGOON_META_MAX];
	u64 ipa;
	struct lagoon_buf *buf;
};

/* main.c */
void lagoon_changed(struct lagoon *lg); /* lg->lock held: somebody may want to look again */

/* bell.c; lg->lock held except for rung. */
int lagoon_bell_get(struct lagoon *lg, u16 peer);
void lagoon_bell_put(struct lagoon *lg, int bell);
void lagoon_bells_rung(struct lagoon *lg, u64 bits);

/* peers.c */
int lagoon_peers_init(struct lagoon *lg);
unsigned int lagoon_peers_count(struct lagoon *lg);
struct lagoon_peer *lagoon_peer_find(struct lagoon *lg, u32 id, const char *name);
/* Sends a message without further contents; sleeps, so no lock may be held. */
int lagoon_say(struct lagoon *lg, u16 peer, enum lagoon_msg_type type, u64 handle, u32 bell);
int lagoon_say_msg(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg);
void lagoon_msg_work(struct work_struct *work);
void lagoon_greet(struct lagoon *lg, enum lagoon_msg_type type);

/* share.c: the owner's side */
int lagoon_share_create(struct lagoon *lg, struct lagoon_file *file, struct lagoon_ioc_share *req);
struct lagoon_share *lagoon_share_find(struct lagoon *lg, u64 handle); /* takes a reference */
void lagoon_share_put(struct lagoon_share *share);
int lagoon_share_reclaim(struct lagoon_share *share, bool force, int timeout_ms);
void lagoon_shares_close(struct lagoon *lg, struct lagoon_file *file);

/* loan.c: its borrowers. The first five want lg->lock, the others take it. */
int lagoon_loans_add(struct lagoon_share *s, struct lagoon_ioc_share *req); /* -ENOENT, -EINVAL; fills in ids */
void lagoon_loans_put_bells(struct lagoon_share *s);
enum lagoon_state lagoon_share_state(const struct lagoon_share *s); /* of all of them */
u64 lagoon_share_count(const struct lagoon_share *s);
bool lagoon_share_read_only(const struct lagoon_share *s);    /* for all of them; needs no lock */
int lagoon_share_ring(struct lagoon_share *s);                /* whoever has it; -ENOTCONN: nobody */
void lagoon_loans_offer(struct lagoon_share *s);
void lagoon_loans_recall(struct lagoon_share *s); /* once, wherever it may have been imported since the last time */
void lagoon_loans_say_over(struct lagoon_share *s, bool revoked);
void lagoon_loans_warn(struct lagoon_share *s, int error); /* who does not give it back */
void lagoon_share_heard(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg);
void lagoon_shares_peer_gone(struct lagoon *lg, u16 peer);
void lagoon_shares_offer_again(struct lagoon *lg, u16 peer);

/* share_pages.c: the dma-buf behind a share */
int lagoon_share_get_pages(struct lagoon_share *s, int fd);
void lagoon_share_put_pages(struct lagoon_share *s); /* also after get_pages failed half-way */
int lagoon_share_describe(struct lagoon_share *s);   /* FFA_MEM_SHARE; sets handle, bytes, pages, runs */

/* window.c */
int lagoon_window_init(struct lagoon *lg);
void lagoon_window_online(u64 ipa, unsigned long pages, bool online);

/* borrow.c: the borrower's side */
int lagoon_import(struct lagoon *lg, struct lagoon_ioc_import *req);
struct lagoon_borrow *lagoon_borrow_find(struct lagoon *lg, u64 handle); /* takes a reference */
void lagoon_borrow_put(struct lagoon_borrow *b);
void lagoon_borrow_heard(struct lagoon *lg, u16 peer, const struct lagoon_msg *msg);
void lagoon_borrows_peer_gone(struct lagoon *lg, u16 peer, bool died);
void lagoon_borrows_forget(struct lagoon *lg);

/* chardev.c */
int lagoon_chardev_init(struct lagoon *lg);
void lagoon_chardev_exit(struct lagoon *lg);

extern unsigned int lagoon_revoke_after_ms;

#endif
