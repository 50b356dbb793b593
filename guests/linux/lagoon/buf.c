// SPDX-License-Identifier: GPL-2.0-only
/*
 * A dma-buf over an array of pages that have struct pages: what the heap and the imports have in common. Owns the
 * mappings (CPU, DMA, kernel) and the closed flag under buf->lock; where the pages come from and go to is the
 * creator's business. Nothing here copies data.
 */
#include <linux/dma-mapping.h>
#include <linux/iosys-map.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "lagoon.h"

struct attachment {
	struct list_head node;
	struct device *dev;
	struct sg_table sgt;
	bool mapped;
};

struct lagoon_buf *lagoon_buf_new(unsigned long page_count, bool ro)
{
	struct lagoon_buf *buf = kzalloc(sizeof(*buf), GFP_KERNEL);

	if (!buf)
		return NULL;
	buf->pages = kvcalloc(page_count, sizeof(*buf->pages), GFP_KERNEL);
	if (!buf->pages) {
		kfree(buf);
		return NULL;
	}
	kref_init(&buf->ref);
	mutex_init(&buf->lock);
	INIT_LIST_HEAD(&buf->attachments);
	buf->page_count = page_count;
	buf->ro = ro;
	return buf;
}

static void buf_free(struct kref *ref)
{
	struct lagoon_buf *buf = container_of(ref, struct lagoon_buf, ref);

	if (buf->free_pages)
		buf->free_pages(buf);
	kvfree(buf->pages);
	kfree(buf);
}

void lagoon_buf_put(struct lagoon_buf *buf)
{
	kref_put(&buf->ref, buf_free);
}

bool lagoon_buf_drain(struct lagoon_buf *buf)
{
	unsigned long i;
	bool idle;

	mutex_lock(&buf->lock);
	buf->closed = true;
	/* A VMA holds the file that mapping belongs to, and cannot go while we hold the lock: see buf_vm_close. */
	if (buf->vmas)
		unmap_mapping_range(buf->mapping, 0, 0, 1);
	idle = !buf->mapped && !buf->vmaps;
	mutex_unlock(&buf->lock);
	if (!idle)
		return false;
	/* A fault in flight, O_DIRECT, a pipe: each holds a reference, and the next call unmaps what it put in. */
	for (i = 0; i < buf->page_count; i++) {
		if (page_count(buf->pages[i]) != 1)
			return false;
		if (i % 4096 == 4095)
			cond_resched();
	}
	return true;
}

/* ---- CPU mappings of processes ---- */

static vm_fault_t buf_vm_fault(struct vm_fault *vmf)
{
	struct lagoon_buf *buf = vmf->vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	mutex_lock(&buf->lock);
	if (!buf->closed && vmf->pgoff < buf->page_count) {
		get_page(buf->pages[vmf->pgoff]);
		vmf->page = buf->pages[vmf->pgoff];
		ret = 0;
	}
	mutex_unlock(&buf->lock);
	return ret;
}

static void buf_vm_open(struct vm_area_struct *vma)
{
	struct lagoon_buf *buf = vma->vm_private_data;

	mutex_lock(&buf->lock);
	buf->vmas++;
	mutex_unlock(&buf->lock);
}

/* Runs before the VMA drops its file: so vmas > 0 means that the file, and its mapping, are there. */
static void buf_vm_close(struct vm_area_struct *vma)
{
	struct lagoon_buf *buf = vma->vm_private_data;

	mutex_lock(&buf->lock);
	buf->vmas--;
	mutex_unlock(&buf->lock);
}

static const struct vm_operations_struct buf_vm_ops = {
	.fault = buf_vm_fault,
	.open = buf_vm_open,
	.close = buf_vm_close,
};

static int buf_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct lagoon_buf *buf = dmabuf->priv;
	unsigned long count = vma_pages(vma);

	if (!(vma->vm_flags & VM_MAYSHARE)) /* VM_SHARED is cleared when the file cannot be written */
		return -EINVAL;
	if (buf->ro && (vma->vm_flags & VM_WRITE))
		return -EACCES;
	if (vma->vm_pgoff > buf->page_count || count > buf->page_count - vma->vm_pgoff)
		return -EINVAL;
	mutex_lock(&buf->lock);
	if (buf->closed) {
		mutex_unlock(&buf->lock);
		return -ENODEV;
	}
	lagoon_vm_flags_mod(vma, VM_DONTEXPAND | VM_DONTDUMP, buf->ro ? VM_MAYWRITE : 0);
	vma->vm_private_data = buf;
	vma->vm_ops = &buf_vm_ops;
	buf->vmas++;
	buf->mapping = vma->vm_file->f_mapping;
	/* All at once is cheaper than a fault per page; what it leaves out, the fault handler brings in. */
	vm_insert_pages(vma, vma->vm_start, buf->pages + vma->vm_pgoff, &count);
	mutex_unlock(&buf->lock);
	return 0;
}

/* ---- kernel mappings ---- */

static int buf_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct lagoon_buf *buf = dmabuf->priv;
	int ret = 0;

	mutex_lock(&buf->lock);
	if (buf->closed) {
		ret = -ENODEV;
	} else if (!buf->vaddr) {
		buf->vaddr = vmap(buf->pages, buf->page_count, VM_MAP, buf->ro ? PAGE_KERNEL_RO : PAGE_KERNEL);
		if (!buf->vaddr)
			ret = -ENOMEM;
	}
	if (!ret) {
		buf->vmaps++;
		iosys_map_set_vaddr(map, buf->vaddr);
	}
	mutex_unlock(&buf->lock);
	return ret;
}

static void buf_vunmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct lagoon_buf *buf = dmabuf->priv;

	mutex_lock(&buf->lock);
	if (!--buf->vmaps) {
		vunmap(buf->vaddr);
		buf->vaddr = NULL;
	}
	mutex_unlock(&buf->lock);
	iosys_map_clear(map);
}

/* ---- devices ---- */

static int buf_attach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	struct lagoon_buf *buf = dmabuf->priv;
	struct attachment *a = kzalloc(sizeof(*a), GFP_KERNEL);
	int ret;

	if (!a)
		return -ENOMEM;
	ret = sg_alloc_table_from_pages(&a->sgt, buf->pages, buf->page_count, 0, buf->page_count << PAGE_SHIFT,
					GFP_KERNEL);
	if (ret) {
		kfree(a);
		return ret;
	}
	a->dev = attach->dev;
	attach->priv = a;
	mutex_lock(&buf->lock);
	list_add(&a->node, &buf->attachments);
	mutex_unlock(&buf->lock);
	return 0;
}

static void buf_detach(struct dma_buf *dmabuf, struct dma_buf_attachment *attach)
{
	struct lagoon_buf *buf = dmabuf->priv;
	struct attachment *a = attach->priv;

	mutex_lock(&buf->lock);
	list_del(&a->node);
	mutex_unlock(&buf->lock);
	sg_free_table(&a->sgt);
	kfree(a);
}

static struct sg_table *buf_map(struct dma_buf_attachment *attach, enum dma_data_direction dir)
{
	struct lagoon_buf *buf = attach->dmabuf->priv;
	struct attachment *a = attach->priv;
	int ret;

	mutex_lock(&buf->lock);
	if (buf->closed)
		ret = -ENODEV;
	else if (buf->ro && dir != DMA_TO_DEVICE)
		ret = -EACCES;
	else
		ret = dma_map_sgtable(attach->dev, &a->sgt, dir, 0);
	if (!ret) {
		a->mapped = true;
		buf->mapped++;
	}
	mutex_unlock(&buf->lock);
	return ret ? ERR_PTR(ret) : &a->sgt;
}

static void buf_unmap(struct dma_buf_attachment *attach, struct sg_table *sgt, enum dma_data_direction dir)
{
	struct lagoon_buf *buf = attach->dmabuf->priv;
	struct attachment *a = attach->priv;

	mutex_lock(&buf->lock);
	dma_unmap_sgtable(attach->dev, sgt, dir, 0);
	a->mapped = false;
	buf->mapped--;
	mutex_unlock(&buf->lock);
}

static int buf_cpu_access(struct lagoon_buf *buf, enum dma_data_direction dir, bool begin)
{
	struct attachment *a;
	int ret = 0;

	mutex_lock(&buf->lock);
	if (buf->closed && begin)
		ret = -ENODEV;
	else if (buf->ro && begin && dir != DMA_FROM_DEVICE)
		ret = -EACCES; /* the CPU wants to write what it may only read */
	if (!ret) {
		list_for_each_entry(a, &buf->attachments, node) {
			if (!a->mapped)
				continue;
			if (begin)
				dma_sync_sgtable_for_cpu(a->dev, &a->sgt, dir);
			else
				dma_sync_sgtable_for_device(a->dev, &a->sgt, dir);
		}
	}
	mutex_unlock(&buf->lock);
	return ret;
}

static int buf_begin_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	return buf_cpu_access(dmabuf->priv, dir, true);
}

static int buf_end_cpu_access(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	return buf_cpu_access(dmabuf->priv, dir, false);
}

static void buf_release(struct dma_buf *dmabuf)
{
	struct lagoon_buf *buf = dmabuf->priv;

	if (buf->released)
		buf->released(buf);
	lagoon_buf_put(buf);
}

static const struct dma_buf_ops buf_ops = {
	.attach = buf_attach,
	.detach = buf_detach,
	.map_dma_buf = buf_map,
	.unmap_dma_buf = buf_unmap,
	.begin_cpu_access = buf_begin_cpu_access,
	.end_cpu_access = buf_end_cpu_access,
	.mmap = buf_mmap,
	.vmap = buf_vmap,
	.vunmap = buf_vunmap,
	.release = buf_release,
};

/* Takes over one reference of buf on success. */
struct dma_buf *lagoon_buf_export(struct lagoon_buf *buf, const char *name, int flags)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);

	info.exp_name = name;
	info.ops = &buf_ops;
	info.size = (size_t)buf->page_count << PAGE_SHIFT;
	info.flags = flags;
	info.priv = buf;
	return dma_buf_export(&info);
}
