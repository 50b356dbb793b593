/* SPDX-License-Identifier: GPL-2.0-only */
/* The differences between the kernels that the driver and its test are built for (6.1 and later), and nothing else. */
#ifndef LAGOON_COMPAT_H
#define LAGOON_COMPAT_H

#include <linux/dma-buf.h>
#include <linux/mm.h>
#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
/* 6.3 made vm_flags read-only behind accessors. */
static inline void lagoon_vm_flags_mod(struct vm_area_struct *vma, unsigned long set, unsigned long clear)
{
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
}
#else
static inline void lagoon_vm_flags_mod(struct vm_area_struct *vma, unsigned long set, unsigned long clear)
{
	vm_flags_mod(vma, set, clear);
}
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
/* 6.2 moved vmap under the reservation lock, and gave those who do not hold it a name of their own. */
#define lagoon_dma_buf_vmap dma_buf_vmap
#define lagoon_dma_buf_vunmap dma_buf_vunmap
#else
#define lagoon_dma_buf_vmap dma_buf_vmap_unlocked
#define lagoon_dma_buf_vunmap dma_buf_vunmap_unlocked
#endif

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define LAGOON_IMPORT_DMA_BUF_NS MODULE_IMPORT_NS(DMA_BUF)
#else
#define LAGOON_IMPORT_DMA_BUF_NS MODULE_IMPORT_NS("DMA_BUF")
#endif

#endif
