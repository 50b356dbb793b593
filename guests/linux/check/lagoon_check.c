// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/lagoon_check: uses a dma-buf as drivers in the kernel do (vmap; attach, map for DMA, sync; begin and end CPU
 * access) and checks what it gets. For tests: it knows nothing of lagoon and takes any dma-buf of system memory.
 * Owns a platform device as the importing device. Lock: check_file.lock, what an open file keeps.
 */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/iosys-map.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "lagoon_check.h"

static struct platform_device *importer;

struct check_file {
	struct mutex lock;
	struct dma_buf *vmapped, *mapped; /* each with a reference of its own */
	struct iosys_map vmap;
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	enum dma_data_direction dir;
};

#define WRONG(c, ...) (snprintf((c)->text, sizeof((c)->text), __VA_ARGS__), -EILSEQ)

static enum dma_data_direction direction(const struct lagoon_check *c)
{
	return c->read_only ? DMA_TO_DEVICE : DMA_BIDIRECTIONAL;
}

/* ---- one mapping for the device: taken, and let go ---- */

static int take_map(struct dma_buf *dmabuf, enum dma_data_direction dir, struct dma_buf_attachment **attach,
		    struct sg_table **sgt)
{
	*attach = dma_buf_attach(dmabuf, &importer->dev);
	if (IS_ERR(*attach))
		return PTR_ERR(*attach);
	*sgt = dma_buf_map_attachment_unlocked(*attach, dir);
	if (!IS_ERR_OR_NULL(*sgt))
		return 0;
	dma_buf_detach(dmabuf, *attach);
	return *sgt ? PTR_ERR(*sgt) : -ENOMEM;
}

static void drop_map(struct dma_buf *dmabuf, enum dma_data_direction dir, struct dma_buf_attachment *attach,
		     struct sg_table *sgt)
{
	dma_buf_unmap_attachment_unlocked(attach, sgt, dir);
	dma_buf_detach(dmabuf, attach);
}

/* ---- the whole check ---- */

static u64 sum_words(const void *data, size_t bytes)
{
	const u64 *word = data;
	u64 sum = 0;
	size_t i;

	for (i = 0; i < bytes / sizeof(*word); i++)
		sum = (sum ^ word[i]) * 0x100000001b3ull; /* the order counts */
	return sum;
}

/* The addresses that the device would use: whole pages, all of them, and those of the pages themselves. */
static int check_addresses(struct lagoon_check *c, struct sg_table *sgt, size_t size)
{
	struct scatterlist *sg;
	u64 pages = 0, dma = 0;
	int i;

	for_each_sgtable_sg(sgt, sg, i) {
		if (sg->offset || !sg->length || sg->length % PAGE_SIZE)
			return WRONG(c, "entry %d: offset %#x, length %#x", i, sg->offset, sg->length);
		pages += sg->length;
	}
	for_each_sgtable_dma_sg(sgt, sg, i) {
		if (sg_dma_address(sg) % PAGE_SIZE || !sg_dma_len(sg) || sg_dma_len(sg) % PAGE_SIZE)
			return WRONG(c, "DMA entry %d: %pad, %#x bytes", i, &sg_dma_address(sg), sg_dma_len(sg));
		/* This device has no IOMMU, and its mask reaches everything: nothing may be bounced. */
		if (sg_dma_address(sg) != sg_phys(sg))
			return WRONG(c, "DMA entry %d: %pad is not its page's address", i, &sg_dma_address(sg));
		dma += sg_dma_len(sg);
	}
	if (pages != size || dma != size)
		return WRONG(c, "%llu bytes in pages and %llu for DMA instead of %zu", pages, dma, size);
	return 0;
}

/* Page by page: what the device would see is what the kernel's own mapping shows. */
static int check_contents(struct lagoon_check *c, struct sg_table *sgt, const void *vaddr)
{
	struct sg_page_iter iter;
	unsigned long i = 0;

	for_each_sgtable_page(sgt, &iter, 0) {
		void *page = kmap_local_page(sg_page_iter_page(&iter));
		bool same = !memcmp(page, vaddr + i * PAGE_SIZE, PAGE_SIZE);

		kunmap_local(page);
		if (!same)
			return WRONG(c, "page %lu differs between the table and the vmap", i);
		i++;
	}
	return 0;
}

/* A read-only buffer must refuse what would write it; nothing of this may leave anything mapped. */
static int check_refuses_writes(struct lagoon_check *c, struct dma_buf *dmabuf)
{
	struct dma_buf_attachment *attach;
	struct sg_table *sgt;
	int ret = take_map(dmabuf, DMA_BIDIRECTIONAL, &attach, &sgt);

	if (!ret)
		drop_map(dmabuf, DMA_BIDIRECTIONAL, attach, sgt);
	if (ret != -EACCES)
		return WRONG(c, "read-only, but mapping it for a device's writes gave %d", ret);
	ret = dma_buf_begin_cpu_access(dmabuf, DMA_TO_DEVICE);
	if (!ret)
		dma_buf_end_cpu_access(dmabuf, DMA_TO_DEVICE);
	if (ret != -EACCES)
		return WRONG(c, "read-only, but begin_cpu_access for writing gave %d", ret);
	return 0;
}

/* With everything mapped, twice: between begin and end of the CPU's access, as a driver would. */
static int check_mapped(struct lagoon_check *c, struct dma_buf *dmabuf, void *vaddr, struct sg_table *sgt[2])
{
	enum dma_data_direction cpu = c->read_only ? DMA_FROM_DEVICE : DMA_BIDIRECTIONAL;
	int ret = check_addresses(c, sgt[0], dmabuf->size);

	if (!ret)
		ret = check_addresses(c, sgt[1], dmabuf->size);
	if (ret)
		return ret;
	ret = dma_buf_begin_cpu_access(dmabuf, cpu);
	if (ret)
		return WRONG(c, "begin_cpu_access: %d", ret);
	if (sum_words(vaddr, dmabuf->size) != c->sum)
		ret = WRONG(c, "the vmap shows other bytes than the caller's mapping");
	if (!ret && !c->read_only)
		memcpy(vaddr + c->write_at, LAGOON_CHECK_TEXT, sizeof(LAGOON_CHECK_TEXT));
	if (!ret)
		ret = check_contents(c, sgt[0], vaddr);
	if (!ret)
		ret = check_contents(c, sgt[1], vaddr);
	if (dma_buf_end_cpu_access(dmabuf, cpu) && !ret)
		ret = WRONG(c, "end_cpu_access failed");
	return ret;
}

static int check_with_vmap(struct lagoon_check *c, struct dma_buf *dmabuf, void *vaddr)
{
	struct dma_buf_attachment *attach[2];
	struct sg_table *sgt[2];
	unsigned int entries;
	int ret = take_map(dmabuf, direction(c), &attach[0], &sgt[0]);

	if (ret)
		return WRONG(c, "attach and map: %d", ret);
	ret = take_map(dmabuf, DMA_TO_DEVICE, &attach[1], &sgt[1]);
	if (ret) {
		drop_map(dmabuf, direction(c), attach[0], sgt[0]);
		return WRONG(c, "attach and map a second time: %d", ret);
	}
	entries = sgt[0]->orig_nents;
	ret = check_mapped(c, dmabuf, vaddr, sgt);
	drop_map(dmabuf, DMA_TO_DEVICE, attach[1], sgt[1]);
	drop_map(dmabuf, direction(c), attach[0], sgt[0]);
	if (!ret)
		snprintf(c->text, sizeof(c->text), "vmap, two DMA mappings (%u entries) and CPU access agree on %zu bytes",
			 entries, dmabuf->size);
	return ret;
}

static int step_all(struct check_file *f, struct lagoon_check *c, struct dma_buf *dmabuf)
{
	struct iosys_map map, again;
	int ret = c->read_only ? check_refuses_writes(c, dmabuf) : 0;

	if (c->write_at > dmabuf->size || dmabuf->size - c->write_at < sizeof(LAGOON_CHECK_TEXT))
		return -EINVAL;
	if (ret)
		return ret;
	ret = lagoon_dma_buf_vmap(dmabuf, &map);
	if (ret)
		return WRONG(c, "vmap: %d", ret);
	ret = lagoon_dma_buf_vmap(dmabuf, &again);
	if (ret) {
		lagoon_dma_buf_vunmap(dmabuf, &map);
		return WRONG(c, "vmap a second time: %d", ret);
	}
	lagoon_dma_buf_vunmap(dmabuf, &again); /* the first one must outlive it */
	ret = check_with_vmap(c, dmabuf, map.vaddr);
	lagoon_dma_buf_vunmap(dmabuf, &map);
	return ret;
}

/* ---- single steps, whose mappings the open file keeps ---- */

static int step_vmap(struct check_file *f, struct lagoon_check *c, struct dma_buf *dmabuf)
{
	int ret;

	if (f->vmapped)
		return -EBUSY;
	ret = lagoon_dma_buf_vmap(dmabuf, &f->vmap);
	if (ret)
		return ret;
	get_dma_buf(dmabuf);
	f->vmapped = dmabuf;
	snprintf(c->text, sizeof(c->text), "%zu bytes mapped into the kernel", dmabuf->size);
	return 0;
}

static int step_map(struct check_file *f, struct lagoon_check *c, struct dma_buf *dmabuf)
{
	int ret;

	if (f->mapped)
		return -EBUSY;
	f->dir = direction(c);
	ret = take_map(dmabuf, f->dir, &f->attach, &f->sgt);
	if (ret)
		return ret;
	get_dma_buf(dmabuf);
	f->mapped = dmabuf;
	snprintf(c->text, sizeof(c->text), "%zu bytes mapped in %u entries", dmabuf->size, f->sgt->orig_nents);
	return 0;
}

static int step_touch(struct check_file *f, struct lagoon_check *c, struct dma_buf *dmabuf)
{
	u8 *data = f->vmap.vaddr;
	size_t at, size = dmabuf->size;
	unsigned int zero = 0;

	if (f->vmapped != dmabuf)
		return -ENODATA;
	for (at = 0; at < size; at += PAGE_SIZE)
		zero += !READ_ONCE(data[at + 8]);
	if (!c->read_only)
		WRITE_ONCE(data[size - 1], data[size - 1] + 1);
	snprintf(c->text, sizeof(c->text), "%zu pages read through the vmap%s, %u of them zero at byte 8",
		 size / PAGE_SIZE, c->read_only ? "" : " and one byte written", zero);
	return 0;
}

static void drop(struct check_file *f)
{
	if (f->mapped) {
		drop_map(f->mapped, f->dir, f->attach, f->sgt);
		dma_buf_put(f->mapped);
		f->mapped = NULL;
	}
	if (f->vmapped) {
		lagoon_dma_buf_vunmap(f->vmapped, &f->vmap);
		dma_buf_put(f->vmapped);
		f->vmapped = NULL;
	}
}

static int step_drop(struct check_file *f, struct lagoon_check *c, struct dma_buf *dmabuf)
{
	drop(f);
	snprintf(c->text, sizeof(c->text), "let go of it in the kernel");
	return 0;
}

static int step_refused(struct check_file *f, struct lagoon_check *c, struct dma_buf *dmabuf)
{
	struct dma_buf_attachment *attach;
	struct iosys_map map;
	struct sg_table *sgt;
	int on_map = take_map(dmabuf, direction(c), &attach, &sgt), on_vmap, on_access;

	if (!on_map)
		drop_map(dmabuf, direction(c), attach, sgt);
	on_access = dma_buf_begin_cpu_access(dmabuf, DMA_FROM_DEVICE);
	if (!on_access)
		dma_buf_end_cpu_access(dmabuf, DMA_FROM_DEVICE);
	on_vmap = lagoon_dma_buf_vmap(dmabuf, &map); /* last: the kernel prints a warning of its own when it is refused */
	if (!on_vmap)
		lagoon_dma_buf_vunmap(dmabuf, &map);
	if (!on_map || !on_access || !on_vmap)
		return WRONG(c, "not refused: map gave %d, begin_cpu_access %d, vmap %d", on_map, on_access, on_vmap);
	snprintf(c->text, sizeof(c->text), "refused: map %d, begin_cpu_access %d, vmap %d", on_map, on_access, on_vmap);
	return 0;
}

/* ---- the device file ---- */

typedef int step_fn(struct check_file *f, struct lagoon_check *c, struct dma_buf *dmabuf);
static step_fn *const steps[] = {
	[LAGOON_CHECK_ALL] = step_all,     [LAGOON_CHECK_VMAP] = step_vmap, [LAGOON_CHECK_MAP] = step_map,
	[LAGOON_CHECK_TOUCH] = step_touch, [LAGOON_CHECK_DROP] = step_drop, [LAGOON_CHECK_REFUSED] = step_refused,
};

static int do_step(struct check_file *f, struct lagoon_check *c)
{
	struct dma_buf *dmabuf = dma_buf_get(c->fd);
	int ret = -EINVAL;

	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	c->text[0] = 0;
	mutex_lock(&f->lock);
	if (c->step < ARRAY_SIZE(steps) && steps[c->step])
		ret = steps[c->step](f, c, dmabuf);
	mutex_unlock(&f->lock);
	dma_buf_put(dmabuf);
	return ret;
}

static long check_ioctl(struct file *filp, unsigned int cmd, unsigned long arg)
{
	struct lagoon_check c;
	int ret;

	if (cmd != LAGOON_IOC_CHECK)
		return -ENOTTY;
	if (copy_from_user(&c, (void __user *)arg, sizeof(c)))
		return -EFAULT;
	if (c.reserved || c.read_only > 1)
		return -EINVAL;
	ret = do_step(filp->private_data, &c);
	if (ret && ret != -EILSEQ)
		return ret;
	return copy_to_user((void __user *)arg, &c, sizeof(c)) ? -EFAULT : ret;
}

static int check_open(struct inode *inode, struct file *filp)
{
	struct check_file *f = kzalloc(sizeof(*f), GFP_KERNEL);

	if (!f)
		return -ENOMEM;
	mutex_init(&f->lock);
	filp->private_data = f;
	return 0;
}

static int check_release(struct inode *inode, struct file *filp)
{
	drop(filp->private_data);
	kfree(filp->private_data);
	return 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = check_open,
	.release = check_release,
	.unlocked_ioctl = check_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "lagoon_check",
	.mode = 0600,
	.fops = &fops,
};

static int __init check_init(void)
{
	int ret;

	importer = platform_device_register_simple("lagoon_check", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(importer))
		return PTR_ERR(importer);
	ret = dma_set_mask_and_coherent(&importer->dev, DMA_BIT_MASK(64));
	if (!ret)
		ret = misc_register(&device);
	if (ret)
		platform_device_unregister(importer);
	return ret;
}

static void __exit check_exit(void)
{
	misc_deregister(&device);
	platform_device_unregister(importer);
}

module_init(check_init);
module_exit(check_exit);
MODULE_DESCRIPTION("tests of a dma-buf from inside the kernel");
MODULE_LICENSE("GPL");
LAGOON_IMPORT_DMA_BUF_NS;
