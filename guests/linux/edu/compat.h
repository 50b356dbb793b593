/* SPDX-License-Identifier: GPL-2.0-only */
/* The differences between the kernels that the driver is built for (6.1 and later), and nothing else. */
#ifndef EDU_COMPAT_H
#define EDU_COMPAT_H

#include <linux/eventfd.h>
#include <linux/pci.h>
#include <linux/version.h>

#ifndef PCI_IRQ_INTX /* the name since 6.8 */
#define PCI_IRQ_INTX PCI_IRQ_LEGACY
#endif

static inline void edu_eventfd_signal(struct eventfd_ctx *ctx)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 8, 0)
	eventfd_signal(ctx, 1);
#else
	eventfd_signal(ctx);
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define EDU_IMPORT_DMA_BUF_NS MODULE_IMPORT_NS(DMA_BUF)
#else
#define EDU_IMPORT_DMA_BUF_NS MODULE_IMPORT_NS("DMA_BUF")
#endif

#endif
