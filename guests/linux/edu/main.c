// SPDX-License-Identifier: GPL-2.0-only
/*
 * The PCI driver of QEMU's edu device (1234:11e8): what a device needs before its first transfer, and in which order it
 * goes away. The device may be taken while files are open and transfers run (unbind, hot unplug); struct edu then lives
 * on until the last of them lets go, without touching hardware.
 */
#include <linux/dma-mapping.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/slab.h>

#include "compat.h"
#include "edu.h"

static unsigned int dma_bits = 64;
module_param(dma_bits, uint, 0444);
MODULE_PARM_DESC(dma_bits, "address bits of the device: 28 for QEMU's -device edu without dma_mask=0xffffffffffffffff");

static void edu_free(struct kref *ref)
{
	struct edu *edu = container_of(ref, struct edu, ref);

	/* The dmaengine core's list of devices is read under RCU, and we may just have left it. */
	kfree_rcu(edu, rcu);
}

void edu_put(struct edu *edu)
{
	kref_put(&edu->ref, edu_free);
}

static struct edu *edu_new(struct pci_dev *pdev)
{
	struct edu *edu = kzalloc(sizeof(*edu), GFP_KERNEL);

	if (!edu)
		return NULL;
	kref_init(&edu->ref);
	edu->pdev = pdev;
	edu->dev = &pdev->dev;
	mutex_init(&edu->value_lock);
	mutex_init(&edu->files_lock);
	INIT_LIST_HEAD(&edu->files);
	init_completion(&edu->factorial);
	edu_engine_init(edu);
	return edu;
}

static int start_pci(struct edu *edu)
{
	struct pci_dev *pdev = edu->pdev;
	int ret = pci_enable_device_mem(pdev);

	if (ret)
		return ret;
	ret = pci_request_regions(pdev, "edu");
	if (ret)
		goto fail_disable;
	edu->regs = pci_iomap(pdev, 0, 0);
	if (!edu->regs) {
		ret = -ENOMEM;
		goto fail_regions;
	}
	ret = edu_hw_init(edu);
	if (ret)
		goto fail_unmap;
	/*
	 * Where the device can reach. It does not say how many address bits it has: QEMU's default cuts addresses off
	 * at 28 bits silently, which is why dma_bits is there. The segments of a buffer may be as long as they like.
	 */
	ret = dma_set_mask_and_coherent(edu->dev, DMA_BIT_MASK(dma_bits));
	if (ret) {
		dev_err(edu->dev, "no memory within %u address bits\n", dma_bits);
		goto fail_unmap;
	}
	dma_set_max_seg_size(edu->dev, UINT_MAX);
	/* Only now, with nothing left running by an earlier owner, may it read and write memory, and send messages. */
	pci_set_master(pdev);
	return 0;
fail_unmap:
	pci_iounmap(pdev, edu->regs);
fail_regions:
	pci_release_regions(pdev);
fail_disable:
	pci_disable_device(pdev);
	return ret;
}

static void stop_pci(struct edu *edu)
{
	pci_clear_master(edu->pdev); /* whatever it still does, memory is out of its reach */
	pci_iounmap(edu->pdev, edu->regs);
	pci_release_regions(edu->pdev);
	pci_disable_device(edu->pdev);
}

static int start_interrupt(struct edu *edu)
{
	struct pci_dev *pdev = edu->pdev;
	int ret = pci_alloc_irq_vectors(pdev, 1, 1, PCI_IRQ_MSI | PCI_IRQ_INTX);

	if (ret < 0)
		return ret;
	edu->msi = pdev->msi_enabled;
	ret = request_irq(pci_irq_vector(pdev, 0), edu_hw_interrupt, edu->msi ? 0 : IRQF_SHARED, "edu", edu);
	if (ret)
		pci_free_irq_vectors(pdev);
	return ret;
}

static void stop_interrupt(struct edu *edu)
{
	free_irq(pci_irq_vector(edu->pdev, 0), edu);
	pci_free_irq_vectors(edu->pdev);
}

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct edu *edu;
	int ret;

	if (!dma_bits || dma_bits > 64)
		return -EINVAL;
	edu = edu_new(pdev);
	if (!edu)
		return -ENOMEM;
	ret = start_pci(edu);
	if (ret)
		goto fail;
	ret = start_interrupt(edu);
	if (ret)
		goto fail_pci;
	ret = edu_chans_register(edu);
	if (ret)
		goto fail_interrupt;
	ret = edu_files_init(edu);
	if (ret)
		goto fail_chans;
	pci_set_drvdata(pdev, edu);
	dev_info(edu->dev, "edu %u.%u: /dev/%s, %u channels, %s, %s\n", edu->id >> 24, edu->id >> 16 & 0xff, edu->name,
		 EDU_CHANNELS, edu->msi ? "MSI" : "INTx",
		 device_iommu_mapped(edu->dev) ? "behind an IOMMU" : "no IOMMU of this kernel");
	return 0;
fail_chans:
	edu_engine_stop(edu);
	dma_async_device_unregister(&edu->dma);
fail_interrupt:
	stop_interrupt(edu);
fail_pci:
	stop_pci(edu);
fail:
	edu_put(edu);
	return ret;
}

/*
 * From the users to the hardware: files lose their channels and their buffers' mappings, which must not outlive the
 * driver; then the engine stops, also for other drivers that hold a channel; then nothing can raise the interrupt.
 */
static void remove(struct pci_dev *pdev)
{
	struct edu *edu = pci_get_drvdata(pdev);

	edu_engine_look(edu);
	edu_files_exit(edu);
	edu_engine_stop(edu);
	dma_async_device_unregister(&edu->dma);
	stop_interrupt(edu);
	stop_pci(edu);
	edu_put(edu);
}

/* The next kernel must not find its memory written to. */
static void shutdown(struct pci_dev *pdev)
{
	edu_engine_stop(pci_get_drvdata(pdev));
	pci_clear_master(pdev);
}

static const struct pci_device_id ids[] = {
	{ PCI_DEVICE(0x1234, 0x11e8) },
	{},
};
MODULE_DEVICE_TABLE(pci, ids);

static struct pci_driver edu_driver = {
	.name = "edu",
	.id_table = ids,
	.probe = probe,
	.remove = remove,
	.shutdown = shutdown,
};
module_pci_driver(edu_driver);
MODULE_DESCRIPTION("dmaengine driver for QEMU's edu device");
MODULE_LICENSE("GPL");
EDU_IMPORT_DMA_BUF_NS;
