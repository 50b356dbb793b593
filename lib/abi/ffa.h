/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * Arm Firmware Framework for Arm A-profile: function identifiers, error codes and memory-management descriptors.
 * [DEN0077A v1.1] core, [DEN0140 v1.1] memory management protocol. Plain C: shared by EL2 and by guests/linux.
 */
#ifndef ATOLL_LIB_ABI_FFA_H
#define ATOLL_LIB_ABI_FFA_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/* Versions: bit 31 clear, major in 30:16, minor in 15:0 [DEN0077A §13.2]. */
#define FFA_VERSION_1_0 0x00010000u
#define FFA_VERSION_1_1 0x00010001u

/* Function identifiers; the 64-bit forms have bit 30 set. */
#define FFA_FN64 0x40000000u
#define FFA_ERROR 0x84000060u
#define FFA_SUCCESS 0x84000061u
#define FFA_SUCCESS64 0xC4000061u
#define FFA_INTERRUPT 0x84000062u
#define FFA_VERSION 0x84000063u
#define FFA_FEATURES 0x84000064u
#define FFA_RX_RELEASE 0x84000065u
#define FFA_RXTX_MAP 0x84000066u
#define FFA_RXTX_MAP64 0xC4000066u
#define FFA_RXTX_UNMAP 0x84000067u
#define FFA_PARTITION_INFO_GET 0x84000068u
#define FFA_ID_GET 0x84000069u
#define FFA_MSG_POLL 0x8400006Au
#define FFA_MSG_WAIT 0x8400006Bu
#define FFA_YIELD 0x8400006Cu
#define FFA_RUN 0x8400006Du
#define FFA_MSG_SEND_DIRECT_REQ 0x8400006Fu
#define FFA_MSG_SEND_DIRECT_RESP 0x84000070u
#define FFA_MEM_DONATE 0x84000071u
#define FFA_MEM_DONATE64 0xC4000071u
#define FFA_MEM_LEND 0x84000072u
#define FFA_MEM_LEND64 0xC4000072u
#define FFA_MEM_SHARE 0x84000073u
#define FFA_MEM_SHARE64 0xC4000073u
#define FFA_MEM_RETRIEVE_REQ 0x84000074u
#define FFA_MEM_RETRIEVE_REQ64 0xC4000074u
#define FFA_MEM_RETRIEVE_RESP 0x84000075u
#define FFA_MEM_RELINQUISH 0x84000076u
#define FFA_MEM_RECLAIM 0x84000077u
#define FFA_MEM_FRAG_RX 0x8400007Au
#define FFA_MEM_FRAG_TX 0x8400007Bu
#define FFA_NOTIFICATION_BITMAP_CREATE 0x8400007Du
#define FFA_NOTIFICATION_BITMAP_DESTROY 0x8400007Eu
#define FFA_NOTIFICATION_BIND 0x8400007Fu
#define FFA_NOTIFICATION_UNBIND 0x84000080u
#define FFA_NOTIFICATION_SET 0x84000081u
#define FFA_NOTIFICATION_GET 0x84000082u
#define FFA_NOTIFICATION_INFO_GET 0x84000083u
#define FFA_NOTIFICATION_INFO_GET64 0xC4000083u
#define FFA_RX_ACQUIRE 0x84000084u
#define FFA_SPM_ID_GET 0x84000085u
#define FFA_MSG_SEND2 0x84000086u

/* Feature identifiers for FFA_FEATURES [DEN0077A §13.3]. */
#define FFA_FEATURE_NPI 0x1u
#define FFA_FEATURE_SRI 0x2u
#define FFA_FEATURE_MEI 0x3u

/* Error codes: w2 of FFA_ERROR [DEN0077A §12.1]. */
#define FFA_NOT_SUPPORTED (-1)
#define FFA_INVALID_PARAMETERS (-2)
#define FFA_NO_MEMORY (-3)
#define FFA_BUSY (-4)
#define FFA_INTERRUPTED (-5)
#define FFA_DENIED (-6)
#define FFA_RETRY (-7)
#define FFA_ABORTED (-8)
#define FFA_NO_DATA (-9)

/* Atoll's own calls, in the vendor-specific hypervisor service range [DEN0028 §6]: HVC only, SMC64.
 * ATOLL_MEM_REVOKE(x1 = handle): the owner takes a shared handle back although borrowers still hold it. Their
 * windows are unmapped at once; what they still touch faults in them alone. x0 = 0 or an FF-A error code. */
#define ATOLL_CALL_UID 0x8600FF01u /* the general UID query: w0..w3 = b62acdcd-29b6-4f02-a2c5-6d9f15a3c01e */
#define ATOLL_UID_0 0xcdcd2ab6u
#define ATOLL_UID_1 0x024fb629u
#define ATOLL_UID_2 0x9f6dc5a2u
#define ATOLL_UID_3 0x1ec0a315u
#define ATOLL_MEM_REVOKE 0xC6000010u

/* Memory transaction descriptor [DEN0140 v1.1 table 5.1 "Memory transaction descriptor"]. */
struct ffa_mem_region {
    uint16_t sender_id;
    uint16_t attributes;
    uint32_t flags;
    uint64_t handle;
    uint64_t tag;
    uint32_t ep_mem_size;   /* size of one endpoint memory access descriptor */
    uint32_t ep_count;
    uint32_t ep_mem_offset; /* from the start of this descriptor, multiple of 16 */
    uint32_t reserved[3];
};
/* The same in v1.0: endpoint descriptors follow at once. */
struct ffa_mem_region_v10 {
    uint16_t sender_id;
    uint8_t attributes;
    uint8_t reserved0;
    uint32_t flags;
    uint64_t handle;
    uint64_t tag;
    uint32_t reserved1;
    uint32_t ep_count;
};
/* Endpoint memory access descriptor. */
struct ffa_mem_region_attributes {
    uint16_t receiver;
    uint8_t permissions;
    uint8_t flags;
    uint32_t composite_off; /* from the start of the transaction descriptor */
    uint64_t reserved;
};
struct ffa_composite_mem_region {
    uint32_t total_pg_cnt;
    uint32_t addr_range_cnt;
    uint64_t reserved;
};
struct ffa_mem_region_addr_range {
    uint64_t address;
    uint32_t pg_cnt;
    uint32_t reserved;
};
struct ffa_mem_relinquish {
    uint64_t handle;
    uint32_t flags;
    uint32_t ep_count;
    uint16_t endpoints[];
};

/* ffa_mem_region.attributes. */
#define FFA_MEM_SHAREABILITY_INNER 0x3u
#define FFA_MEM_WRITE_BACK (0x3u << 2)
#define FFA_MEM_NORMAL (0x2u << 4)
/* ffa_mem_region_attributes.permissions. */
#define FFA_MEM_PERM_RO 0x1u
#define FFA_MEM_PERM_RW 0x2u
#define FFA_MEM_PERM_NX 0x4u
#define FFA_MEM_PERM_X 0x8u

/* Partition information descriptor [DEN0077A §13.8]: v1.0 is the first 8 bytes. */
struct ffa_partition_info {
    uint16_t id;
    uint16_t exec_ctxt;
    uint32_t properties;
    uint32_t uuid[4];
};
/* Indirect message header in the RX buffer, FFA_MSG_SEND2 [DEN0077A §7.4]. */
struct ffa_msg_header {
    uint32_t flags;
    uint32_t reserved;
    uint32_t offset; /* of the payload, from the start of this header */
    uint32_t ids;    /* sender in 31:16, receiver in 15:0 */
    uint32_t size;   /* of the payload in bytes */
};

/* ffa_mem_region.flags: of a retrieve request and response, bits 4:3 say which transaction [DEN0140 §1.10.4]. */
#define FFA_MEM_FLAG_ZERO 0x1u
#define FFA_MEM_FLAG_TIME_SLICE 0x2u
#define FFA_MEM_FLAG_TYPE_MASK 0x18u
#define FFA_MEM_FLAG_TYPE_SHARE 0x8u
#define FFA_MEM_FLAG_TYPE_LEND 0x10u
#define FFA_MEM_FLAG_TYPE_DONATE 0x18u
#define FFA_MEM_FLAG_ZERO_AFTER 0x4u       /* of a retrieve request: zero it once it is relinquished */
#define FFA_MEM_FLAG_ALIGNMENT_HINT 0x3e0u /* of a retrieve request: bit 9 valid, 8:5 alignment */
#define FFA_MEM_FLAG_ONE_BORROWER 0x400u   /* of a retrieve request: lists the caller only */
/* FFA_PARTITION_INFO_GET w5, v1.1: only the count is wanted. */
#define FFA_PARTITION_INFO_COUNT_ONLY 0x1u
/* ffa_partition_info.properties. */
#define FFA_PARTITION_INDIRECT_MESSAGES 0x4u
#define FFA_PARTITION_NOTIFICATIONS 0x8u
#define FFA_PARTITION_AARCH64 0x100u
/* FFA_NOTIFICATION_GET w2: which bitmaps; the answer has them in w2/w3, w4/w5, w6, w7 [DEN0077A §16.6]. */
#define FFA_NOTIFICATION_FROM_SP 0x1u
#define FFA_NOTIFICATION_FROM_VM 0x2u
#define FFA_NOTIFICATION_FROM_SPM 0x4u
#define FFA_NOTIFICATION_FROM_HYPERVISOR 0x8u
/* Framework notification of the hypervisor, w7 of FFA_NOTIFICATION_GET: a message is in the RX buffer. */
#define FFA_NOTIFICATION_RX_FULL 0x1u

/* What the hypervisor itself (sender id 0) says to a VM, as an indirect message: something happened to `vm_id`,
 * with which the receiver shared memory in either direction. Buffers borrowed from it stay mapped until given back. */
#define ATOLL_NOTICE_PEER_DIED 1u
#define ATOLL_NOTICE_PEER_RESTARTED 2u
struct atoll_peer_notice {
    uint32_t type;
    uint32_t vm_id;
};

#endif
