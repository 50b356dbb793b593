// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module and the platform driver for the device tree's "atoll,lagoon". Loading the module registers the heap;
 * finding the node brings up FF-A, peers, the share window and /dev/lagoon. Without the node, or without a hypervisor
 * that speaks FF-A 1.1, the heap works and nothing else is there.
 */
#include <linux/dma-mapping.h>
#include <linux/interrupt.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/suspend.h>

#include "compat.h"
#include "lagoon.h"

#ifdef CONFIG_CPU_BIG_ENDIAN
#error "lagoon messages and FF-A descriptors are little-endian"
#endif

unsigned int lagoon_revoke_after_ms = 10000;
module_param_named(revoke_after_ms, lagoon_revoke_after_ms, uint, 0644);
MODULE_PARM_DESC(revoke_after_ms, "take a share back by force so long after its process died (0: never)");

void lagoon_changed(struct lagoon *lg)
{
	lockdep_assert_held(&lg->lock);
	WRITE_ONCE(lg->changes, lg->changes + 1);
	wake_up_all(&lg->wait);
}

static irqreturn_t irq_thread(int irq, void *data)
{
	struct lagoon *lg = data;

	lagoon_ffa_poll(&lg->ffa);
	return IRQ_HANDLED;
}

/*
 * Hibernation would write out, and later restore, memory that is not (only) ours: it is refused while anything is
 * shared or imported, and from its beginning to its end nothing can become so.
 */
static struct lagoon *pm_lagoon;

static int pm_event(struct notifier_block *nb, unsigned long event, void *data)
{
	struct lagoon *lg = pm_lagoon;
	struct lagoon_borrow *b;
	bool busy;

	if (event == PM_POST_HIBERNATION && lg) {
		mutex_lock(&lg->lock);
		lg->hibernating = false;
		mutex_unlock(&lg->lock);
	}
	if (event != PM_HIBERNATION_PREPARE || !lg)
		return NOTIFY_DONE;
	mutex_lock(&lg->lock);
	busy = !list_empty(&lg->shares) || lg->creating;
	list_for_each_entry(b, &lg->borrows, node)
		busy |= b->buf != NULL || b->busy;
	lg->hibernating = !busy;
	mutex_unlock(&lg->lock);
	if (busy)
		dev_info(lg->dev, "no hibernation while memory is shared or imported (lagoon list shows what)\n");
	return busy ? notifier_from_errno(-EBUSY) : NOTIFY_DONE;
}

/* Runs before the image is made, and in the kernel that loads an image before it lets go: EL2 must not write RX then. */
static int pm_freeze(struct device *dev)
{
	struct lagoon *lg = dev_get_drvdata(dev);
	int ret;

	disable_irq(lg->irq);
	flush_workqueue(lg->msg_wq);
	ret = lagoon_ffa_disconnect(&lg->ffa);
	if (ret) {
		dev_err(dev, "RXTX_UNMAP refused: %d\n", ret);
		enable_irq(lg->irq);
	}
	return ret;
}

/* Messages may have been missed, or this may be another life of the VM: everybody begins anew. */
static int pm_thaw(struct device *dev)
{
	struct lagoon *lg = dev_get_drvdata(dev);
	int ret = lagoon_ffa_connect(&lg->ffa);

	lagoon_borrows_forget(lg);
	enable_irq(lg->irq);
	if (ret)
		return ret;
	lagoon_ffa_poll(&lg->ffa);
	lagoon_greet(lg, LAGOON_MSG_HELLO);
	return 0;
}

static const struct dev_pm_ops pm_ops = {
	.freeze = pm_freeze,
	.thaw = pm_thaw,
	.restore = pm_thaw,
};

static struct notifier_block pm_block = { .notifier_call = pm_event };

static int start(struct lagoon *lg)
{
	int ret;

	lg->ffa.msg_wq = lg->msg_wq;
	lg->ffa.msg_work = &lg->msg_work;
	ret = lagoon_ffa_init(&lg->ffa, lg->dev);
	if (ret)
		return ret;
	ret = lagoon_window_init(lg);
	if (ret)
		goto fail_ffa;
	lagoon_peers_init(lg);
	ret = request_threaded_irq(lg->irq, NULL, irq_thread, IRQF_ONESHOT, "lagoon", lg);
	if (ret)
		goto fail_ffa;
	ret = lagoon_chardev_init(lg);
	if (ret)
		goto fail_irq;
	pm_lagoon = lg;
	register_pm_notifier(&pm_block);
	lagoon_ffa_poll(&lg->ffa); /* what came before the interrupt was ours */
	lagoon_greet(lg, LAGOON_MSG_HELLO);
	dev_info(lg->dev, "VM %u, FF-A %u.%u, %u peers, share window %#llx + %llu MiB\n", lg->ffa.id,
		 lg->ffa.version >> 16, lg->ffa.version & 0xffff, lagoon_peers_count(lg), lg->window_base,
		 lg->window_bytes >> 20);
	return 0;
fail_irq:
	free_irq(lg->irq, lg);
	cancel_work_sync(&lg->msg_work);
fail_ffa:
	lagoon_ffa_exit(&lg->ffa);
	return ret;
}

/* Runs when the module goes, which no share and no import lets happen. */
static void stop(void *data)
{
	struct lagoon *lg = data;

	unregister_pm_notifier(&pm_block);
	pm_lagoon = NULL;
	lagoon_chardev_exit(lg);
	flush_workqueue(lg->wq);
	lagoon_greet(lg, LAGOON_MSG_BYE);
	free_irq(lg->irq, lg);
	cancel_work_sync(&lg->msg_work);
	flush_workqueue(lg->wq);
	lagoon_borrows_forget(lg); /* only offers: an import would have kept the module */
	lagoon_ffa_exit(&lg->ffa);
	destroy_workqueue(lg->msg_wq);
	destroy_workqueue(lg->wq);
}

static int probe(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct lagoon *lg = devm_kzalloc(dev, sizeof(*lg), GFP_KERNEL);
	int ret;

	if (!lg)
		return -ENOMEM;
	lg->dev = dev;
	dev_set_drvdata(dev, lg);
	mutex_init(&lg->lock);
	init_waitqueue_head(&lg->wait);
	INIT_LIST_HEAD(&lg->shares);
	INIT_LIST_HEAD(&lg->borrows);
	INIT_WORK(&lg->msg_work, lagoon_msg_work);
	lg->irq = platform_get_irq(pdev, 0);
	if (lg->irq < 0)
		return lg->irq;
	/* Sharing is not DMA: pages anywhere will do, none must be bounced. */
	ret = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(64));
	if (ret)
		return ret;
	lg->msg_wq = alloc_ordered_workqueue("lagoon_msg", 0);
	lg->wq = alloc_workqueue("lagoon", WQ_UNBOUND, 0);
	ret = lg->msg_wq && lg->wq ? start(lg) : -ENOMEM;
	if (ret) {
		if (lg->msg_wq)
			destroy_workqueue(lg->msg_wq);
		if (lg->wq)
			destroy_workqueue(lg->wq);
		return ret;
	}
	return devm_add_action_or_reset(dev, stop, lg);
}

static const struct of_device_id of_match[] = {
	{ .compatible = "atoll,lagoon" },
	{},
};
MODULE_DEVICE_TABLE(of, of_match);

static struct platform_driver driver = {
	.probe = probe,
	.driver = {
		.name = "lagoon",
		.of_match_table = of_match,
		.pm = pm_sleep_ptr(&pm_ops),
		.suppress_bind_attrs = true, /* it goes with the module, which its users hold */
	},
};

static int __init lagoon_init(void)
{
	int ret = lagoon_heap_init();

	if (ret)
		return ret;
	ret = platform_driver_register(&driver);
	if (ret)
		lagoon_heap_exit();
	return ret;
}

static void __exit lagoon_exit(void)
{
	platform_driver_unregister(&driver);
	lagoon_heap_exit();
}

module_init(lagoon_init);
module_exit(lagoon_exit);
MODULE_DESCRIPTION("dma-buf sharing between the VMs of the Atoll hypervisor");
MODULE_LICENSE("GPL");
LAGOON_IMPORT_DMA_BUF_NS;
